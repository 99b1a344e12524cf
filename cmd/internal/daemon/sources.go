package daemon

import (
	"net/netip"

	"go.uber.org/zap"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// apply gives a batch of one source to the route table and what follows from
// it to the engine and to monitors. What the engine cannot take (a VTEP of a
// family that we have no address of) is logged, and tried again when the host
// changes. It holds d.mu: so the deltas of several sources are carried out in
// the order in which the table made them.
func (d *Daemon) apply(b route.Batch) { d.carryOut(d.table.Apply(b)) }

// take is where a control plane gives its batches. The paths of what is new are
// looked at within a second, whatever the rate of changes.
func (d *Daemon) take(b route.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	deltas := d.table.Apply(b)
	d.carryOut(deltas)
	for i := range deltas {
		if s := d.segments[deltas[i].Entry.Key.VNI]; s != nil {
			s.stale = true
		}
	}
}

// carryOut does what deltas of the table say. It holds d.mu since the table
// made them.
func (d *Daemon) carryOut(deltas []route.Delta) {
	byVNI := make(map[uint32][]route.Delta)
	for _, delta := range deltas {
		byVNI[delta.Entry.Key.VNI] = append(byVNI[delta.Entry.Key.VNI], delta)
	}
	for vni, ds := range byVNI {
		s := d.segments[vni]
		if s == nil {
			continue // not there yet: it gets all entries when it comes
		}
		d.applyTo(s, ds)
		for _, delta := range ds {
			d.monitor.delta(s, delta)
		}
	}
}

// give gives a new segment what sources said of it before it came. It holds
// d.mu.
func (d *Daemon) give(s *segment) {
	ds := added(d.table.Segment(s.cfg.VNI))
	d.applyTo(s, ds)
	for _, delta := range ds {
		d.monitor.delta(s, delta)
	}
}

// retry gives the engine again what it could not take before. It holds d.mu.
func (d *Daemon) retry(s *segment) {
	var es []route.Entry
	for k := range s.untaken {
		if e, ok := d.table.Get(k); ok {
			es = append(es, e)
		}
	}
	clear(s.untaken)
	d.applyTo(s, added(es))
}

func added(es []route.Entry) []route.Delta {
	ds := make([]route.Delta, 0, len(es))
	for _, e := range es {
		ds = append(ds, route.Delta{Op: route.Added, Entry: e})
	}
	return ds
}

func (d *Daemon) applyTo(s *segment, ds []route.Delta) {
	now := d.engine.Now()
	err := s.engine.Change(func(c *vtep.Change) error {
		var first error
		for _, delta := range ds {
			delete(s.untaken, delta.Entry.Key)
			if err := d.applyDelta(s, c, delta, now); err != nil {
				s.untaken[delta.Entry.Key] = struct{}{}
				if first == nil {
					first = err
				}
			}
		}
		return first
	})
	if err != nil {
		s.logger(d.log).Warn("entries not in force", zap.Int("count", len(s.untaken)), zap.Error(err))
	}
}

func (d *Daemon) applyDelta(s *segment, c *vtep.Change, delta route.Delta, now fdb.Tick) error {
	e, remove := delta.Entry, delta.Op == route.Removed
	switch e.Key.Kind {
	case route.RemoteVTEP:
		if remove {
			c.DelFlood(vtep.VTEP(e.Key.VTEP))
			return nil
		}
		return c.AddFlood(vtep.VTEP(e.Key.VTEP))
	case route.MAC:
		return d.applyMAC(c, delta, now)
	case route.Neighbor:
		if remove {
			c.DelNeighbour(e.Key.IP)
		} else {
			c.PutNeighbour(e.Key.IP, e.MAC)
		}
	case route.Prefix:
		return s.applyPrefix(c, delta)
	}
	return nil
}

// applyMAC puts a MAC where it is now. Where that cannot be, it is not left
// where it was.
func (d *Daemon) applyMAC(c *vtep.Change, delta route.Delta, now fdb.Tick) error {
	e := delta.Entry
	to, state := []vtep.VTEP{vtep.VTEP(e.VTEP)}, fdbState(e.State)
	switch {
	case e.Key.MAC.IsMulticast():
		to, state = d.multicastVTEPs(e.Key), fdb.Permanent
	case delta.Op == route.Removed:
		c.DelMAC(e.Key.MAC)
		return nil
	}
	err := c.PutMAC(e.Key.MAC, state, fdbSource(e.Source), now, to...)
	if err != nil && delta.Op != route.Added {
		c.DelMAC(e.Key.MAC)
	}
	return err
}

// applyPrefix carries out a delta of a prefix. What travels by the host's
// routes only is not for the data path, nor is what is behind ourselves.
func (s *segment) applyPrefix(c *vtep.Change, delta route.Delta) (err error) {
	e, there := delta.Entry, false
	if delta.Op != route.Removed && e.Way != route.HostOnly && !s.own(e.VTEP.Addr) {
		err = c.PutPrefix(e.Key.Prefix, tunnelTo(e), e.MAC)
		there = err == nil
	}
	if old := delta.Old; delta.Op != route.Added && (!there || tunnelTo(old) != tunnelTo(e)) {
		c.DelPrefix(old.Key.Prefix, tunnelTo(old))
	}
	return err
}

// reapplyPrefixes carries prefixes out again when our own addresses are others.
func (d *Daemon) reapplyPrefixes(s *segment) {
	var ds []route.Delta
	for _, e := range d.table.Segment(s.cfg.VNI, route.Prefix) {
		ds = append(ds, route.Delta{Op: route.Replaced, Old: e, Entry: e})
	}
	d.applyTo(s, ds)
}

// tunnelTo returns the VTEP that packets for a prefix are sent to.
func tunnelTo(e route.Entry) vtep.VTEP {
	v := vtep.VTEP(e.VTEP)
	if e.L3VNI != 0 {
		v.VNI = e.L3VNI
	}
	return v
}

// multicastVTEPs returns where a multicast MAC goes: each of its VTEPs is an
// entry of its own in the table.
func (d *Daemon) multicastVTEPs(k route.Key) []vtep.VTEP {
	var out []vtep.VTEP
	for _, e := range d.table.Group(k) {
		out = append(out, vtep.VTEP(e.VTEP))
	}
	return out
}

// macEntries returns the entries of one MAC.
func (d *Daemon) macEntries(vni uint32, mac packet.MAC) []route.Entry {
	return d.table.Group(route.MACKey(vni, mac, route.VTEP{}))
}

// A reached is the outer address of a remote.
type reached struct {
	addr     netip.Addr
	stranger bool // learned from the wire
}

// remoteAddrs returns the outer addresses of the segment's remotes.
func (s *segment) remoteAddrs() (out []reached) {
	if s.engine == nil {
		for _, a := range s.destinations() {
			out = append(out, reached{addr: a})
		}
		return out
	}
	for _, r := range s.engine.Remotes() {
		out = append(out, reached{r.VTEP().Addr, !r.Known()})
	}
	return out
}

// The words of the route table in those of the FDB and of the API.

func fdbState(s route.State) fdb.State {
	switch s {
	case route.Dynamic:
		return fdb.Dynamic
	case route.Static:
		return fdb.Static
	default:
		return fdb.Permanent
	}
}

func fdbSource(s route.Source) fdb.Source {
	switch s {
	case route.Operator:
		return fdb.Operator
	case route.Flannel:
		return fdb.Flannel
	case route.EVPN:
		return fdb.EVPN
	case route.Kube:
		return fdb.Kube
	default:
		return fdb.Config
	}
}

func apiSource(s route.Source) api.Source { return api.Source(s.String()) }

func apiState(s route.State) api.State { return api.State(fdbState(s).String()) }
