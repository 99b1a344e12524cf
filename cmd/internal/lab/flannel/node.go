package flannel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"vtepd/cmd/internal/lab"
)

// A Node is a host with a place in the network.
type Node struct {
	*lab.Host

	Name   string
	V4, V6 netip.Addr // on u0
	Env    string     // path of subnet.env
	// Vtepd is the daemon that was started last, nil where none was; Flanneld
	// the same.
	Vtepd    *lab.Daemon
	Flanneld *lab.Proc

	net *Network
}

// VtepdArgs are the flags with which vtepd joins the network.
func (n *Node) VtepdArgs() []string {
	return []string{"--flannel-etcd", URL, "--flannel-interface", "u0", "--subnet-file", n.Env}
}

// StartVtepd starts vtepd with VtepdArgs and those given.
func (n *Node) StartVtepd(args ...string) (err error) {
	n.Vtepd, err = n.Host.Vtepd(n.net.o.Bin, append(n.VtepdArgs(), args...)...)
	return err
}

// RunVtepd starts vtepd and waits until it has joined the network.
func (n *Node) RunVtepd(args ...string) error {
	if err := n.StartVtepd(args...); err != nil {
		return err
	}
	return n.Vtepd.WaitFor("joined the network", patience)
}

// FlanneldArgs are the flags with which flanneld joins the network.
func (n *Node) FlanneldArgs() []string {
	return []string{"-etcd-endpoints=" + URL, "-iface=u0", "-ip-masq", "-subnet-file=" + n.Env}
}

// StartFlanneld starts flanneld with FlanneldArgs and those given.
func (n *Node) StartFlanneld(args ...string) (err error) {
	if n.net.o.Flanneld == "" {
		return errors.New("there is no flanneld")
	}
	n.Flanneld, err = n.Start(n.net.o.Flanneld, append(n.FlanneldArgs(), args...)...)
	return err
}

// RunFlanneld starts flanneld and waits until it has a subnet and follows the
// others.
func (n *Node) RunFlanneld(args ...string) error {
	if err := n.StartFlanneld(args...); err != nil {
		return err
	}
	if err := n.Flanneld.WaitFor("Running backend", patience); err != nil {
		return err
	}
	_, err := n.Subnet()
	return err
}

// Subnet are the node's subnets and MTU.
type Subnet struct {
	V4, V6 netip.Prefix // the zero one of a family that the network has not
	MTU    int
}

// Subnet reads subnet.env, and waits until it is there. Its addresses are the
// gateways of pods.
func (n *Node) Subnet() (s Subnet, err error) {
	err = lab.Until(patience, func() error {
		text, err := os.ReadFile(n.Env)
		if err != nil {
			return err
		}
		s, err = parseEnv(string(text))
		return err
	})
	return s, err
}

func parseEnv(text string) (s Subnet, err error) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "FLANNEL_SUBNET":
			s.V4, err = netip.ParsePrefix(value)
		case "FLANNEL_IPV6_SUBNET":
			s.V6, err = netip.ParsePrefix(value)
		case "FLANNEL_MTU":
			_, err = fmt.Sscan(value, &s.MTU)
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", line, err)
		}
	}
	if s.MTU == 0 || !s.V4.IsValid() && !s.V6.IsValid() {
		return s, fmt.Errorf("subnet.env lacks something: %s", text)
	}
	return s, nil
}
