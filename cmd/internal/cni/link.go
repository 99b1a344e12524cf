package cni

import (
	"errors"
	"net"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/version"
	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/route/ipam"
)

// newest reports whether results of the version have an interface's MTU.
func newest(v string) bool {
	yes, err := version.GreaterThanOrEqualTo(v, "1.1.0")
	return err == nil && yes
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func defaultDst(is4 bool) net.IPNet {
	if is4 {
		return net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	return net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
}

// deleteHostLink deletes the host's end of an attachment's veth, and with it
// the container's. One that is gone is no error.
func deleteHostLink(network string, o ipam.Owner) error {
	h, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(hostLink(network, o))
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err == nil {
		err = h.LinkDel(link)
	}
	if gone(err) {
		return nil
	}
	return err
}

// gone reports whether a link went away by itself in between, as those of a
// namespace do when it ends.
func gone(err error) bool { return errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) }

// deleteStrayLinks deletes the host's ends of a network's veths whose names are
// not in keep.
func deleteStrayLinks(network string, keep map[string]bool) error {
	h, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range links {
		a := l.Attrs()
		if a.Alias != linkAlias(network) || l.Type() != "veth" || !strings.HasPrefix(a.Name, "veth") || keep[a.Name] {
			continue
		}
		if err := h.LinkDel(l); err != nil && !gone(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
