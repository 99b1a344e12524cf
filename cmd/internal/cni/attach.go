package cni

import (
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/route/ipam"
)

// attach connects the container to the bridge and returns what the runtime is
// told. On an error something may be left, which [conf.release] takes away.
func attach(c *conf, n *network, args *skel.CmdArgs, got []ipam.Allocation) (*current.Result, error) {
	pod, err := ns.GetNS(args.Netns)
	if err != nil {
		return nil, types.NewError(types.ErrInvalidNetNS, "the container's network namespace cannot be opened", err.Error())
	}
	defer pod.Close()
	host, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer host.Close()
	bridge, err := ensureBridge(host, c.Bridge)
	if err != nil {
		return nil, err
	}
	if c.IsGateway {
		if err := serveGateways(host, bridge, got); err != nil {
			return nil, err
		}
	}
	port, err := plug(host, c, n.mtu, args, bridge, pod)
	if err != nil {
		return nil, err
	}
	var inside netlink.Link
	var routed []ipam.Allocation
	if err := pod.Do(func(ns.NetNS) (err error) {
		inside, routed, err = configurePod(c, args.IfName, got)
		return err
	}); err != nil {
		return nil, fmt.Errorf("%s in the container: %w", args.IfName, err)
	}
	if now, err := host.LinkByIndex(bridge.Attrs().Index); err == nil {
		bridge = now // its MTU follows its ports
	}
	return c.result(args, bridge, port, inside, got, routed), nil
}

// plug makes the veth: one end in the container, the other a port of the
// bridge. A port that an ADD left which was killed goes first.
func plug(host netlinksafe.Handle, c *conf, mtu int, args *skel.CmdArgs, bridge netlink.Link, pod ns.NetNS) (netlink.Link, error) {
	o := ownerOf(args)
	if err := deleteHostLink(c.Name, o); err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = hostLink(c.Name, o), mtu, net.FlagUp
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: args.IfName, PeerNamespace: netlink.NsFd(int(pod.Fd()))}
	err := host.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("the container has an interface %s already", args.IfName)
	}
	if err != nil {
		return nil, fmt.Errorf("veth %s: %w", attrs.Name, err)
	}
	port, err := host.LinkByName(attrs.Name)
	if err != nil {
		return nil, err
	}
	if err := host.LinkSetAlias(port, linkAlias(c.Name)); err != nil {
		return nil, fmt.Errorf("veth %s: %w", attrs.Name, err)
	}
	if err := host.LinkSetMaster(port, bridge); err != nil {
		return nil, fmt.Errorf("veth %s into bridge %s: %w", attrs.Name, c.Bridge, err)
	}
	if err := host.LinkSetHairpin(port, c.HairpinMode); err != nil {
		return nil, fmt.Errorf("hairpin mode of %s: %w", attrs.Name, err)
	}
	return port, nil
}

// configurePod sets the interface up in the namespace of the calling thread,
// the container's. It returns also the addresses whose gateway the default
// route leads to: a container that has a default route, of another network,
// keeps it.
func configurePod(c *conf, name string, got []ipam.Allocation) (_ netlink.Link, routed []ipam.Allocation, err error) {
	h, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range got {
		if err := prepareFamily(name, a.Pool.Is4()); err != nil {
			return nil, nil, err
		}
		if err := addAddress(h, link, a.Pool.Prefix(a.Addr)); err != nil {
			return nil, nil, fmt.Errorf("address %v: %w", a.Addr, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return nil, nil, err
	}
	if !c.IsGateway {
		return link, nil, nil
	}
	for _, a := range got {
		gw := a.Pool.Gateway()
		// No destination is the default route, of the gateway's family.
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: gw.AsSlice()}
		err := h.RouteAdd(route)
		switch {
		case err == nil:
			routed = append(routed, a)
		case !errors.Is(err, unix.EEXIST):
			return nil, nil, fmt.Errorf("default route via %v: %w", gw, err)
		}
	}
	return link, routed, nil
}

// prepareFamily has the interface announce its addresses when it comes up, for
// those who remember the MAC of whoever had them before; and IPv6 on, which
// some runtimes turn off in every namespace, without a probe for addresses that
// are known to be ours.
func prepareFamily(name string, is4 bool) error {
	if is4 {
		return setSysctl("/proc/sys/net/ipv4/conf/"+name+"/arp_notify", "1")
	}
	dir := "/proc/sys/net/ipv6/conf/" + name
	return errors.Join(setSysctl(dir+"/disable_ipv6", "0"), setSysctl(dir+"/accept_dad", "0"), setSysctl(dir+"/ndisc_notify", "1"))
}

// result is the answer to ADD in the newest form; printing brings it to the one
// the runtime speaks.
func (c *conf) result(args *skel.CmdArgs, bridge, port, inside netlink.Link, got, routed []ipam.Allocation) *current.Result {
	r := &current.Result{CNIVersion: current.ImplementedSpecVersion, DNS: c.DNS}
	for _, l := range []netlink.Link{bridge, port, inside} {
		i := &current.Interface{Name: l.Attrs().Name, Mac: l.Attrs().HardwareAddr.String()}
		if newest(c.Version) {
			i.Mtu = l.Attrs().MTU
		}
		r.Interfaces = append(r.Interfaces, i)
	}
	r.Interfaces[podInterface].Sandbox = args.Netns
	for _, a := range got {
		ip := &current.IPConfig{Interface: current.Int(podInterface), Address: ipNet(a.Pool.Prefix(a.Addr))}
		if c.IsGateway {
			ip.Gateway = a.Pool.Gateway().AsSlice()
		}
		r.IPs = append(r.IPs, ip)
	}
	for _, a := range routed {
		r.Routes = append(r.Routes, &types.Route{Dst: defaultDst(a.Pool.Is4()), GW: a.Pool.Gateway().AsSlice()})
	}
	return r
}

// podInterface is the place of the container's interface in a result.
const podInterface = 2
