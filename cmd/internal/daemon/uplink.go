package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"vtepd/route/path"
)

// An uplink is the interface to the other nodes of a network.
type uplink struct {
	name   string
	mtu    int
	v4, v6 netip.Addr   // by which they reach us; zero where there is none
	all    []netip.Addr // of the interface
}

func (u *uplink) has(a netip.Addr) bool { return slices.Contains(u.all, a) }

// local is the address that frames leave from: the public one, or behind NAT
// that of the interface.
func (u *uplink) local(public, own netip.Addr) netip.Addr {
	if u.has(public) {
		return public
	}
	return own
}

// findUplink looks at the interface of that name, or at the one that the
// default route leaves by.
func findUplink(name string) (uplink, error) {
	r, err := path.NewResolver()
	if err != nil {
		return uplink{}, err
	}
	defer r.Close()
	var ifi *net.Interface
	if name != "" {
		if ifi, err = net.InterfaceByName(name); err != nil {
			return uplink{}, fmt.Errorf("interface %q: %w", name, err)
		}
	} else {
		l, err := r.Query(netip.IPv4Unspecified(), netip.Addr{}, 0)
		if err != nil {
			l, err = r.Query(netip.IPv6Unspecified(), netip.Addr{}, 0)
		}
		if err != nil {
			return uplink{}, errors.New("there is no default route to find the interface by; name it with interface (--flannel-interface)")
		}
		if ifi, err = net.InterfaceByIndex(l.IfIndex); err != nil {
			return uplink{}, err
		}
	}
	u, err := uplinkOf(ifi)
	if err != nil {
		return uplink{}, err
	}
	u.v4 = u.source(r, netip.IPv4Unspecified(), ifi.Index)
	u.v6 = u.source(r, netip.IPv6Unspecified(), ifi.Index)
	if !u.v4.IsValid() && !u.v6.IsValid() {
		return uplink{}, fmt.Errorf("interface %s: %w", u.name, errNoAddress)
	}
	return u, nil
}

// uplinkOf is an interface without a choice among its addresses.
func uplinkOf(ifi *net.Interface) (uplink, error) {
	u := uplink{name: ifi.Name, mtu: ifi.MTU}
	addrs, err := ifi.Addrs()
	if err != nil {
		return uplink{}, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				u.all = append(u.all, ip.Unmap())
			}
		}
	}
	return u, nil
}

// again is the uplink as it is now. While the interface has the addresses that
// the network goes by, it stays the one, whatever others came and wherever the
// default route leads; else it is looked for anew by name.
func (u *uplink) again(name string, v4, v6 bool) (uplink, error) {
	holds := func(n *uplink, needed bool, a netip.Addr) bool { return !needed || !a.IsValid() || n.has(a) }
	if ifi, err := net.InterfaceByName(u.name); err == nil {
		n, err := uplinkOf(ifi)
		if err == nil && holds(&n, v4, u.v4) && holds(&n, v6, u.v6) {
			n.v4, n.v6 = u.v4, u.v6
			return n, nil
		}
	}
	n, err := findUplink(name)
	switch {
	case err != nil:
		return n, err
	case v4 && u.v4.IsValid() && !n.v4.IsValid():
		return n, fmt.Errorf("interface %s has no IPv4 address any more", n.name)
	case v6 && u.v6.IsValid() && !n.v6.IsValid():
		return n, fmt.Errorf("interface %s has no IPv6 address any more", n.name)
	}
	return n, nil
}

// addresses are those that others reach us by.
func (u *uplink) addresses() (out []string) {
	for _, a := range []netip.Addr{u.v4, u.v6} {
		if a.IsValid() {
			out = append(out, a.String())
		}
	}
	return out
}

// sameAs reports whether others reach us by o as they do by u.
func (u *uplink) sameAs(o *uplink) bool { return u.name == o.name && u.v4 == o.v4 && u.v6 == o.v6 }

// source is the address of the interface that the kernel would speak from by it
// to everywhere, or the first one of the family. (Of an interface without one the
// kernel takes that of another, such as that of the pods' bridge.)
func (u *uplink) source(r *path.Resolver, to netip.Addr, index int) netip.Addr {
	good := func(a netip.Addr) bool { return a.IsValid() && a.IsGlobalUnicast() && a.Is4() == to.Is4() }
	if l, err := r.Query(to, netip.Addr{}, index); err == nil && l.IfIndex == index && good(l.Source) && u.has(l.Source) {
		return l.Source
	}
	for _, a := range u.all {
		if good(a) {
			return a
		}
	}
	return netip.Addr{}
}
