package host

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A kernel is one look at the kernel's tables. One goroutine uses it.
type kernel struct {
	h       *netlink.Handle
	links   map[string]link
	names   map[int]string
	own     []kernelRoute // of our protocol, of all tables
	foreign []kernelRoute // of others, of the main table
	// world is a digest of all that a route lookup depends on but our own
	// routes.
	world uint64
}

// dumps is how often a dump is repeated that changes interrupted.
const dumps = 5

// repeat does a dump again while changes interrupt it (NLM_F_DUMP_INTR): half
// of one would make us remove and add what is right.
func repeat(dump func() error) error {
	var err error
	for range dumps {
		if err = dump(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
	}
	return err
}

// openKernel reads the tables of the network namespace of the calling thread.
// It is to be closed.
func openKernel(seed maphash.Seed) (*kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	k := &kernel{h: h}
	if err := errors.Join(k.readLinks(seed), k.readRoutes(seed), k.readRules(seed)); err != nil {
		h.Close()
		return nil, err
	}
	return k, nil
}

func (k *kernel) close() { k.h.Close() }

// readLinks reads interfaces and their addresses.
func (k *kernel) readLinks(seed maphash.Seed) error {
	var links []netlink.Link
	var addrs []netlink.Addr
	err := repeat(func() (err error) { links, err = k.h.LinkList(); return err })
	if err != nil {
		return fmt.Errorf("interfaces: %w", err)
	}
	err = repeat(func() (err error) { addrs, err = k.h.AddrList(nil, netlink.FAMILY_ALL); return err })
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	byIndex := make(map[int][]netip.Addr)
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || ip.IsLinkLocalUnicast() || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		byIndex[a.LinkIndex] = append(byIndex[a.LinkIndex], ip)
		ones, _ := a.Mask.Size()
		k.world += maphash.Comparable(seed, struct {
			netip.Prefix
			int
		}{netip.PrefixFrom(ip, ones), a.LinkIndex})
	}
	k.links, k.names = make(map[string]link, len(links)), make(map[int]string, len(links))
	for _, l := range links {
		a := l.Attrs()
		one := link{index: a.Index, name: a.Name, up: a.RawFlags&unix.IFF_UP != 0, addrs: byIndex[a.Index]}
		k.links[a.Name], k.names[a.Index] = one, a.Name
		k.world += maphash.Comparable(seed, struct {
			name  string
			index int
			up    bool
		}{one.name, one.index, one.up})
	}
	return nil
}

func (k *kernel) readRules(seed maphash.Seed) error {
	var rules []netlink.Rule
	err := repeat(func() (err error) { rules, err = k.h.RuleList(netlink.FAMILY_ALL); return err })
	if err != nil {
		return fmt.Errorf("routing rules: %w", err)
	}
	for i := range rules {
		r := &rules[i]
		k.world += maphash.String(seed, fmt.Sprintf("%v %d %d %d", r, r.Table, r.Family, r.Mark))
	}
	return nil
}

func (k *kernel) readRoutes(seed maphash.Seed) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		var own, foreign []kernelRoute
		var world uint64
		err := repeat(func() error {
			own, foreign, world = own[:0], foreign[:0], 0
			all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
			return k.h.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(n netlink.Route) bool {
				r, ok := fromNetlink(&n)
				switch {
				case !ok:
				case r.protocol == Protocol:
					own = append(own, r)
				default:
					world += r.digest(seed)
					if r.table == unix.RT_TABLE_MAIN {
						foreign = append(foreign, r)
					}
				}
				return true
			})
		})
		if err != nil {
			return fmt.Errorf("routes: %w", err)
		}
		k.own, k.foreign, k.world = append(k.own, own...), append(k.foreign, foreign...), k.world+world
	}
	return nil
}

// digest is a number that another route hardly has.
func (r *kernelRoute) digest(seed maphash.Seed) uint64 {
	sum := maphash.Comparable(seed, struct {
		place
		protocol, scope, kind int
		src                   netip.Addr
	}{r.place(), r.protocol, r.scope, r.kind, r.src})
	for _, h := range r.hops {
		sum += maphash.Comparable(seed, h)
	}
	return sum
}

