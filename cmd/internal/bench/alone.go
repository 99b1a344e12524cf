package main

import (
	"context"
	"errors"

	"vtepd/cmd/internal/bench/load"
	"vtepd/cmd/internal/bench/overlay"
	"vtepd/cmd/internal/bench/report"
	"vtepd/cmd/internal/lab"
)

// alone measures what vtepd is not compared with others in: its table in this
// process, and the daemon with a long flood list in a host of its own.
func (r *runner) alone(ctx context.Context, w wire) (err error) {
	sys := r.plan.on(w)[0]
	r.known(sys, &overlay.Pair{})
	var b *load.Broadcaster
	if r.plan.wants(w, flood, sys) {
		l, err2 := lab.New()
		if err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		h, err2 := l.Host("flood")
		if err2 != nil {
			return err2
		}
		if b, err2 = load.NewBroadcaster(h, r.bin); err2 != nil {
			return err2
		}
		defer func() { err = errors.Join(err, b.Close()) }()
		if _, err2 := b.Run(); err2 != nil { // to warm up
			return err2
		}
	}
	for round := 1; round <= r.plan.rounds; round++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := r.aloneRound(w, sys, b, round); err != nil {
			return err
		}
	}
	return nil
}

// aloneRound takes the measures of vtepd alone once; b is nil where broadcasts
// are not wanted.
func (r *runner) aloneRound(w wire, sys *overlay.System, b *load.Broadcaster, round int) error {
	add := func(m report.Metric, v float64) { r.res.Add(w.Name, m, round, sys.Name, v) }
	if r.plan.wants(w, tables, sys) {
		t, err := load.FDB()
		if err != nil {
			return err
		}
		few, many, all := load.PerLookup(t.Few), load.PerLookup(t.Many), load.PerLookup(t.All)
		add(report.FDBFew, few)
		add(report.FDBMany, many)
		add(report.FDBAll, all)
		add(report.FDBBytes, t.Bytes)
		progress("%s, round %d of %d, %s:  %.1f ns, %.1f ns among many, %.1f ns when all are in use, %.1f bytes", w.Title, round, r.plan.rounds, tables, few, many, all, t.Bytes)
	}
	if b == nil {
		return nil
	}
	f, err := b.Run()
	if err != nil {
		return err
	}
	add(report.FloodCPU, load.PerCopy(f.CPU))
	add(report.FloodTime, load.PerCopy(f.Time))
	progress("%s, round %d of %d, %s:  %.2f µs a copy, %.2f of processor time", w.Title, round, r.plan.rounds, flood, load.PerCopy(f.Time), load.PerCopy(f.CPU))
	return nil
}
