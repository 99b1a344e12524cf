package flannel

import (
	"net/netip"

	"vtepd/cmd/internal/lab"
)

// A Pod is a namespace with addresses of a node's subnets, as a CNI plugin makes
// it: behind the bridge cni0, its default routes through the node.
type Pod struct {
	*lab.Host

	Node   *Node
	V4, V6 netip.Addr // the zero one of a family that the network has not
	MTU    int
}

// Addrs are the pod's addresses.
func (p *Pod) Addrs() (out []netip.Addr) {
	for _, a := range []netip.Addr{p.V4, p.V6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// podHost is the pod's place in its subnet.
const podHost = 5

// Pod makes the node's pod. The node must have its subnet. That it forwards is
// vtepd's own work; flanneld leaves it to others, so that it is switched on.
func (n *Node) Pod() (*Pod, error) {
	s, err := n.Subnet()
	if err != nil {
		return nil, err
	}
	if n.Vtepd == nil {
		if err := forward(n.Host); err != nil {
			return nil, err
		}
	}
	p := &Pod{Node: n, MTU: s.MTU}
	var gateways []netip.Prefix
	for _, f := range []struct {
		gateway netip.Prefix
		pod     *netip.Addr
	}{{s.V4, &p.V4}, {s.V6, &p.V6}} {
		if f.gateway.IsValid() {
			gateways = append(gateways, f.gateway)
			*f.pod = host(f.gateway, podHost)
		}
	}
	if err := n.bridge(gateways, s.MTU); err != nil {
		return nil, err
	}
	return p, p.attach(gateways)
}

// host is an address of a subnet.
func host(subnet netip.Prefix, n byte) netip.Addr {
	b := subnet.Masked().Addr().AsSlice()
	b[len(b)-1] += n
	a, _ := netip.AddrFromSlice(b)
	return a
}

// bridge makes cni0.
func (n *Node) bridge(gateways []netip.Prefix, mtu int) error {
	var addrs []string
	for _, g := range gateways {
		addrs = append(addrs, g.String())
	}
	return n.Bridge("cni0", mtu, addrs...)
}

// attach makes the pod's namespace and its interface e0.
func (p *Pod) attach(gateways []netip.Prefix) error {
	addrs := p.Addrs()
	var err error
	for i, g := range gateways {
		addr := netip.PrefixFrom(addrs[i], g.Bits()).String()
		if p.Host == nil {
			p.Host, err = p.Node.Station("pod-"+p.Node.Name, "cni0", addr, p.MTU)
		} else {
			_, err = p.Run("ip", "addr", "add", addr, "dev", "e0")
		}
		if err != nil {
			return err
		}
		if _, err := p.Run("ip", "route", "add", "default", "via", g.Addr().String()); err != nil {
			return err
		}
	}
	return nil
}
