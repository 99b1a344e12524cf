package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/route/claim"
)

// keep does one look's work.
func (h *Host) keep(ctx context.Context, w *Wanted, s *Status) (rep Report) {
	h.busy = 0
	nothing := len(w.Segments) == 0 && len(w.Prefixes) == 0 && len(w.Forward) == 0
	if h.rests = h.rests && nothing; h.rests {
		return rep
	}
	if err := h.own(); err != nil {
		if held := new(claim.Held); nothing && errors.As(err, &held) {
			h.rests = true // the leftovers, if any, are that daemon's
			return rep
		}
		s.Wanted = countPrefixes(w)
		s.Errors = append(s.Errors, err)
		return rep
	}
	began := time.Now()
	k, err := openKernel(h.seed)
	h.busy = time.Since(began)
	if err != nil {
		s.Errors = append(s.Errors, err)
		return rep
	}
	defer k.close()
	began = time.Now()
	d := decide(w, &view{links: k.links, foreign: k.foreign, direct: h.asker(k, w), name: k.name})
	p := makePlan(d.routes, k.own, k.foreign, k.name)
	h.busy += time.Since(began)
	s.Wanted, s.Owned, s.Refused, s.Conflicts = d.prefixes, p.right, d.refused, p.conflicts
	s.Errors = append(s.Errors, h.enable(w, &d, k)...)
	rep.Settings, h.settings.fresh = h.settings.fresh, nil
	h.carryOut(ctx, k, p.changes, s, &rep)
	maps.DeleteFunc(h.wrote, func(p netip.Prefix, _ kernelRoute) bool { _, ok := d.routes[p]; return !ok })
	if nothing && len(s.Errors) == 0 {
		h.rests = true
		h.release()
	}
	return rep
}

// own claims the routes of the network namespace.
func (h *Host) own() error {
	if h.claim != nil {
		return nil
	}
	c, err := claim.Take(claimName)
	if err == nil {
		h.claim = c
	}
	return err
}

func (h *Host) release() {
	h.claim.Release()
	h.claim = nil
}

func countPrefixes(w *Wanted) int {
	seen := make(map[netip.Prefix]bool)
	for _, e := range w.Prefixes {
		seen[e.Key.Prefix] = true
	}
	return len(seen)
}

// asker returns how VTEPs are reached on-link. Answers are remembered as long
// as nothing changes that they depend on. What is reached by a segment's device
// is not on-link, though no router is named.
func (h *Host) asker(k *kernel, w *Wanted) func(netip.Addr) (hop, string) {
	if k.world != h.world {
		clear(h.direct)
		h.world = k.world
	}
	overlay := make(map[int]bool)
	for _, s := range w.Segments {
		if l, ok := k.links[s.Device]; ok {
			overlay[l.index] = true
		}
	}
	return func(a netip.Addr) (hop, string) {
		answer, ok := h.direct[a]
		if !ok {
			began := time.Now()
			defer func() { h.busy -= time.Since(began) }() // seldom, and slow
			answer.hop, answer.why = k.onLink(a)
			h.direct[a] = answer
		}
		if answer.why == "" && overlay[answer.hop.index] {
			return hop{}, "it is reached by an overlay"
		}
		return answer.hop, answer.why
	}
}

// enable switches on what forwarding takes: on the devices of the segments,
// those that were named, and those that direct routes lead to.
func (h *Host) enable(w *Wanted, d *decision, k *kernel) (errs []error) {
	v4, v6 := make(map[string]bool), make(map[string]bool)
	for p, r := range d.routes {
		for _, hop := range r.hops {
			if p.Addr().Is4() {
				v4[k.name(hop.index)] = true
			} else {
				v6[k.name(hop.index)] = true
			}
		}
	}
	needs6 := len(v6) > 0
	for _, s := range w.Segments {
		l, ok := k.links[s.Device]
		if !ok {
			continue
		}
		v4[s.Device] = true
		needs6 = needs6 || slices.ContainsFunc(l.addrs, netip.Addr.Is6)
		if err := h.settings.loose(s.Device); err != nil && !gone(err) {
			errs = append(errs, err)
		}
	}
	for _, name := range w.Forward {
		if _, ok := k.links[name]; ok {
			v4[name] = true
		}
	}
	if needs6 {
		maps.Copy(v6, v4)
	}
	maps.Copy(v4, v6)
	for name := range v4 {
		if err := h.settings.forward(name, v6[name]); err != nil && !gone(err) {
			errs = append(errs, err)
		}
	}
	return errs
}

// gone reports whether a device went between being seen and being set up, or
// has no such protocol.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) }

// carryOut makes the changes and counts them, as many as there is time for
// before ctx ends: a hundred thousand take seconds, and a stop does not.
func (h *Host) carryOut(ctx context.Context, k *kernel, changes []change, s *Status, rep *Report) {
	for i := range changes {
		if ctx.Err() != nil {
			return
		}
		c := &changes[i]
		err := k.do(c)
		switch {
		case err != nil && c.add != nil:
			s.Refused = append(s.Refused, Refusal{Prefix: c.add.prefix, VNI: c.add.vni, Why: "the kernel refuses it: " + err.Error()})
		case err != nil:
			s.Errors = append(s.Errors, fmt.Errorf("route %s not removed: %w", c.del.text(k.name), err))
		case c.add == nil:
			rep.Removed++
		default:
			s.Owned++
			if before, ok := h.wrote[c.add.prefix]; ok && before.equal(c.add) {
				s.Restored++
			}
			h.wrote[c.add.prefix] = *c.add
			if c.del != nil {
				rep.Corrected++
			} else {
				rep.Added++
			}
		}
	}
}

// report tells what changed since the last look, if anything did.
func (h *Host) report(rep Report, s *Status) {
	now := make(map[string]bool)
	for _, p := range s.Problems() {
		if now[p] = true; !h.problems[p] {
			rep.Problems = append(rep.Problems, p)
		}
	}
	for p := range h.problems {
		if !now[p] {
			rep.Solved = append(rep.Solved, p)
		}
	}
	h.problems = now
	slices.Sort(rep.Solved)
	if h.cfg.Report != nil && (rep.Added+rep.Removed+rep.Corrected+len(rep.Settings)+len(rep.Problems)+len(rep.Solved) > 0) {
		h.cfg.Report(rep)
	}
}
