package cni

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// check answers CHECK: is the attachment as ADD made it? It is held against
// prevResult, to which plugins after us may have added interfaces.
func check(c *conf, args *skel.CmdArgs) error {
	r, err := c.prevResult()
	if err != nil {
		return err
	}
	port, err := c.checkPort(args)
	if err != nil {
		return err
	}
	pod, err := ns.GetNS(args.Netns)
	if err != nil {
		return types.NewError(types.ErrInvalidNetNS, "the container's network namespace cannot be opened", err.Error())
	}
	defer pod.Close()
	if err := pod.Do(func(ns.NetNS) error { return checkPod(r, args, port) }); err != nil {
		return err
	}
	return c.checkStore(r, args)
}

// prevResult is what ADD answered, in the newest form.
func (c *conf) prevResult() (*current.Result, error) {
	if c.Prev == nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "prevResult: is missing; CHECK is held against it", "")
	}
	prev, err := create.Create(c.Version, c.Prev)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "prevResult: cannot be read", err.Error())
	}
	r, err := current.NewResultFromResult(prev)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "prevResult: cannot be read", err.Error())
	}
	return r, nil
}

// checkPort looks at the host's end.
func (c *conf) checkPort(args *skel.CmdArgs) (netlink.Link, error) {
	h, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	bridge, err := h.LinkByName(c.Bridge)
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", c.Bridge, err)
	}
	name := hostLink(c.Name, ownerOf(args))
	port, err := h.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("the host's end %s of the veth: %w", name, err)
	}
	switch a := port.Attrs(); {
	case a.MasterIndex != bridge.Attrs().Index:
		return nil, fmt.Errorf("%s is not in bridge %s", name, c.Bridge)
	case a.Flags&net.FlagUp == 0:
		return nil, fmt.Errorf("%s is down", name)
	case bridge.Attrs().Flags&net.FlagUp == 0:
		return nil, fmt.Errorf("bridge %s is down", c.Bridge)
	}
	return port, nil
}

// checkPod looks at the container's end, from its namespace.
func checkPod(r *current.Result, args *skel.CmdArgs, port netlink.Link) error {
	h, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(args.IfName)
	if err != nil {
		return fmt.Errorf("%s in the container: %w", args.IfName, err)
	}
	switch a := link.Attrs(); {
	case link.Type() != "veth" || a.ParentIndex != port.Attrs().Index:
		return fmt.Errorf("%s in the container is not the other end of %s", args.IfName, port.Attrs().Name)
	case a.Flags&net.FlagUp == 0:
		return fmt.Errorf("%s in the container is down", args.IfName)
	}
	if err := checkMAC(r, args, link); err != nil {
		return err
	}
	return errors.Join(checkAddresses(h, r, link), checkRoutes(h, r, link))
}

func checkMAC(r *current.Result, args *skel.CmdArgs, link netlink.Link) error {
	for _, i := range r.Interfaces {
		if i.Sandbox == args.Netns && i.Name == args.IfName && i.Mac != "" && i.Mac != link.Attrs().HardwareAddr.String() {
			return fmt.Errorf("%s in the container has the MAC %v, not %s", args.IfName, link.Attrs().HardwareAddr, i.Mac)
		}
	}
	return nil
}

// ours reports whether an address of the result belongs to the container's
// interface; a result that does not say is all about it.
func ours(r *current.Result, ip *current.IPConfig, ifname string) bool {
	if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(r.Interfaces) {
		return true
	}
	i := r.Interfaces[*ip.Interface]
	return i.Name == ifname && i.Sandbox != ""
}

func checkAddresses(h netlinksafe.Handle, r *current.Result, link netlink.Link) error {
	have, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, ip := range r.IPs {
		if !ours(r, ip, link.Attrs().Name) {
			continue
		}
		found := false
		for _, a := range have {
			found = found || a.IP.Equal(ip.Address.IP) && bytes.Equal(a.Mask, ip.Address.Mask)
		}
		if !found {
			return fmt.Errorf("%s in the container lacks the address %v", link.Attrs().Name, &ip.Address)
		}
	}
	return nil
}

func checkRoutes(h netlinksafe.Handle, r *current.Result, link netlink.Link) error {
	for _, want := range r.Routes {
		family := netlink.FAMILY_V4
		if want.Dst.IP.To4() == nil {
			family = netlink.FAMILY_V6
		}
		have, err := h.RouteList(link, family)
		if err != nil {
			return err
		}
		found := false
		for i := range have {
			found = found || sameRoute(&have[i], want)
		}
		if !found {
			return fmt.Errorf("%s in the container lacks the route to %v via %v", link.Attrs().Name, &want.Dst, want.GW)
		}
	}
	return nil
}

func sameRoute(have *netlink.Route, want *types.Route) bool {
	dst := have.Dst
	if dst == nil { // the default route, in older releases of the library
		any4 := defaultDst(want.Dst.IP.To4() != nil)
		dst = &any4
	}
	return dst.IP.Equal(want.Dst.IP) && bytes.Equal(dst.Mask, want.Dst.Mask) && (want.GW == nil || have.Gw.Equal(want.GW))
}

// checkStore wants every address of the interface to be held for it.
func (c *conf) checkStore(r *current.Result, args *skel.CmdArgs) error {
	l, err := c.lock()
	if err != nil {
		return err
	}
	held, err := l.Held()
	if err := errors.Join(err, l.Unlock()); err != nil {
		return storeError(err)
	}
	for _, ip := range r.IPs {
		if !ours(r, ip, args.IfName) {
			continue
		}
		found := false
		for _, h := range held {
			found = found || h.Bad == nil && h.Owner == ownerOf(args) && ip.Address.IP.Equal(h.Addr.AsSlice())
		}
		if !found {
			return fmt.Errorf("%v is not held for %v in %s", ip.Address.IP, ownerOf(args), l.Dir())
		}
	}
	return nil
}
