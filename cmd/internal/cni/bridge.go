package cni

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/route/ipam"
)

// ensureBridge returns the bridge of that name and makes it if it is missing.
// Several processes may do so at once. Its MTU is left to the kernel, which
// keeps it at the least of its ports; its MAC is fixed, or it would change
// with each port under the neighbours that know it.
func ensureBridge(h netlinksafe.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr = name, randomMAC()
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, fmt.Errorf("bridge %s: %w", name, err)
		}
		link, err = h.LinkByName(name)
	}
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return nil, fmt.Errorf("%s is a %s, not a bridge; name another in \"bridge\"", name, link.Type())
	}
	if err := h.LinkSetUp(link); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", name, err)
	}
	return link, nil
}

// randomMAC is a locally administered unicast MAC.
func randomMAC() net.HardwareAddr {
	m := make(net.HardwareAddr, 6)
	_, _ = rand.Read(m) // never fails (crypto/rand)
	m[0] = m[0]&^1 | 2
	return m
}

// serveGateways makes the bridge the gateway of the subnets that addresses were
// taken of: it has their first addresses, and what comes by it is forwarded.
func serveGateways(h netlinksafe.Handle, bridge netlink.Link, got []ipam.Allocation) error {
	for _, a := range got {
		if !a.Pool.Is4() {
			// The MAC is a random one, so nobody else has its link-local address.
			if err := setSysctl("/proc/sys/net/ipv6/conf/"+bridge.Attrs().Name+"/accept_dad", "0"); err != nil {
				return err
			}
		}
		if err := addAddress(h, bridge, a.Pool.Prefix(a.Pool.Gateway())); err != nil {
			return fmt.Errorf("gateway %v of bridge %s: %w", a.Pool.Gateway(), bridge.Attrs().Name, err)
		}
		if err := forward(a.Pool.Is4()); err != nil {
			return err
		}
	}
	return nil
}

// addAddress gives a link an address that it may have already. An IPv6 address
// is usable at once: the store knows that nobody else has it.
func addAddress(h netlinksafe.Handle, link netlink.Link, p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(link, addr); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
