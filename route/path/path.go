// Package path asks the kernel how a VTEP is reached: from which source
// address, by which interface, with which MTU. It also tells when any of that
// may have changed.
package path

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Lookup is the kernel's answer for one destination.
type Lookup struct {
	Source  netip.Addr // address that packets leave with
	IfIndex int        // interface that they leave by
	Device  string     // its name
	MTU     int        // of the route or its interface, bytes
	Hops    uint8      // TTL or hop limit that the kernel would give packets to it
	// Ethernet says that the interface has Ethernet headers.
	Ethernet bool
	// Encap says that the route puts headers of its own around packets.
	Encap bool
}

// A Resolver asks the kernel, and remembers the answers: make one for each look
// at the host. One goroutine uses it.
type Resolver struct {
	h     *netlink.Handle
	known map[question]answer
}

type question struct {
	dst, from netip.Addr
	ifIndex   int
}

type answer struct {
	l   Lookup
	err error
}

// NewResolver makes a Resolver. It is to be closed.
func NewResolver() (*Resolver, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return &Resolver{h: h, known: make(map[question]answer)}, nil
}

// Close gives the netlink socket back.
func (r *Resolver) Close() { r.h.Close() }

// Query asks for the route to dst, from a source address if that is valid, by
// an interface if ifIndex is not 0. The unspecified address asks for the route
// to everywhere else.
//
// The MTU is that of the route as somebody configured it, never what an ICMP
// message said: anybody can send one.
func (r *Resolver) Query(dst, from netip.Addr, ifIndex int) (Lookup, error) {
	q := question{dst, from, ifIndex}
	a, ok := r.known[q]
	if !ok {
		a.l, a.err = query(r.h, q)
		r.known[q] = a
	}
	return a.l, a.err
}

func query(h *netlink.Handle, q question) (Lookup, error) {
	dst, from := q.dst, q.from
	o := &netlink.RouteGetOptions{OifIndex: q.ifIndex}
	if from.IsValid() {
		o.SrcAddr = from.AsSlice()
	}
	to := outside(dst)
	routes, err := h.RouteGetWithOptions(to.AsSlice(), o)
	if err != nil || len(routes) == 0 {
		return Lookup{}, fmt.Errorf("no route to %v: %w", dst, orNone(err))
	}
	r := &routes[0]
	if r.Type != unix.RTN_UNICAST && r.Type != unix.RTN_LOCAL && r.Type != unix.RTN_MULTICAST && r.Type != unix.RTN_BROADCAST {
		return Lookup{}, fmt.Errorf("the route to %v leads nowhere", dst)
	}
	l := Lookup{IfIndex: r.LinkIndex}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		l.Source = src.Unmap()
	} else {
		l.Source = from
	}
	link, err := h.LinkByIndex(r.LinkIndex)
	if err != nil {
		return Lookup{}, fmt.Errorf("route to %v: interface %d: %w", dst, r.LinkIndex, err)
	}
	l.Device, l.MTU = link.Attrs().Name, link.Attrs().MTU
	l.Ethernet = link.Attrs().EncapType == "ether"
	l.Encap = encapsulates(to, o)
	l.Hops = hops(r, to.Is6(), l.Device)
	if to.Is6() {
		l.MTU = min(l.MTU, setting("/proc/sys/net/ipv6/conf/", l.Device, "/mtu", l.MTU))
	}
	if m := routeMTU(h, to, o); m > 0 {
		l.MTU = min(l.MTU, m)
	}
	return l, nil
}

// outside stands for everywhere: the kernel knows no route to the unspecified
// address. The addresses are documentation's and get no packet.
func outside(dst netip.Addr) netip.Addr {
	switch {
	case !dst.IsUnspecified():
		return dst
	case dst.Is4():
		return netip.AddrFrom4([4]byte{203, 0, 113, 1})
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: 1})
}

func orNone(err error) error {
	if err == nil {
		return unix.ENETUNREACH
	}
	return err
}

// routeMTU returns the `mtu` of the configured route, 0 if it has none. A match
// in the FIB shows no exceptions made by ICMP.
func routeMTU(h *netlink.Handle, dst netip.Addr, o *netlink.RouteGetOptions) int {
	fib := *o
	fib.FIBMatch = true
	routes, err := h.RouteGetWithOptions(dst.AsSlice(), &fib)
	if err != nil || len(routes) == 0 {
		return 0
	}
	return routes[0].MTU
}

// defaultHops is the kernel's TTL and hop limit unless somebody changed it
// (RFC 1700, RFC 3232).
const defaultHops = 64

// hops returns the TTL of packets by a route: its own, or the system's.
func hops(r *netlink.Route, v6 bool, device string) uint8 {
	n := r.Hoplimit
	switch {
	case n > 0:
	case v6:
		n = setting("/proc/sys/net/ipv6/conf/", device, "/hop_limit", defaultHops)
	default:
		n = setting("/proc/sys/net/ipv4/", "ip_default_ttl", "", defaultHops)
	}
	if n < 1 || n > 255 {
		n = defaultHops
	}
	return uint8(n)
}

// setting returns a setting of the kernel that is a positive number, or
// otherwise what is given. The IPv6 MTU of an interface, for one, a router may
// have made smaller (RFC 4861 §4.6.4).
func setting(before, name, behind string, otherwise int) int {
	if strings.ContainsAny(name, "/") {
		return otherwise
	}
	b, err := os.ReadFile(before + name + behind)
	if err != nil {
		return otherwise
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || n <= 0 {
		return otherwise
	}
	return n
}

// Connected returns the subnets of an interface's addresses.
func (r *Resolver) Connected(ifIndex int) ([]netip.Prefix, error) {
	link, err := r.h.LinkByIndex(ifIndex)
	if err != nil {
		return nil, fmt.Errorf("interface %d: %w", ifIndex, err)
	}
	addrs, err := r.h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	var out []netip.Prefix
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		out = append(out, netip.PrefixFrom(ip.Unmap(), ones).Masked())
	}
	return out, nil
}
