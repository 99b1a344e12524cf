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
	u.v4 = u.source(r, netip.IPv4Unspecified(), ifi.Index)
	u.v6 = u.source(r, netip.IPv6Unspecified(), ifi.Index)
	if !u.v4.IsValid() && !u.v6.IsValid() {
		return uplink{}, fmt.Errorf("interface %s: %w", u.name, errNoAddress)
	}
	return u, nil
}

// source is the address that the kernel would speak from by the interface to
// everywhere, or where it has no route by it the first one of the family.
func (u *uplink) source(r *path.Resolver, to netip.Addr, index int) netip.Addr {
	good := func(a netip.Addr) bool { return a.IsValid() && a.IsGlobalUnicast() && a.Is4() == to.Is4() }
	if l, err := r.Query(to, netip.Addr{}, index); err == nil && l.IfIndex == index && good(l.Source) {
		return l.Source
	}
	for _, a := range u.all {
		if good(a) {
			return a
		}
	}
	return netip.Addr{}
}
