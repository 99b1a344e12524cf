package flannel

import (
	"fmt"
	"net/netip"

	"vtepd/encap/packet"
)

// A Node is this host: how the other nodes reach it.
type Node struct {
	PublicIP, PublicIPv6 netip.Addr // zero for none
	MAC                  packet.MAC // of our VTEP, for both families
}

// attrs is the value of our lease.
func (n Node) attrs(net *Network) (Attrs, error) {
	a := Attrs{Backend: net.Backend.Type}
	router := Router{net.Backend.VNI, n.MAC}
	if net.Backend.Type == HostGW {
		router = Router{}
	}
	if net.V4.Enabled() {
		if !n.PublicIP.IsValid() {
			return a, fmt.Errorf("the network has IPv4, and this host has no public IPv4 address: give one with public_ip")
		}
		a.PublicIP, a.V4 = n.PublicIP, router
	}
	if net.V6.Enabled() {
		if !n.PublicIPv6.IsValid() {
			return a, fmt.Errorf("the network has IPv6, and this host has no public IPv6 address: give one with public_ipv6")
		}
		a.PublicIPv6, a.V6 = n.PublicIPv6, router
	}
	return a, nil
}

// is reports whether a lease's node has one of our addresses.
func (n Node) is(a Attrs) bool {
	return n.PublicIP.IsValid() && n.PublicIP == a.PublicIP || n.PublicIPv6.IsValid() && n.PublicIPv6 == a.PublicIPv6
}

// nodeIP is the address to call a lease's node by.
func (a Attrs) nodeIP() netip.Addr {
	if a.PublicIP.IsValid() {
		return a.PublicIP
	}
	return a.PublicIPv6
}
