package flannel

import (
	"errors"
	"fmt"
	"net/netip"

	"vtepd/cmd/internal/lab"
)

// Options say what a network is made with.
type Options struct {
	Bin      string // folder of vtepd and vtepctl
	Flanneld string // path of flanneld; "" where no node runs it
	Config   string // net-conf, as it stands in the store
}

// A Network is etcd and the nodes around it. Its methods, and those of what it
// makes, are called by one goroutine.
type Network struct {
	Lab  *lab.Lab
	Etcd *Etcd
	// Router stands between the two underlay networks: bridges sw0 and sw1.
	Router *lab.Host

	o     Options
	nodes int
}

// A link is an underlay network.
type link struct {
	bridge string
	v4, v6 netip.Addr // of the network
}

func onLink() link {
	return link{"sw0", netip.AddrFrom4([4]byte{192, 0, 2}), netip.MustParseAddr("2001:db8::")}
}

func offLink() link {
	return link{"sw1", netip.AddrFrom4([4]byte{198, 51, 100}), netip.MustParseAddr("2001:db8:1::")}
}

// routerHost is the router's place in both underlay networks.
const routerHost = 254

func (l link) addr4(n int) netip.Addr { return host(netip.PrefixFrom(l.v4, 24), byte(n)) }
func (l link) addr6(n int) netip.Addr { return host(netip.PrefixFrom(l.v6, 64), byte(n)) }

func (l link) addrs(n int) []string {
	return []string{l.addr4(n).String() + "/24", l.addr6(n).String() + "/64"}
}

// New makes a network without nodes in the lab, its etcd with the configuration
// in it.
func New(l *lab.Lab, o Options) (*Network, error) {
	n := &Network{Lab: l, o: o}
	var err error
	if n.Router, err = l.Host("router"); err != nil {
		return nil, err
	}
	for _, u := range []link{onLink(), offLink()} {
		if err := n.Router.Bridge(u.bridge, 0, u.addrs(routerHost)...); err != nil {
			return nil, err
		}
	}
	if err := forward(n.Router); err != nil {
		return nil, err
	}
	h, err := n.join("etcd", onLink(), etcdHost)
	if err != nil {
		return nil, err
	}
	n.Etcd = &Etcd{Host: h, config: o.Config}
	return n, n.Etcd.Start()
}

// join makes a host of an underlay network.
func (n *Network) join(name string, u link, number int) (*lab.Host, error) {
	h, err := n.Lab.Host(name)
	if err != nil {
		return nil, err
	}
	if err := n.Router.Port(u.bridge, fmt.Sprintf("p%d", number), h, lab.Wire{B: u.addrs(number)}); err != nil {
		return nil, err
	}
	_, v4 := h.Run("ip", "route", "add", "default", "via", u.addr4(routerHost).String())
	_, v6 := h.Run("ip", "route", "add", "default", "via", u.addr6(routerHost).String())
	return h, errors.Join(v4, v6)
}

// forward makes a router of a host.
func forward(h *lab.Host) error {
	_, err := h.Run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
	return err
}

// Node makes a node that nothing runs on yet.
func (n *Network) Node(name string) (*Node, error) { return n.node(name, onLink()) }

// OffLink makes a node that the others reach through the router.
func (n *Network) OffLink(name string) (*Node, error) { return n.node(name, offLink()) }

func (n *Network) node(name string, u link) (*Node, error) {
	n.nodes++
	h, err := n.join(name, u, n.nodes)
	if err != nil {
		return nil, err
	}
	return &Node{Host: h, Name: name, V4: u.addr4(n.nodes), V6: u.addr6(n.nodes), Env: h.File("subnet.env"), net: n}, nil
}

// Foreign and Foreign6 are on-link addresses that nobody has, for number from
// 10 to 99; ForeignOffLink and ForeignOffLink6 such behind the router.
func (n *Network) Foreign(number int) netip.Addr { return onLink().addr4(number) }

// Foreign6 is like [Network.Foreign].
func (n *Network) Foreign6(number int) netip.Addr { return onLink().addr6(number) }

// ForeignOffLink is like [Network.Foreign].
func (n *Network) ForeignOffLink(number int) netip.Addr { return offLink().addr4(number) }

// ForeignOffLink6 is like [Network.Foreign].
func (n *Network) ForeignOffLink6(number int) netip.Addr { return offLink().addr6(number) }
