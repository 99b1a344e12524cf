package daemon

import (
	"cmp"
	"net/netip"
	"slices"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/route"
	"vtepd/vtep"
)

// Remotes implements [api.Backend].
func (d *Daemon) Remotes(sel api.Selector) ([]api.Remote, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	segs, err := d.chosen(sel)
	if err != nil {
		return nil, err
	}
	var out []api.Remote
	for _, s := range segs {
		out = append(out, d.segmentRemotes(s)...)
	}
	return out, nil
}

// segmentRemotes returns the remotes of s: the members (those of the flood list
// where there is one), those that
// entries name, those that were learned. It holds d.mu.
func (d *Daemon) segmentRemotes(s *segment) []api.Remote {
	flood := make(map[vtep.VTEP]route.Source)
	named := make(map[vtep.VTEP]route.Source)
	for _, e := range d.table.Segment(s.cfg.VNI) {
		switch e.Key.Kind {
		case route.RemoteVTEP:
			flood[vtep.VTEP(e.Key.VTEP)] = e.Source
		case route.MAC:
			named[vtep.VTEP(e.VTEP)] = e.Source
		case route.Prefix:
			named[tunnelTo(e)] = e.Source
		}
	}
	var out []api.Remote
	for _, r := range s.engine.Remotes() {
		v := r.VTEP()
		a := s.remote(route.Entry{Key: route.Key{VTEP: route.VTEP(v)}, Source: flood[v]})
		a.MTU = r.FrameLimit() - 14
		_, member := flood[v]
		a.Flood = member && s.cfg.Mode == config.Bridged
		if from, ok := named[v]; ok && !member {
			a.Source = apiSource(from)
		} else if !member {
			a.Source = api.Learned
		}
		if s.unreachable[v.Addr] {
			a.Problem = "no route to it"
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(x, y api.Remote) int { return cmp.Or(x.IP.Compare(y.IP), cmp.Compare(x.Port, y.Port)) })
	return out
}

// remote puts a member of the flood list into the API's words.
func (s *segment) remote(e route.Entry) api.Remote {
	v := e.Key.VTEP
	return api.Remote{IP: v.Addr, Port: v.Port, VNI: v.VNI, Ifname: s.cfg.Device, Segment: s.cfg.VNI,
		Source: apiSource(e.Source), Flood: s.cfg.Mode == config.Bridged}
}

// RemoteChange implements [api.Backend].
func (d *Daemon) RemoteChange(c api.RemoteChange) (api.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.bridged(c.Selector, "flood list")
	if err != nil {
		return api.Result{}, err
	}
	if c.Op == api.OpDel {
		return d.remoteDel(s, c.IP, c.Port, c.VNI)
	}
	return d.floodPut(s, api.FDBChange{Op: api.OpAdd, Dst: c.IP, Port: c.Port, VNI: c.VNI})
}

// floodPut makes a VTEP a member of the flood list, with OpReplace the only
// one. It holds d.mu.
func (d *Daemon) floodPut(s *segment, c api.FDBChange) (api.Result, error) {
	v, err := s.target(c.Dst, c.Port, c.VNI)
	if err != nil {
		return api.Result{}, err
	}
	key := route.Key{Kind: route.RemoteVTEP, VNI: s.cfg.VNI, VTEP: v}
	if _, ok := d.table.Get(key); ok && c.Op != api.OpReplace {
		return api.Result{}, api.Refusedf("%v is a remote of segment %d already", v.Addr, s.cfg.VNI)
	}
	var r api.Result
	if c.Op == api.OpReplace {
		r = d.remove(s, keysOf(d.flooded(s.cfg.VNI)))
	}
	d.apply(route.Batch{Source: route.Operator, Add: []route.Entry{{Key: key}}})
	d.follow(s, nil)
	return api.Result{Changed: 1, Note: r.Note}, nil
}

// flooded returns the members of a flood list.
func (d *Daemon) flooded(vni uint32) []route.Entry {
	return d.table.Segment(vni, route.RemoteVTEP)
}

// remoteDel takes VTEPs off the flood list. It holds d.mu.
func (d *Daemon) remoteDel(s *segment, ip netip.Addr, port uint16, vni *uint32) (api.Result, error) {
	var have []route.Entry
	for _, e := range d.flooded(s.cfg.VNI) {
		if matches(vtep.VTEP(e.Key.VTEP), ip, port, vni) {
			have = append(have, e)
		}
	}
	r := d.remove(s, keysOf(have))
	return r, missing(r, have, "%v is not a remote of segment %d", ip, s.cfg.VNI)
}

// Neighbours implements [api.Backend].
func (d *Daemon) Neighbours(sel api.Selector) ([]api.Neighbour, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	segs, err := d.chosen(sel)
	if err != nil {
		return nil, err
	}
	var out []api.Neighbour
	for _, s := range segs {
		first := len(out)
		for _, e := range d.table.Segment(s.cfg.VNI, route.Neighbor) {
			out = append(out, s.neighbour(e))
		}
		slices.SortFunc(out[first:], func(a, b api.Neighbour) int { return a.IP.Compare(b.IP) })
	}
	return out, nil
}

func (s *segment) neighbour(e route.Entry) api.Neighbour {
	return api.Neighbour{IP: e.Key.IP, MAC: e.MAC, Ifname: s.cfg.Device, Segment: s.cfg.VNI,
		State: api.Permanent, Source: apiSource(e.Source)}
}

// NeighChange implements [api.Backend].
func (d *Daemon) NeighChange(c api.NeighChange) (api.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.bridged(c.Selector, "neighbours")
	if err != nil {
		return api.Result{}, err
	}
	key := route.Key{Kind: route.Neighbor, VNI: s.cfg.VNI, IP: c.IP.Unmap()}
	have, found := d.table.Get(key)
	switch {
	case c.Op == api.OpDel && !found:
		return api.Result{}, api.NotFoundf("no neighbour %v on %s", c.IP, s.cfg.Device)
	case c.Op == api.OpDel:
		r := d.remove(s, []route.Key{key})
		return r, missing(r, []route.Entry{have}, "no neighbour %v on %s", c.IP, s.cfg.Device)
	case c.Op == api.OpAdd && found:
		return api.Result{}, api.Refusedf("%v is at %v already: use replace", c.IP, have.MAC)
	case c.IP.IsMulticast() || c.IP.IsUnspecified() || !c.IP.IsValid() || c.MAC.IsMulticast() || c.MAC.IsZero():
		return api.Result{}, api.Usagef("a neighbour has a unicast address and a unicast MAC")
	}
	d.apply(route.Batch{Source: route.Operator, Add: []route.Entry{{Key: key, MAC: c.MAC}}})
	r := api.Result{Changed: 1}
	if !s.cfg.Suppress {
		r.Note = "the segment does not answer for neighbours: it takes `suppress` in the configuration"
	}
	return r, nil
}
