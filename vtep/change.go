package vtep

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
	"vtepd/vtep/fib"
)

// A Change is a batch of changes by control to one segment: remotes, FDB
// entries, neighbours, prefixes. It is made and used inside [Segment.Change].
type Change struct {
	s          *Segment
	neigh      map[netip.Addr]packet.MAC
	routes     *fib.Batch
	floodDirty bool
}

// Change calls f with a batch and publishes what it did to the workers at
// once. What f did before it returned an error stays done.
func (s *Segment) Change(f func(*Change) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Change{s: s}
	err := f(c)
	if c.routes != nil {
		c.routes.Publish()
	}
	if c.neigh != nil {
		s.neigh.Store(&c.neigh)
	}
	if c.floodDirty {
		s.publishFlood()
		s.dropUnaccepted()
	}
	return err
}

// AddFlood makes v, a VTEP or a group, a member of the flood list.
func (c *Change) AddFlood(v VTEP) error {
	r, err := c.s.remote(v)
	if err != nil {
		return err
	}
	r.flood = true
	c.s.named(r)
	c.floodDirty = true
	return nil
}

// DelFlood takes v off the flood list. FDB entries behind it stay only if
// something else still lets it send to us.
func (c *Change) DelFlood(v VTEP) {
	if r := c.s.byVTEP[v]; r != nil && r.flood {
		r.flood = false
		c.s.named(r)
		c.floodDirty = true
	}
}

// PutMAC places mac behind the given VTEPs, in place of what the FDB had. More
// than one is for multicast MACs.
func (c *Change) PutMAC(mac packet.MAC, state fdb.State, source fdb.Source, now fdb.Tick, to ...VTEP) error {
	if !mac.IsMulticast() && len(to) != 1 {
		return fmt.Errorf("%v: a unicast MAC is behind one VTEP, not %d", mac, len(to))
	}
	claims := state != fdb.Dynamic || mac.IsMulticast() // multicast entries do not age
	dests := make([]fdb.Dest, 0, len(to))
	for _, v := range to {
		r, err := c.s.remote(v)
		if err != nil {
			if claims {
				c.release(dests...)
			}
			return err
		}
		if slices.Contains(dests, r.dest) {
			continue
		}
		if claims { // before the old entry goes: it may hold the only claim
			r.statics++
			c.s.named(r)
		}
		dests = append(dests, r.dest)
	}
	if mac.IsMulticast() {
		c.release(c.s.table.LookupMulti(mac)...)
		c.s.table.PutMulti(mac, dests)
		c.floodDirty = true
		return nil
	}
	if old, ok := c.s.table.Get(mac); ok && old.State != fdb.Dynamic {
		c.release(old.Dest)
	}
	c.s.table.Put(fdb.Entry{MAC: mac, Dest: dests[0], State: state, Source: source, Updated: now})
	c.floodDirty = true
	return nil
}

// DelMAC takes mac out of the FDB, whoever put it there. It reports whether it
// was in.
func (c *Change) DelMAC(mac packet.MAC) bool {
	if mac.IsMulticast() {
		dests := c.s.table.LookupMulti(mac)
		c.s.table.PutMulti(mac, nil)
		c.release(dests...)
		return len(dests) > 0
	}
	old, ok := c.s.table.Delete(mac)
	if ok && old.State != fdb.Dynamic {
		c.release(old.Dest)
	}
	return ok
}

// PutNeighbour says that ip is at mac.
func (c *Change) PutNeighbour(ip netip.Addr, mac packet.MAC) { c.neighbours()[ip] = mac }

// DelNeighbour forgets where ip is.
func (c *Change) DelNeighbour(ip netip.Addr) { delete(c.neighbours(), ip) }

// PutPrefix places a prefix behind v, whose router has the given MAC, beside
// the other VTEPs that it is behind. Packets go to one of them, by their flow.
func (c *Change) PutPrefix(p netip.Prefix, v VTEP, router packet.MAC) error {
	switch {
	case !c.s.Routed():
		return fmt.Errorf("%v: segment %d is not routed", p, c.s.vni)
	case router.IsMulticast() || router.IsZero():
		return fmt.Errorf("%v: %v is no router's MAC", p, router)
	}
	r, err := c.s.remote(v)
	if err != nil {
		return err
	}
	had, err := c.prefixes().Put(p, fib.Hop{Dest: r.dest, Router: router})
	if err != nil || had {
		return err
	}
	r.statics++
	c.s.named(r)
	c.floodDirty = c.floodDirty || r.statics == 1
	return nil
}

