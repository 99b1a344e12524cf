package host

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A hop is one way of a route.
type hop struct {
	via    netip.Addr // zero: what is beyond is on the link itself
	index  int        // interface
	weight int        // less one, as in the kernel
}

// A kernelRoute is a route as far as we write and compare it.
type kernelRoute struct {
	prefix   netip.Prefix
	table    int
	protocol int
	metric   int
	scope    int
	kind     int // RTN_UNICAST …
	tos      int
	src      netip.Addr
	hops     []hop // sorted
	// odd says that it has something that our routes never have: metrics,
	// encapsulation, the onlink flag.
	odd bool
	// vni is of the segment that it is for; the kernel does not know it.
	vni uint32
}

// newRoute is the route that we write for a prefix. Hops that are twice there
// count once.
func newRoute(p netip.Prefix, src netip.Addr, hops ...hop) kernelRoute {
	sortHops(hops)
	r := kernelRoute{prefix: p, table: unix.RT_TABLE_MAIN, protocol: Protocol, metric: Metric,
		kind: unix.RTN_UNICAST, src: src, hops: slices.Compact(hops)}
	if p.Addr().Is4() && !slices.ContainsFunc(hops, func(h hop) bool { return h.via.IsValid() }) {
		r.scope = unix.RT_SCOPE_LINK
	}
	return r
}

func sortHops(hops []hop) { slices.SortFunc(hops, compareHops) }

func compareHops(a, b hop) int {
	return cmp.Or(a.via.Compare(b.via), cmp.Compare(a.index, b.index), cmp.Compare(a.weight, b.weight))
}

// equal reports whether a and b are the same route.
func (r *kernelRoute) equal(o *kernelRoute) bool {
	return r.place() == o.place() && r.protocol == o.protocol && r.scope == o.scope && r.kind == o.kind &&
		r.src == o.src && r.odd == o.odd && slices.Equal(r.hops, o.hops)
}

// A place is where the kernel has room for one route, unless routes are
// appended there.
type place struct {
	prefix             netip.Prefix
	table, metric, tos int
}

func (r *kernelRoute) place() place { return place{r.prefix, r.table, r.metric, r.tos} }

// A change is one step: what goes, then what comes. With both set it is a
// replacement in one step.
type change struct {
	del, add *kernelRoute
}

// A plan is what to do, and where others are in the way.
type plan struct {
	changes   []change
	conflicts []Conflict
	right     int // routes that need nothing
}

// A Conflict is a route of somebody else for a prefix of ours.
type Conflict struct {
	Prefix netip.Prefix
	// Theirs is their route as ip-route(8) has it.
	Theirs string
	// Used says that theirs is used, not ours.
	Used bool
	// Blocks says that ours cannot be written beside it.
	Blocks bool
}

// String says it in a sentence that tells what to do.
func (c Conflict) String() string {
	switch {
	case c.Blocks:
		return fmt.Sprintf("%v: somebody's route is where ours should be; to make way: ip route del %s", c.Prefix, c.Theirs)
	case c.Used:
		return fmt.Sprintf("%v: somebody's route is used instead of ours; to make way: ip route del %s", c.Prefix, c.Theirs)
	}
	return fmt.Sprintf("%v: ours is used instead of somebody's route: %s", c.Prefix, c.Theirs)
}

// makePlan compares what is wanted with what is there. own are the routes of
// our protocol in all tables, foreign those of others in the main table.
func makePlan(wanted map[netip.Prefix]kernelRoute, own, foreign []kernelRoute, name func(int) string) plan {
	var p plan
	blocked := p.compareOthers(wanted, foreign, name)
	fine := make(map[netip.Prefix]bool, len(wanted))
	wrong := make(map[netip.Prefix]*kernelRoute)
	for i := range own {
		r := &own[i]
		w, ok := wanted[r.prefix]
		switch {
		case ok && r.equal(&w) && !fine[r.prefix]:
			fine[r.prefix] = true
		case ok && r.place() == w.place() && wrong[r.prefix] == nil && !blocked[r.prefix]:
			wrong[r.prefix] = r
		default:
			p.changes = append(p.changes, change{del: r})
		}
	}
	for prefix, w := range wanted {
		old := wrong[prefix]
		switch {
		case fine[prefix] && old != nil:
			p.changes = append(p.changes, change{del: old}) // appended behind or before ours
		case !fine[prefix] && !blocked[prefix]:
			p.changes = append(p.changes, change{del: old, add: &w})
		}
	}
	p.right = len(fine)
	slices.SortStableFunc(p.changes, func(a, b change) int { return cmp.Compare(a.order(), b.order()) })
	return p
}

// order puts removals first.
func (c *change) order() int {
	if c.add == nil {
		return 0
	}
	return 1
}

// compareOthers notes the routes of others for wanted prefixes, and returns the
// prefixes where there is no room for ours.
func (p *plan) compareOthers(wanted map[netip.Prefix]kernelRoute, foreign []kernelRoute, name func(int) string) map[netip.Prefix]bool {
	blocked := make(map[netip.Prefix]bool)
	for i := range foreign {
		f := &foreign[i]
		w, ok := wanted[f.prefix]
		if !ok {
			continue
		}
		c := Conflict{Prefix: f.prefix, Theirs: f.text(name), Blocks: f.place() == w.place()}
		c.Used = c.Blocks || f.tos == 0 && f.metric < w.metric
		p.conflicts = append(p.conflicts, c)
		blocked[f.prefix] = blocked[f.prefix] || c.Blocks
	}
	slices.SortFunc(p.conflicts, func(a, b Conflict) int { return cmp.Compare(a.String(), b.String()) })
	return blocked
}

// text is the route in the words of ip-route(8).
func (r *kernelRoute) text(name func(int) string) string {
	var b strings.Builder
	fmt.Fprint(&b, r.prefix)
	for _, h := range r.hops {
		if len(r.hops) > 1 {
			fmt.Fprint(&b, " nexthop")
		}
		if h.via.IsValid() {
			fmt.Fprintf(&b, " via %v", h.via)
		}
		if h.index != 0 {
			fmt.Fprintf(&b, " dev %s", name(h.index))
		}
	}
	fmt.Fprintf(&b, " proto %s", protocolName(r.protocol))
	if r.metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.metric)
	}
	return b.String()
}

// protocolName is the name of a route protocol that iproute2 knows everywhere,
// else its number.
func protocolName(n int) string {
	switch n {
	case unix.RTPROT_KERNEL:
		return "kernel"
	case unix.RTPROT_BOOT:
		return "boot"
	case unix.RTPROT_STATIC:
		return "static"
	case unix.RTPROT_RA:
		return "ra"
	case unix.RTPROT_DHCP:
		return "dhcp"
	}
	return fmt.Sprint(n)
}
