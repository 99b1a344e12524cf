package control

import (
	"net/http"
	"net/netip"

	"vtepd/cmd/internal/api"
)

func (h *handler) routesList(w http.ResponseWriter, r *request) (any, error) {
	s, err := r.selector()
	if err != nil {
		return nil, err
	}
	if !r.values.Has("ip") {
		return nil, streamArray(w, func(emit func(api.Route) error) error { return h.backend.Routes(s, emit) })
	}
	ip, err := netip.ParseAddr(r.values.Get("ip"))
	if err != nil {
		return nil, api.Usagef("ip: %q is not an IP address", r.values.Get("ip"))
	}
	if err := checkAddr(&ip, true); err != nil {
		return nil, err
	}
	return list(h.backend.RouteGet(s, ip))
}

func (h *handler) routeChange(_ http.ResponseWriter, r *request) (any, error) {
	var c api.RouteChange
	if err := r.change(&c, &c.Op, api.OpAdd, api.OpReplace, api.OpDel); err != nil {
		return nil, err
	}
	if err := checkVNIs(c.Segment, c.VNI); err != nil {
		return nil, err
	}
	if err := checkAddr(&c.Via, c.Op != api.OpDel); err != nil {
		return nil, err
	}
	if err := checkPrefix(&c.Prefix); err != nil {
		return nil, err
	}
	if c.Op != api.OpDel && c.MAC.IsMulticast() {
		return nil, api.Usagef("mac: a router has a unicast MAC, not %v", c.MAC)
	}
	return answer(h.backend.RouteChange(c))
}

// checkPrefix brings a prefix to the one form the daemon uses, and refuses
// what is none of stations.
func checkPrefix(p *netip.Prefix) error {
	const mapped = 96
	if a := p.Addr(); a.Is4In6() && p.Bits() >= mapped {
		*p = netip.PrefixFrom(a.Unmap(), p.Bits()-mapped)
	}
	switch {
	case !p.IsValid():
		return api.Usagef("prefix: a prefix is missing")
	case *p != p.Masked():
		return api.Usagef("prefix: %v has host bits: say %v", *p, p.Masked())
	case p.Addr().IsMulticast():
		return api.Usagef("prefix: %v is for groups, which are not routed", *p)
	}
	return nil
}
