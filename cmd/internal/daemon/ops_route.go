package daemon

import (
	"cmp"
	"net/netip"
	"slices"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/vtep/fib"
)

// routed returns the routed segment that a change is for. Without a selector
// it is the only one there is. It holds d.mu.
func (d *Daemon) routed(sel api.Selector) (*segment, error) {
	if sel.IsZero() {
		var only []*segment
		for _, s := range d.ordered() {
			if s.cfg.Mode == config.Routed {
				only = append(only, s)
			}
		}
		if len(only) == 1 {
			return only[0], nil
		}
	}
	s, err := d.one(sel)
	if err == nil && s.cfg.Mode != config.Routed {
		err = api.Refusedf("%s is a bridged segment and has no prefixes: that takes `mode: route` in the configuration", s.cfg.Device)
	}
	return s, err
}

// Routes implements [api.Backend].
func (d *Daemon) Routes(sel api.Selector, emit func(api.Route) error) error {
	segs, err := d.choose(sel)
	if err != nil {
		return err
	}
	for _, s := range segs {
		es := d.table.Segment(s.cfg.VNI, route.Prefix)
		slices.SortFunc(es, func(a, b route.Entry) int {
			return cmp.Or(comparePrefix(a.Key.Prefix, b.Key.Prefix), a.VTEP.Compare(b.VTEP))
		})
		for _, e := range es {
			if err := emit(s.route(e)); err != nil {
				return err
			}
		}
	}
	return nil
}

// comparePrefix orders as `ip route` prints: by address, the shorter first.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// RouteGet implements [api.Backend].
func (d *Daemon) RouteGet(sel api.Selector, ip netip.Addr) ([]api.Route, error) {
	segs, err := d.choose(sel)
	if err != nil {
		return nil, err
	}
	var out []api.Route
	for _, s := range segs {
		for _, e := range d.longest(s.cfg.VNI, ip) {
			out = append(out, s.route(e))
		}
	}
	if len(out) == 0 {
		return nil, api.NotFoundf("no prefix of %v holds %v", sel, ip)
	}
	return out, nil
}

// longest returns the entries of the longest prefix that holds ip. It asks for
// each length: the data path's table has no entries that only the host's routes
// carry out.
func (d *Daemon) longest(vni uint32, ip netip.Addr) []route.Entry {
	for bits := ip.BitLen(); bits >= 0; bits-- {
		p := netip.PrefixFrom(ip, bits).Masked()
		if es := d.table.Group(route.Key{Kind: route.Prefix, VNI: vni, Prefix: p}); len(es) > 0 {
			return es
		}
	}
	return nil
}

// route puts a prefix into the API's words.
func (s *segment) route(e route.Entry) api.Route {
	v := tunnelTo(e)
	return api.Route{Prefix: e.Key.Prefix, Via: v.Addr, Port: v.Port, VNI: v.VNI, MAC: e.MAC,
		Ifname: s.cfg.Device, Segment: s.cfg.VNI, Source: apiSource(e.Source),
		Way: map[route.Way]api.Way{route.Tunnel: api.WayTunnel, route.OnLink: api.WayOnLink, route.HostOnly: api.WayHostOnly}[e.Way]}
}

// RouteChange implements [api.Backend].
func (d *Daemon) RouteChange(c api.RouteChange) (api.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.routed(c.Selector)
	if err != nil {
		return api.Result{}, err
	}
	have := d.table.Group(route.Key{Kind: route.Prefix, VNI: s.cfg.VNI, Prefix: c.Prefix})
	if c.Op == api.OpDel {
		return d.routeDel(s, c, have)
	}
	v, err := s.target(c.Via, c.Port, c.VNI)
	if err != nil {
		return api.Result{}, err
	}
	if s.own(v.Addr) {
		return api.Result{}, api.Refusedf("%v is our own address; nothing is sent to it", v.Addr)
	}
	for _, e := range have {
		switch {
		case c.Op == api.OpReplace:
		case e.Source != route.Operator:
			return api.Result{}, api.Refusedf("%v is from %s already, via %v: use replace", c.Prefix, apiSource(e.Source), e.VTEP.Addr)
		case e.VTEP == v:
			return api.Result{}, api.Refusedf("%v is behind %v already: use replace", c.Prefix, v.Addr)
		}
	}
	if c.Op == api.OpAdd && len(have) >= fib.MaxHops {
		return api.Result{}, api.Refusedf("%v is behind %d VTEPs already, which is the most", c.Prefix, len(have))
	}
	if c.MAC.IsZero() {
		if c.MAC, err = d.routerAt(s, v); err != nil {
			return api.Result{}, err
		}
	}
	b := route.Batch{Source: route.Operator, Add: []route.Entry{route.PrefixEntry(s.cfg.VNI, c.Prefix, v, c.MAC, route.Tunnel)}}
	if c.Op == api.OpReplace {
		for _, e := range have {
			if e.Source == route.Operator && e.VTEP != v {
				b.Remove = append(b.Remove, e.Key)
			}
		}
	}
	d.apply(b)
	d.follow(s, nil)
	return api.Result{Changed: 1}, nil
}

// routerAt returns the MAC of the router behind a VTEP, as far as other
// prefixes say it.
func (d *Daemon) routerAt(s *segment, v route.VTEP) (packet.MAC, error) {
	var found packet.MAC
	for _, e := range d.table.Segment(s.cfg.VNI, route.Prefix) {
		switch {
		case e.VTEP != v || e.MAC.IsZero():
		case found.IsZero():
			found = e.MAC
		case found != e.MAC:
			return found, api.Refusedf("prefixes via %v have several MACs, %v and %v: say which with lladdr", v.Addr, found, e.MAC)
		}
	}
	if found.IsZero() {
		return found, api.Refusedf("the MAC of the router at %v is not known: say it with lladdr (it takes no frames to another)", v.Addr)
	}
	return found, nil
}

// routeDel takes a prefix from the VTEPs that a request names, all without a
// name. It holds d.mu.
func (d *Daemon) routeDel(s *segment, c api.RouteChange, have []route.Entry) (api.Result, error) {
	have = slices.DeleteFunc(have, func(e route.Entry) bool { return !matches(tunnelTo(e), c.Via, c.Port, c.VNI) })
	r := d.remove(s, keysOf(have))
	if c.Via.IsValid() {
		return r, missing(r, have, "%v is not behind %v on %s", c.Prefix, c.Via, s.cfg.Device)
	}
	return r, missing(r, have, "no prefix %v on %s", c.Prefix, s.cfg.Device)
}
