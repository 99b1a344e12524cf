package main

import (
	"fmt"
	"slices"
	"strings"

	"vtepd/cmd/internal/bench/overlay"
	"vtepd/cmd/internal/bench/report"
)

// A measure is one way to put load on a system. It may yield several metrics.
type measure struct {
	name, title string
}

// The measures. That of idle systems is taken once a wire, before any load;
// the others once a round.
const (
	tcp1  = "tcp1"
	tcp4  = "tcp4"
	bidir = "bidir"
	udp   = "udp"
	rr    = "rr"
	idle  = "idle"

	// Of vtepd alone, in rounds of their own.
	tables = "fdb"
	flood  = "flood"
)

func measures() []measure {
	return []measure{
		{tcp1, "TCP, 1 stream; processor time per GByte; resident memory"},
		{tcp4, "TCP, 4 streams"},
		{bidir, "TCP, both directions at once"},
		{udp, "64-byte UDP datagrams received per second"},
		{rr, "request/response of 64 bytes, p50 and p99"},
		{idle, "processor time and memory of idle programs"},
		{tables, "FDB lookups among 1,000 and 1,000,000 entries, memory of an entry"},
		{flood, "processor time and time of a copy of a broadcast to 1,000 remotes"},
	}
}

// A wire is an underlay.
type wire struct {
	report.Wire
	mtu   int
	plain bool // nothing is left to hardware that a plain card does not do
}

func wires() []wire {
	return []wire{
		{report.Wire{Name: report.Wire1500, Title: "MTU 1500"}, 1500, false},
		{report.Wire{Name: report.Wire9000, Title: "MTU 9000"}, 9000, false},
		{report.Wire{Name: report.WirePlain, Title: "MTU 1500, plain wire"}, 1500, true},
		{report.Wire{Name: report.Alone, Title: "vtepd alone"}, 0, false},
	}
}

// A plan says what is measured.
type plan struct {
	rounds, seconds int
	quick           bool
	systems         []*overlay.System
	measures        []string
}

// newPlan makes a plan from what the command line says; empty lists stand for
// everything. The kernel's device is always in it, for the ratios.
func newPlan(quick bool, rounds, seconds int, only, measureNames string) (*plan, error) {
	p := &plan{rounds: rounds, seconds: seconds, quick: quick}
	if rounds == 0 {
		p.rounds = 11
		if quick {
			p.rounds = 3
		}
	}
	if p.rounds < 1 || seconds < 1 {
		return nil, fmt.Errorf("%d rounds of %d s measure nothing", p.rounds, seconds)
	}
	var known []string
	for _, m := range measures() {
		known = append(known, m.name)
	}
	wanted, err := choose("measure", measureNames, known)
	if err != nil {
		return nil, err
	}
	p.measures = wanted
	known = nil
	for _, s := range overlay.All() {
		known = append(known, s.Name)
	}
	wanted, err = choose("system", only, known)
	if err != nil {
		return nil, err
	}
	for _, s := range overlay.All() {
		inQuick := s.Kind == overlay.Kernel || s.Kind == overlay.Ours
		if s.Kind == overlay.Kernel || slices.Contains(wanted, s.Name) && (!quick || inQuick || only != "") {
			p.systems = append(p.systems, s)
		}
	}
	return p, nil
}

// choose picks names from the known ones, in their order.
func choose(what, names string, known []string) ([]string, error) {
	if names == "" {
		return known, nil
	}
	wanted := strings.Split(names, ",")
	for _, n := range wanted {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("there is no %s %q; there are %s", what, n, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(slices.Clone(known), func(n string) bool { return !slices.Contains(wanted, n) }), nil
}

// wants reports whether a system is measured so on a wire. MTU 1500 has
// everything; the other wires have what tells them apart, so that a run stays
// short enough to be repeated.
func (p *plan) wants(w wire, m string, s *overlay.System) bool {
	if !slices.Contains(p.measures, m) {
		return false
	}
	if alone := m == tables || m == flood; alone || w.Name == report.Alone {
		return alone && w.Name == report.Alone && s.Name == "vtepd"
	}
	main := s.Kind == overlay.Kernel || s.Name == "vtepd"
	if w.Name == report.Wire1500 {
		return !p.quick || main || (m != tcp4 && m != bidir)
	}
	switch m {
	case tcp1:
		return !p.quick || main
	case tcp4, udp:
		return !p.quick && (main || s.Kind == overlay.Bare)
	default:
		return false
	}
}

// on returns the systems that take part on a wire.
func (p *plan) on(w wire) []*overlay.System {
	var out []*overlay.System
	for _, s := range p.systems {
		if slices.ContainsFunc(p.measures, func(m string) bool { return p.wants(w, m, s) }) {
			out = append(out, s)
		}
	}
	return out
}

// order is the order of n systems in a round: it rotates, and every other
// round runs backwards, so that none is always measured after the same one.
func order(n, round int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = (i + round) % n
	}
	if round%2 == 1 {
		slices.Reverse(out)
	}
	return out
}
