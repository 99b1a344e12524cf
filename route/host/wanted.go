package host

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"vtepd/route"
)

// A Segment is what the routes of a routed segment are made of.
type Segment struct {
	VNI uint32
	// Device is what packets enter to be encapsulated.
	Device string
	// Interface is where VTEPs count as on-link, empty for anywhere.
	Interface string
}

// Wanted is what the kernel is to have. Whoever gave it does not change it
// any more.
type Wanted struct {
	Segments []Segment
	// Prefixes are entries of the kind [route.Prefix]; a prefix behind several
	// VTEPs has several. Those of other segments are refused.
	Prefixes []route.Entry
	// Forward are devices besides those of the segments and the interfaces of
	// direct routes that forward packets: the bridge of pods, the uplink. One
	// that is not there yet is seen when it comes.
	Forward []string
}

// A Refusal is a prefix, or one VTEP of it, that gets no route.
type Refusal struct {
	Prefix netip.Prefix
	VNI    uint32
	VTEP   netip.Addr // zero when it is about all of them
	Why    string
}

// String says it in a sentence.
func (r Refusal) String() string {
	text := fmt.Sprintf("no route to %v", r.Prefix)
	if r.VNI <= maxVNI {
		text += fmt.Sprintf(" of segment %d", r.VNI)
	}
	if r.VTEP.IsValid() {
		text += fmt.Sprintf(" by %v", r.VTEP)
	}
	return text + ": " + r.Why
}

// maxVNI is the largest number of a segment on the wire. Networks of plain
// routes have a larger one, of no meaning to people.
const maxVNI = 1<<24 - 1

// A link is an interface of the host.
type link struct {
	index int
	name  string
	up    bool
	addrs []netip.Addr // without link-local ones
}

// A view is what decisions are made from.
type view struct {
	links   map[string]link
	foreign []kernelRoute // of the main table, not ours
	// direct returns how an address is reached on-link, or why it is not.
	direct func(netip.Addr) (hop, string)
	name   func(index int) string
}

// A decision is what is wanted of the kernel, and what could not be.
type decision struct {
	routes   map[netip.Prefix]kernelRoute
	refused  []Refusal
	prefixes int // that were asked for
}

// decide turns entries into routes.
func decide(w *Wanted, v *view) decision {
	groups := make(map[netip.Prefix][]route.Entry, len(w.Prefixes))
	for _, e := range w.Prefixes {
		if e.Key.Kind == route.Prefix && e.Key.Prefix.IsValid() {
			groups[e.Key.Prefix] = append(groups[e.Key.Prefix], e)
		}
	}
	segments := make(map[uint32]Segment, len(w.Segments))
	for _, s := range w.Segments {
		segments[s.VNI] = s
	}
	d := decision{routes: make(map[netip.Prefix]kernelRoute, len(groups)), prefixes: len(groups)}
	loops := swallowed(groups, v)
	for p, es := range groups {
		slices.SortFunc(es, func(a, b route.Entry) int {
			return cmp.Or(cmp.Compare(a.Key.VNI, b.Key.VNI), a.VTEP.Addr.Compare(b.VTEP.Addr), cmp.Compare(a.VTEP.Port, b.VTEP.Port))
		})
		s, ok := segments[es[0].Key.VNI]
		for len(es) > 1 && !ok {
			d.refuse(es[0], netip.Addr{}, "there is no such segment")
			es = es[1:]
			s, ok = segments[es[0].Key.VNI]
		}
		if !ok {
			d.refuse(es[0], netip.Addr{}, "there is no such segment")
			continue
		}
		if inner, bad := loops[p]; bad {
			d.refuse(es[0], netip.Addr{}, fmt.Sprintf("it contains the VTEP %v, and the host has no closer route to that", inner))
			continue
		}
		d.prefix(p, s, es, v)
	}
	slices.SortFunc(d.refused, func(a, b Refusal) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()),
			cmp.Compare(a.VNI, b.VNI), a.VTEP.Compare(b.VTEP))
	})
	return d
}

func (d *decision) refuse(e route.Entry, vtep netip.Addr, why string) {
	d.refused = append(d.refused, Refusal{Prefix: e.Key.Prefix, VNI: e.Key.VNI, VTEP: vtep, Why: why})
}

