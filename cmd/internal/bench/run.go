package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vtepd/cmd/internal/bench/load"
	"vtepd/cmd/internal/bench/overlay"
	"vtepd/cmd/internal/bench/report"
	"vtepd/cmd/internal/lab"
)

// A runner carries a plan out.
type runner struct {
	plan       *plan
	bin, tools string
	idleTime   time.Duration // that idle programs are watched for, a round
	res        *report.Results
}

// A station is a system that runs on a wire, in two hosts of its own.
type station struct {
	sys    *overlay.System
	pair   *overlay.Pair
	server *load.TCPServer
	failed int // measurements that failed in a row
}

// giveUp is how many measurements of a system may fail in a row.
const giveUp = 3

// all measures on one wire after the other. What was measured before an error
// is in the results.
func (r *runner) all(ctx context.Context) error {
	for _, w := range wires() {
		if len(r.plan.on(w)) == 0 {
			continue
		}
		r.res.Wires = append(r.res.Wires, w.Wire)
		on := r.wire
		if w.Name == report.Alone {
			on = r.alone
		}
		if err := on(ctx, w); err != nil {
			return fmt.Errorf("%s: %w", w.Title, err)
		}
	}
	return nil
}

// wire measures on one wire. All systems are up all the time: idle they cost
// next to nothing, and each round can have every one of them.
func (r *runner) wire(ctx context.Context, w wire) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	stations, err := r.start(ctx, l, w)
	if err != nil {
		return err
	}
	if err := r.idle(ctx, w, stations); err != nil {
		return err
	}
	stations, err = r.warmUp(ctx, w, stations)
	for round := 1; err == nil && round <= r.plan.rounds; round++ {
		stations, err = r.round(ctx, w, stations, round)
	}
	return err
}

// start starts the systems of a wire. One that cannot run is left out, with
// the reason; without the kernel's device there is nothing to compare with.
func (r *runner) start(ctx context.Context, l *lab.Lab, w wire) ([]*station, error) {
	var out []*station
	tier := ""
	for _, s := range r.plan.on(w) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var st *station
		err := error(&overlay.Unavailable{Reason: "it is the automatic tier here, measured as vtepd"})
		if s.Name != "vtepd-"+tier || s.Name == "vtepd-offload" { // the offload tier has a bar of its own
			st, err = r.station(l, w, s)
		}
		if err != nil {
			if s.Kind == overlay.Kernel || s.Name == "vtepd" {
				return nil, fmt.Errorf("%s: %w", s.Title, err)
			}
			r.leaveOut(w, s, err)
			continue
		}
		if s.Name == "vtepd" {
			tier = st.pair.Tier
		}
		r.known(s, st.pair)
		progress("%s: %s is up", w.Title, s.Title)
		out = append(out, st)
	}
	return out, nil
}

// station makes two hosts and starts a system in them.
func (r *runner) station(l *lab.Lab, w wire, s *overlay.System) (*station, error) {
	a, err := l.Host(s.Name + "-a")
	if err != nil {
		return nil, err
	}
	b, err := l.Host(s.Name + "-b")
	if err != nil {
		return nil, err
	}
	if err := l.Connect(a, b, lab.Wire{MTU: w.mtu}); err != nil {
		return nil, err
	}
	if w.plain {
		if err := errors.Join(plain(a), plain(b)); err != nil {
			return nil, err
		}
	}
	p := &overlay.Pair{A: a, B: b, MTU: w.mtu, Bin: r.bin, Tools: r.tools}
	if err := s.Start(p); err != nil {
		return nil, err
	}
	server, err := load.NewTCPServer(b, p.AddrB)
	return &station{sys: s, pair: p, server: server}, err
}

// plain makes the wire of a host one that segments nothing, as a card without
// tunnel offloads, and lets the receiving end join what belongs together, as
// the drivers of cards do.
func plain(h *lab.Host) error {
	_, err := h.Run("ethtool", "-K", "u0", "tso", "off", "gso", "off", "tx-udp-segmentation", "off",
		"tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off", "gro", "on")
	return err
}

// known puts a system in the results, once. What differs between the wires is
// noted.
func (r *runner) known(s *overlay.System, p *overlay.Pair) {
	for i := range r.res.Systems {
		if have := &r.res.Systems[i]; have.Name == s.Name {
			if p.Note != "" && !strings.Contains(have.Note, p.Note) {
				have.Note = strings.TrimPrefix(have.Note+"; "+p.Note, "; ")
			}
			if have.Version == "" {
				have.Version = p.Version
			}
			return
		}
	}
	r.res.Systems = append(r.res.Systems, report.System{Name: s.Name, Title: s.Title, Kind: string(s.Kind), Version: p.Version, Note: p.Note})
}

// leaveOut notes that a system does not take part on a wire.
func (r *runner) leaveOut(w wire, s *overlay.System, err error) {
	r.known(s, &overlay.Pair{})
	r.res.Gaps = append(r.res.Gaps, report.Gap{Wire: w.Name, System: s.Name, Reason: err.Error()})
	progress("%s: %s is left out: %v", w.Title, s.Title, err)
}

// warmUp sends TCP over every system once, unmeasured. One that does not carry
// it is left out.
func (r *runner) warmUp(ctx context.Context, w wire, stations []*station) ([]*station, error) {
	var out []*station
	for _, st := range stations {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if _, err := st.server.Run(st.pair.A, 1); err != nil {
			r.leaveOut(w, st.sys, fmt.Errorf("TCP does not cross it: %w", err))
			continue
		}
		out = append(out, st)
	}
	return out, nil
}

// progress tells whoever waits.
func progress(format string, args ...any) {
	fmt.Printf("%s  "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}
