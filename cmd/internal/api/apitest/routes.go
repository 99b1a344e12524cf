package apitest

import (
	"net/netip"
	"slices"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
)

// routes are those of a new Backend.
func routes() []api.Route {
	route := func(prefix, via string, mac byte, way api.Way, source api.Source) api.Route {
		return api.Route{Prefix: netip.MustParsePrefix(prefix), Via: netip.MustParseAddr(via), Port: 4789, VNI: 43,
			MAC: packet.MAC{2, 0, 0, 0, 0, mac}, Ifname: "vx43", Segment: 43, Source: source, Way: way}
	}
	direct := route("10.244.3.0/24", "192.0.2.3", 0, api.WayHostOnly, api.Flannel)
	direct.MAC = packet.MAC{}
	return []api.Route{
		route("10.244.2.0/24", "192.0.2.2", 2, api.WayTunnel, api.Config), direct,
		route("2001:db8:2::/64", "192.0.2.2", 2, api.WayOnLink, api.Flannel),
	}
}

// Routes implements [api.Backend].
func (b *Backend) Routes(s api.Selector, emit func(api.Route) error) error {
	if err := known(s); err != nil {
		return err
	}
	b.mu.Lock()
	all := slices.Clone(b.routes)
	b.mu.Unlock()
	for _, r := range all {
		if !s.Matches(r.Ifname, r.Segment) {
			continue
		}
		if err := emit(r); err != nil {
			return err
		}
	}
	return nil
}

// RouteGet implements [api.Backend].
func (b *Backend) RouteGet(s api.Selector, ip netip.Addr) ([]api.Route, error) {
	var found []api.Route
	err := b.Routes(s, func(r api.Route) error {
		if r.Prefix.Contains(ip) {
			found = append(found, r)
		}
		return nil
	})
	if err == nil && found == nil {
		err = api.NotFoundf("no prefix of %v holds %v", s, ip)
	}
	return found, err
}

// RouteChange implements [api.Backend].
func (b *Backend) RouteChange(c api.RouteChange) (api.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("RouteChange", c)
	name, vni, err := one(c.Selector)
	if err != nil {
		return api.Result{}, err
	}
	has := func(r api.Route) bool { return r.Prefix == c.Prefix && r.Ifname == name }
	i := slices.IndexFunc(b.routes, has)
	switch {
	case c.Op == api.OpDel && i < 0:
		return api.Result{}, api.NotFoundf("no prefix %v on %s", c.Prefix, name)
	case c.Op == api.OpAdd && i >= 0:
		return api.Result{}, api.Refusedf("%v is from %s already, via %v: use replace", c.Prefix, b.routes[i].Source, b.routes[i].Via)
	}
	var result api.Result
	if c.Op == api.OpDel {
		if b.routes[i].Source == api.Config {
			result.Note = api.NoteNamed
		}
		b.emit(api.Event{Kind: api.KindRoute, Action: api.Deleted, Route: &b.routes[i]})
	}
	b.routes = slices.DeleteFunc(slices.Clone(b.routes), has)
	result.Changed = 1
	if c.Op == api.OpDel {
		return result, nil
	}
	r := api.Route{Prefix: c.Prefix, Via: c.Via, Port: c.Port, VNI: vni, MAC: c.MAC, Ifname: name, Segment: vni,
		Source: api.Operator, Way: api.WayTunnel}
	if r.Port == 0 {
		r.Port = 4789
	}
	if c.VNI != nil {
		r.VNI = *c.VNI
	}
	b.routes = append(b.routes, r)
	b.emit(api.Event{Kind: api.KindRoute, Action: api.Added, Route: &r})
	return result, nil
}
