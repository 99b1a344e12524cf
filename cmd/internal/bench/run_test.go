package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/bench/report"
	"vtepd/cmd/internal/lab"
)

// TestRun makes a short run of the kernel's device, vtepd and both together,
// and looks that every sample is there, and nothing left behind.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	lab.Start(t) // skips without root
	bin := t.TempDir()
	if err := lab.Build(bin); err != nil {
		t.Fatal(err)
	}
	before := namespaces(t)
	r := newRunner(t, bin, "vtepd,vtepd-to-kernel", "tcp1,udp,rr,idle,fdb,flood")
	if err := r.all(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.res.Finish()
	for _, g := range r.res.Gaps {
		t.Errorf("%s on %s was not measured: %s", g.System, g.Wire, g.Reason)
	}
	for _, w := range wires() {
		for _, m := range measures() {
			for _, s := range r.plan.on(w) {
				if m.name != idle && r.plan.wants(w, m.name, s) {
					positive(t, r.res, w.Name, yields(m.name)[0], s.Name)
				}
			}
		}
	}
	positive(t, r.res, report.Wire1500, report.IdleRSS, "vtepd")
	positive(t, r.res, report.Wire1500, report.RSS, "vtepd")
	if got := namespaces(t); got != before {
		t.Errorf("namespaces before %q, after %q", before, got)
	}
}

// newRunner makes a runner of one round.
func newRunner(t *testing.T, bin, systems, measureNames string) *runner {
	t.Helper()
	p, err := newPlan(false, 1, 1, systems, measureNames)
	if err != nil {
		t.Fatal(err)
	}
	return &runner{plan: p, bin: bin, tools: t.TempDir(), idleTime: 100 * time.Millisecond, res: &report.Results{Rounds: 1}}
}

// positive checks that a metric of a system has a value above zero.
func positive(t *testing.T, res *report.Results, wire string, m report.Metric, system string) {
	t.Helper()
	for _, row := range res.Summary {
		if row.Wire == wire && row.Metric == m && row.System == system {
			if row.Value.Median <= 0 {
				t.Errorf("%s of %s on %s is %v", m, system, wire, row.Value.Median)
			}
			return
		}
	}
	t.Errorf("no %s of %s on %s", m, system, wire)
}

func namespaces(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ours []string // other programs make some meanwhile
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, labPrefix()) {
			ours = append(ours, line)
		}
	}
	return strings.Join(ours, "")
}

// TestRunThatIsStopped leaves nothing behind either.
func TestRunThatIsStopped(t *testing.T) {
	lab.Start(t)
	before := namespaces(t)
	r := newRunner(t, "nosuch", "veth", "tcp1")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.all(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := namespaces(t); got != before {
		t.Errorf("namespaces before %q, after %q", before, got)
	}
}

// TestLeftOutWithTheReason: a system that cannot start is told of, and the
// others are measured.
func TestLeftOutWithTheReason(t *testing.T) {
	lab.Start(t)
	r := newRunner(t, "/nosuch", "vtepd-portable", "rr")
	if err := r.all(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.res.Finish()
	if len(r.res.Gaps) != 1 || r.res.Gaps[0].System != "vtepd-portable" || r.res.Gaps[0].Reason == "" {
		t.Errorf("left out %+v, want vtepd-portable with a reason", r.res.Gaps)
	}
	positive(t, r.res, report.Wire1500, report.RR50, "kernel")
}

// labPrefix begins the names of the namespaces that labs of this process make.
func labPrefix() string { return "vt" + strconv.FormatInt(int64(os.Getpid()), 16) + "-" }
