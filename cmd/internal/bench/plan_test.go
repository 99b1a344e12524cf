package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/bench/overlay"
	"vtepd/cmd/internal/bench/report"
)

func names(systems []*overlay.System) []string {
	var out []string
	for _, s := range systems {
		out = append(out, s.Name)
	}
	return out
}

func mustPlan(t *testing.T, quick bool, only, measures string) *plan {
	t.Helper()
	p, err := newPlan(quick, 0, 1, only, measures)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPlan(t *testing.T) {
	t.Run("a full run has eleven rounds of every system", func(t *testing.T) {
		p := mustPlan(t, false, "", "")
		if p.rounds != 11 || len(p.systems) != len(overlay.All()) {
			t.Errorf("%d rounds of %v", p.rounds, names(p.systems))
		}
	})
	t.Run("a quick run has no other overlays", func(t *testing.T) {
		p := mustPlan(t, true, "", "")
		if p.rounds != 3 || slices.ContainsFunc(p.systems, func(s *overlay.System) bool { return s.Kind == overlay.Peer }) {
			t.Errorf("%d rounds of %v", p.rounds, names(p.systems))
		}
	})
	t.Run("the kernel's device is always there", func(t *testing.T) {
		if got := names(mustPlan(t, false, "fastd", "").systems); !slices.Equal(got, []string{"kernel", "fastd"}) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("a quick run of a named overlay has it", func(t *testing.T) {
		if got := names(mustPlan(t, true, "ovs,vtepd", "").systems); !slices.Equal(got, []string{"kernel", "vtepd", "ovs"}) {
			t.Errorf("got %v", got)
		}
	})
	for _, c := range []struct{ name, only, measures, problem string }{
		{"an unknown system is refused", "kernel,nosuch", "", `no system "nosuch"`},
		{"an unknown measure is refused", "", "tcp9", `no measure "tcp9"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := newPlan(false, 0, 1, c.only, c.measures); err == nil || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := newPlan(false, 1, 0, "", ""); err == nil {
		t.Error("measurements of no time are planned")
	}
}

// TestRunsStayShort: long runs are not repeated by anybody. Both limits are
// those that the Makefile and docs/performance.md name.
func TestRunsStayShort(t *testing.T) {
	for _, c := range []struct {
		quick bool
		limit time.Duration
	}{{false, 27 * time.Minute}, {true, 3 * time.Minute}} {
		p := mustPlan(t, c.quick, "", "")
		got := p.estimate()
		t.Logf("quick %v: %v", c.quick, got)
		if got > c.limit || got < c.limit/2 {
			t.Errorf("quick %v takes about %v, want at most %v", c.quick, got, c.limit)
		}
	}
	one, two := mustPlan(t, false, "vtepd", "rr"), mustPlan(t, false, "vtepd", "rr")
	two.rounds *= 2
	if a, b := one.estimate(), two.estimate(); b-a != 11*2*(time.Second+aroundSample) {
		t.Errorf("twice the rounds of one measure of two systems: %v, then %v", a, b)
	}
}

// TestEveryBarIsMeasured: a full run, and but for the other overlays a quick
// one, must yield what the bars are about.
func TestEveryBarIsMeasured(t *testing.T) {
	for _, quick := range []bool{false, true} {
		p := mustPlan(t, quick, "", "")
		res := &report.Results{}
		for _, s := range p.systems {
			res.Systems = append(res.Systems, report.System{Name: s.Name, Kind: string(s.Kind)})
		}
		for _, w := range wires() {
			res.Wires = append(res.Wires, w.Wire)
			for _, m := range measures() {
				for _, s := range p.on(w) {
					if p.wants(w, m.name, s) {
						for _, metric := range yields(m.name) {
							res.Add(w.Name, metric, 1, s.Name, 1)
						}
					}
				}
			}
		}
		res.Finish()
		for _, b := range res.Bars {
			if b.Verdict == report.NotMeasured && (!quick || !strings.Contains(b.Bar, "peer") || strings.Contains(b.Bar, "kernel peer")) {
				t.Errorf("quick %v: nothing measures the bar %q", quick, b.Bar)
			}
		}
	}
}

// yields are the metrics of a measure, as measure and idleSample add them.
func yields(m string) []report.Metric {
	switch m {
	case tcp1:
		return []report.Metric{report.TCP1, report.CPU, report.RSS}
	case udp:
		return []report.Metric{report.UDP64}
	case rr:
		return []report.Metric{report.RR50, report.RR99}
	case idle:
		return []report.Metric{report.IdleCPU, report.IdleRSS}
	case tables:
		return []report.Metric{report.FDBFew, report.FDBMany, report.FDBAll, report.FDBBytes}
	case flood:
		return []report.Metric{report.FloodCPU, report.FloodTime}
	default:
		return []report.Metric{report.Metric(m)}
	}
}

func TestOrderOfARound(t *testing.T) {
	after := map[[2]int]int{}
	for round := range 10 {
		got := order(5, round)
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, []int{0, 1, 2, 3, 4}) {
			t.Errorf("round %d has %v, not each once", round, got)
		}
		for i := 1; i < len(got); i++ {
			after[[2]int{got[i-1], got[i]}]++
		}
	}
	for pair, n := range after {
		if back := after[[2]int{pair[1], pair[0]}]; n != back {
			t.Errorf("%d comes %d times right before %d, and %d times right after it", pair[0], n, pair[1], back)
		}
	}
}