// fromNetlink takes a route out of the package's words. It reports false for
// one that has no prefix of IP addresses.
func fromNetlink(n *netlink.Route) (kernelRoute, bool) {
	r := kernelRoute{table: n.Table, protocol: int(n.Protocol), metric: n.Priority, scope: int(n.Scope), kind: n.Type, tos: n.Tos}
	if n.Dst == nil {
		return r, false
	}
	to, ok := netip.AddrFromSlice(n.Dst.IP)
	ones, bits := n.Dst.Mask.Size()
	if !ok || bits == 0 {
		return r, false
	}
	if n.Family == unix.AF_INET {
		to = to.Unmap()
	}
	r.prefix = netip.PrefixFrom(to, ones)
	r.src = address(n.Src)
	ways := n.MultiPath
	if len(ways) == 0 {
		ways = []*netlink.NexthopInfo{{LinkIndex: n.LinkIndex, Gw: n.Gw, Via: n.Via, Flags: n.Flags, NewDst: n.NewDst}}
	}
	for _, w := range ways {
		r.hops = append(r.hops, hop{via: address(w.Gw), index: w.LinkIndex, weight: w.Hops})
		r.odd = r.odd || w.Flags&unix.RTNH_F_ONLINK != 0 || w.Via != nil || w.Encap != nil || w.NewDst != nil
	}
	sortHops(r.hops)
	r.odd = r.odd || n.Encap != nil || n.MTU|n.Window|n.Rtt|n.RttVar|n.Ssthresh|n.Cwnd|n.AdvMSS|n.Reordering|
		n.Hoplimit|n.InitCwnd|n.Features|n.RtoMin|n.InitRwnd|n.QuickACK|n.Realm != 0 || n.Congctl != ""
	return r, true
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// toNetlink puts a route into the package's words.
func toNetlink(r *kernelRoute) *netlink.Route {
	n := &netlink.Route{Table: r.table, Protocol: netlink.RouteProtocol(r.protocol), Priority: r.metric,
		Scope: netlink.Scope(r.scope), Type: r.kind, Tos: r.tos,
		Dst: &net.IPNet{IP: r.prefix.Addr().AsSlice(), Mask: net.CIDRMask(r.prefix.Bits(), r.prefix.Addr().BitLen())}}
	if r.src.IsValid() {
		n.Src = r.src.AsSlice()
	}
	if len(r.hops) == 1 {
		n.LinkIndex, n.Gw = r.hops[0].index, gateway(r.hops[0])
		return n
	}
	for _, h := range r.hops {
		n.MultiPath = append(n.MultiPath, &netlink.NexthopInfo{LinkIndex: h.index, Gw: gateway(h), Hops: h.weight})
	}
	return n
}

func gateway(h hop) net.IP {
	if !h.via.IsValid() {
		return nil
	}
	return h.via.AsSlice()
}

// do carries a change out. Whatever it removes has our protocol; the kernel
// compares that, too.
func (k *kernel) do(c *change) error {
	switch {
	case c.add == nil:
		old := *c.del
		if old.odd { // what is odd about it is not needed to find it
			old.hops = nil
		}
		n := toNetlink(&old)
		n.Src = nil
		err := k.h.RouteDel(n)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) { // it is gone already
			return nil
		}
		return err
	case c.del != nil:
		return k.h.RouteReplace(toNetlink(c.add))
	}
	return k.h.RouteAdd(toNetlink(c.add))
}

// onLink asks the kernel how it reaches a VTEP, and returns the next hop if
// that is the VTEP itself.
func (k *kernel) onLink(a netip.Addr) (hop, string) {
	routes, err := k.h.RouteGet(a.AsSlice())
	if err != nil || len(routes) == 0 {
		return hop{}, "there is no route to it"
	}
	r := &routes[0]
	switch {
	case r.Type == unix.RTN_LOCAL:
		return hop{}, "it is an address of this host"
	case r.Type != unix.RTN_UNICAST:
		return hop{}, "it is no unicast address of the network"
	case len(r.MultiPath) > 0:
		return hop{}, "it is reached by several routers"
	case r.Gw != nil && address(r.Gw) != a || r.Via != nil:
		return hop{}, fmt.Sprintf("it is not on-link: the host reaches it by the router %v", address(r.Gw))
	}
	return hop{via: a, index: r.LinkIndex}, ""
}

func (k *kernel) name(index int) string {
	if n, ok := k.names[index]; ok {
		return n
	}
	return fmt.Sprintf("if%d", index)
}
