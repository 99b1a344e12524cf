package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vtepd/cmd/internal/bench/load"
	"vtepd/cmd/internal/bench/report"
)

const (
	// warm is how long small datagrams run before they are counted.
	warm = 200 * time.Millisecond
	// settle is the pause between two measurements, for queues to run empty.
	settle = 50 * time.Millisecond
	// idleRounds and idleTime are how often and how long idle programs are
	// watched, and idleSettle the pause after their start; tests are faster.
	idleRounds = 3
	idleTime   = 3 * time.Second
	idleSettle = 2 * time.Second
)

// values are what one measurement of one system yields.
type values map[report.Metric]float64

// round takes every measure of every system once: all systems one after the
// other, then the next measure. It returns the systems that go on.
func (r *runner) round(ctx context.Context, w wire, stations []*station, round int) ([]*station, error) {
	for i, m := range measures() {
		var line strings.Builder
		for _, at := range order(len(stations), round+i) {
			st := stations[at]
			if m.name == idle || st.failed >= giveUp || !r.plan.wants(w, m.name, st.sys) {
				continue
			}
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			v, err := r.measure(m.name, st)
			if ctx.Err() != nil { // it was cut short
				return nil, context.Cause(ctx)
			}
			if err != nil {
				r.gap(w, st, m, round, err)
				continue
			}
			st.failed = 0
			for metric, value := range v {
				r.res.Add(w.Name, metric, round, st.sys.Name, value)
			}
			fmt.Fprintf(&line, "  %s %s", st.sys.Name, headline(m.name, v))
		}
		if line.Len() > 0 {
			progress("%s, round %d of %d, %s:%s", w.Title, round, r.plan.rounds, m.name, line.String())
		}
	}
	return r.survivors(w, stations), nil
}

// gap notes that a measurement failed.
func (r *runner) gap(w wire, st *station, m measure, round int, err error) {
	st.failed++
	err = errors.Join(err, st.pair.Alive())
	r.res.Gaps = append(r.res.Gaps, report.Gap{Wire: w.Name, System: st.sys.Name, Measure: m.name, Round: round, Reason: err.Error()})
	progress("%s, %s, %s: %v", w.Title, st.sys.Title, m.name, err)
}

// survivors are the systems that did not fail too often.
func (r *runner) survivors(w wire, stations []*station) []*station {
	var out []*station
	for _, st := range stations {
		if st.failed >= giveUp {
			r.leaveOut(w, st.sys, fmt.Errorf("it failed %d times in a row and is not measured any more", giveUp))
			continue
		}
		out = append(out, st)
	}
	return out
}

// headline is the value that progress shows.
func headline(m string, v values) string {
	switch m {
	case udp:
		return fmt.Sprintf("%.0f k/s", v[report.UDP64])
	case rr:
		return fmt.Sprintf("%.0f µs", v[report.RR50])
	default:
		return fmt.Sprintf("%.2f", v[report.Metric(m)])
	}
}

// measure takes one measure of one system.
func (r *runner) measure(name string, st *station) (values, error) {
	time.Sleep(settle)
	d := time.Duration(r.plan.seconds) * time.Second
	a, b, addr := st.pair.A, st.pair.B, st.pair.AddrB
	switch name {
	case tcp1:
		return r.tcp1(st)
	case tcp4:
		t, err := st.server.Run(a, r.plan.seconds, "-P", "4")
		return values{report.TCP4: t.BitsPerSecond() / 1e9}, err
	case bidir:
		t, err := st.server.Run(a, r.plan.seconds, "--bidir")
		return values{report.Bidir: t.BitsPerSecond() / 1e9}, err
	case udp:
		f, err := load.Flood(a, b, addr, warm, d)
		return values{report.UDP64: f.Received / 1e3}, err
	case rr:
		p, err := load.PingPong(a, b, addr, warm, d)
		return values{report.RR50: microseconds(p.P50), report.RR99: microseconds(p.P99)}, err
	default:
		return nil, fmt.Errorf("nothing measures %q", name)
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// tcp1 measures one stream, what it costs the machine, and the memory of the
// programs after it.
func (r *runner) tcp1(st *station) (values, error) {
	before, err := load.MachineCPU()
	if err != nil {
		return nil, err
	}
	t, err := st.server.Run(st.pair.A, r.plan.seconds)
	if err != nil {
		return nil, err
	}
	after, err := load.MachineCPU()
	if err != nil {
		return nil, err
	}
	v := values{report.TCP1: t.BitsPerSecond() / 1e9, report.CPU: (after - before).Seconds() / (t.Bytes / 1e9)}
	rss, err := r.rss(st)
	if err == nil && rss > 0 {
		v[report.RSS] = rss
	}
	return v, err
}

// rss is the memory in MiB of the programs of the host that has more.
func (r *runner) rss(st *station) (float64, error) {
	most := int64(0)
	for side := range 2 {
		n, err := load.RSS(st.pair.PIDs(side))
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return float64(most) / (1 << 20), nil
}

// idle watches the programs of all systems at once while nothing is sent.
func (r *runner) idle(ctx context.Context, w wire, stations []*station) error {
	wanted := func(st *station) bool {
		return r.plan.wants(w, idle, st.sys) && len(st.pair.PIDs(0))+len(st.pair.PIDs(1)) > 0
	}
	some := false
	for _, st := range stations {
		some = some || wanted(st)
	}
	if !some {
		return nil
	}
	pause(ctx, min(idleSettle, r.idleTime))
	for round := 1; round <= idleRounds; round++ {
		before := make(map[*station][2]time.Duration)
		for _, st := range stations {
			if wanted(st) {
				before[st], _ = cpuOf(st) // an error comes again below
			}
		}
		begin := time.Now()
		pause(ctx, r.idleTime)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		for st, was := range before {
			if err := r.idleSample(w, st, round, was, begin); err != nil {
				r.gap(w, st, measure{name: idle}, round, err)
			}
		}
	}
	progress("%s: idle programs watched", w.Title)
	return nil
}

// idleSample adds what an idle system has used since begin.
func (r *runner) idleSample(w wire, st *station, round int, was [2]time.Duration, begin time.Time) error {
	now, err := cpuOf(st)
	if err != nil {
		return err
	}
	used := max(now[0]-was[0], now[1]-was[1])
	rss, err := r.rss(st)
	if err != nil {
		return err
	}
	r.res.Add(w.Name, report.IdleCPU, round, st.sys.Name, 100*float64(used)/float64(time.Since(begin)))
	r.res.Add(w.Name, report.IdleRSS, round, st.sys.Name, rss)
	return nil
}

// cpuOf is the processor time of the programs of both hosts.
func cpuOf(st *station) (out [2]time.Duration, err error) {
	for side := range out {
		if out[side], err = load.ProcessCPU(st.pair.PIDs(side)); err != nil {
			return out, err
		}
	}
	return out, nil
}

// pause waits, or not when the run is stopped.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