// prefix decides on one prefix. A VTEP that is not reached directly and may be
// reached by the tunnel puts the whole prefix there: the data path spreads flows
// over all VTEPs.
func (d *decision) prefix(p netip.Prefix, s Segment, es []route.Entry, v *view) {
	var hops []hop
	tunnel := false
	for _, e := range es {
		if e.Key.VNI != s.VNI {
			d.refuse(e, netip.Addr{}, fmt.Sprintf("segment %d has the same prefix and is preferred", s.VNI))
			break // once is enough
		}
		if e.Way == route.Tunnel {
			tunnel = true
			continue
		}
		h, why := s.direct(p, e.VTEP.Addr, v)
		switch {
		case why == "":
			hops = append(hops, h)
		case e.Way == route.OnLink:
			tunnel = true
		default:
			d.refuse(e, e.VTEP.Addr, why)
		}
	}
	switch {
	case tunnel:
		if r, why := s.tunnel(p, v); why != "" {
			d.refuse(es[0], netip.Addr{}, why)
		} else {
			r.vni = s.VNI
			d.routes[p] = r
		}
	case len(hops) > 0:
		r := newRoute(p, netip.Addr{}, hops...)
		r.vni = s.VNI
		d.routes[p] = r
	}
}

// direct returns the next hop of a plain route, or why there is none.
func (s Segment) direct(p netip.Prefix, vtep netip.Addr, v *view) (hop, string) {
	if vtep.Is4() != p.Addr().Is4() {
		return hop{}, "a plain route takes a next hop of the same family"
	}
	h, why := v.direct(vtep)
	if why != "" {
		return hop{}, why
	}
	if name := v.name(h.index); s.Interface != "" && name != s.Interface {
		return hop{}, fmt.Sprintf("it is on-link at %s, not at %s", name, s.Interface)
	}
	return h, ""
}

// tunnel returns the route into the segment's device. The host itself speaks
// from the device's address: it is one of this node's subnet, which the others
// have a route for, so that the answer comes back by the tunnel.
func (s Segment) tunnel(p netip.Prefix, v *view) (kernelRoute, string) {
	l, ok := v.links[s.Device]
	switch {
	case !ok:
		return kernelRoute{}, fmt.Sprintf("the device %s is not there", s.Device)
	case !l.up:
		return kernelRoute{}, fmt.Sprintf("the device %s is down", s.Device)
	}
	var src netip.Addr
	for _, a := range l.addrs {
		if a.Is4() == p.Addr().Is4() {
			src = a
			break
		}
	}
	return newRoute(p, src, hop{index: l.index}), ""
}

// swallowed finds prefixes that would lead the outer packets of their own
// segment back into it: they contain one of its VTEPs, and no route of somebody
// else to that VTEP is as close. It returns such a VTEP for each.
func swallowed(groups map[netip.Prefix][]route.Entry, v *view) map[netip.Prefix]netip.Addr {
	var lengths [2][129]bool
	type outer struct {
		vni  uint32
		addr netip.Addr
	}
	vteps := make(map[outer]bool)
	for p, es := range groups {
		lengths[family(p.Addr())][p.Bits()] = true
		for _, e := range es {
			vteps[outer{e.Key.VNI, e.VTEP.Addr}] = true
		}
	}
	var bad map[netip.Prefix]netip.Addr
	for o := range vteps {
		for bits, there := range lengths[family(o.addr)] {
			if !there || bits > o.addr.BitLen() {
				continue
			}
			p := netip.PrefixFrom(o.addr, bits).Masked()
			if !slices.ContainsFunc(groups[p], func(e route.Entry) bool { return e.Key.VNI == o.vni }) || v.closest(o.addr) >= bits {
				continue
			}
			if bad == nil {
				bad = make(map[netip.Prefix]netip.Addr)
			}
			if was, ok := bad[p]; !ok || o.addr.Less(was) {
				bad[p] = o.addr
			}
		}
	}
	return bad
}

// closest returns the length of the longest prefix of somebody else's routes
// that contains a, -1 if there is none.
func (v *view) closest(a netip.Addr) int {
	best := -1
	for i := range v.foreign {
		if p := v.foreign[i].prefix; p.Bits() > best && p.Contains(a) {
			best = p.Bits()
		}
	}
	return best
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