// DelPrefix takes a prefix from v. It reports whether it was behind it.
func (c *Change) DelPrefix(p netip.Prefix, v VTEP) bool {
	r := c.s.byVTEP[v]
	if r == nil || !c.s.Routed() || !c.prefixes().Delete(p, r.dest) {
		return false
	}
	c.release(r.dest)
	return true
}

func (c *Change) prefixes() *fib.Batch {
	if c.routes == nil {
		c.routes = c.s.routes.Batch()
	}
	return c.routes
}

func (c *Change) neighbours() map[netip.Addr]packet.MAC {
	if c.neigh == nil {
		c.neigh = maps.Clone(*c.s.neigh.Load())
	}
	return c.neigh
}

// release takes back the claims of FDB entries and prefixes on remotes.
func (c *Change) release(dests ...fdb.Dest) {
	for _, d := range dests {
		if r := c.s.RemoteAt(d); r != nil && r.statics > 0 {
			r.statics--
			c.s.named(r)
			c.floodDirty = true
		}
	}
}

// named settles whether r counts as known after a claim came or went. It holds
// s.mu.
func (s *Segment) named(r *Remote) {
	known := r.flood || r.statics > 0
	if known == r.known.Load() {
		return
	}
	r.known.Store(known)
	if known {
		s.learned--
	} else {
		s.learned++
	}
}

// dropUnaccepted forgets the remotes that nothing names and no accept list
// holds, and the learned entries behind them: their frames are not ours any
// more. It holds s.mu.
func (s *Segment) dropUnaccepted() {
	o := s.opts.Load()
	s.forget(func(r *Remote) bool { return !o.accepts(r.vtep.Addr, r) || r.isGroup() })
}

// Sweep ages the FDB and forgets learned remotes that no FDB entry points at.
// The engine calls it about once a second.
func (s *Segment) Sweep(now fdb.Tick) {
	s.table.Age(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
	if s.learned == 0 {
		return
	}
	used := make(map[fdb.Dest]bool)
	s.table.Range(func(e fdb.Entry) bool {
		used[e.Dest] = true
		return true
	})
	s.forget(func(r *Remote) bool { return !used[r.dest] })
}

// release makes the places of forgotten remotes free for others, one sweep
// after they were forgotten: a worker in the middle of a frame may have
// learned one more MAC behind such a place. It holds s.mu.
func (s *Segment) release() {
	if len(s.quarantine) == 0 {
		return
	}
	dead := make(map[fdb.Dest]bool)
	for _, d := range s.quarantine {
		dead[d] = true
	}
	s.table.DeleteIf(func(e fdb.Entry) bool { return dead[e.Dest] })
	s.free = append(s.free, s.quarantine...)
	s.quarantine = s.quarantine[:0]
}

// forget removes the remotes that nothing names, no entry of control points at
// and for which gone is true, with the learned entries behind them. It holds
// s.mu.
func (s *Segment) forget(gone func(*Remote) bool) {
	if s.learned == 0 {
		return
	}
	held := make(map[fdb.Dest]bool)
	s.table.Range(func(e fdb.Entry) bool {
		if e.Source != fdb.Learned {
			held[e.Dest] = true
		}
		return true
	})
	dead := make(map[fdb.Dest]bool)
	for _, r := range s.remotes.all() {
		if r.known.Load() || held[r.dest] || !gone(r) {
			continue
		}
		dead[r.dest] = true
		delete(s.byVTEP, r.vtep)
		s.remotes.put(r.dest, nil)
		s.learned--
		s.quarantine = append(s.quarantine, r.dest)
	}
	if len(dead) == 0 {
		return
	}
	s.publishSources()
	s.table.DeleteIf(func(e fdb.Entry) bool { return dead[e.Dest] })
	s.publishLimits()
}
