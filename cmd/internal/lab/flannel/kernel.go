package flannel

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// A lease is the value that flanneld's back end vxlan writes.
type lease struct {
	PublicIP      netip.Addr
	PublicIPv6    *netip.Addr
	BackendType   string
	BackendData   router
	BackendV6Data *router `json:",omitempty"`
}

type router struct {
	VNI     int
	VtepMAC string
}

// Key is how a subnet is spelt in the store.
func Key(subnets ...netip.Prefix) string {
	var parts []string
	for _, s := range subnets {
		parts = append(parts, strings.Replace(s.Masked().String(), "/", "-", 1))
	}
	return strings.Join(parts, "&")
}

// Value is a lease's value as flanneld writes it for the back end vxlan with
// VNI 1. With mac6 "" it has no IPv6.
func Value(v4 netip.Addr, mac string, v6 netip.Addr, mac6 string) string {
	l := lease{PublicIP: v4, BackendType: "vxlan", BackendData: router{1, mac}}
	if mac6 != "" {
		l.PublicIPv6, l.BackendV6Data = &v6, &router{1, mac6}
	}
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // it has neither cycles nor channels
	}
	return string(b)
}

// RunKernel gives the node a subnet of each family given, and the kernel's
// devices as flanneld v0.28.10 makes them for the back end vxlan with VNI 1
// (pkg/backend/vxlan/device.go; recorded in route/flannel/testdata). The lease
// is a reservation. Follow programs the other nodes.
func (n *Node) RunKernel(subnets ...netip.Prefix) error {
	env := "FLANNEL_NETWORK=10.244.0.0/16\n"
	macs := []string{"", ""}
	for i, s := range subnets {
		f := familyOf(s.Addr())
		if err := n.vxlan(f, s.Addr()); err != nil {
			return err
		}
		mac, err := n.Run("cat", "/sys/class/net/"+f.device+"/address")
		if err != nil {
			return err
		}
		macs[i] = strings.TrimSpace(mac)
		env += fmt.Sprintf("%s=%v\n", f.env, netip.PrefixFrom(host(s, 1), s.Bits()))
	}
	var v6 netip.Addr
	if len(subnets) > 1 {
		v6 = n.V6
	}
	if err := os.WriteFile(n.Env, []byte(env+"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"), 0o600); err != nil {
		return err
	}
	return n.net.Etcd.Put(Key(subnets...), Value(n.V4, macs[0], v6, macs[1]))
}

// A family is how flanneld treats an IP version.
type family struct {
	device, env string
	bits        int
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return family{"flannel.1", "FLANNEL_SUBNET", 32}
	}
	return family{"flannel-v6.1", "FLANNEL_IPV6_SUBNET", 128}
}

func (n *Node) vxlan(f family, addr netip.Addr) error {
	local := n.V4
	if addr.Is6() {
		local = n.V6
	}
	for _, args := range [][]string{
		{"link", "add", f.device, "mtu", "1450", "type", "vxlan", "id", "1", "local", local.String(), "dev", "u0", "dstport", "8472", "nolearning"},
		{"addr", "add", netip.PrefixFrom(addr, f.bits).String(), "dev", f.device},
		{"link", "set", f.device, "up"},
	} {
		if _, err := n.Run("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// Follow programs the leases of the other nodes, in flanneld's order
// (pkg/backend/vxlan/vxlan_network.go, handleSubnetEvents): neighbour, FDB
// entry, route. It looks once.
func (n *Node) Follow() error {
	leases, err := n.net.Etcd.Leases()
	if err != nil {
		return err
	}
	for key, value := range leases {
		var l lease
		if err := json.Unmarshal([]byte(value), &l); err != nil || l.PublicIP == n.V4 {
			continue
		}
		k4, k6, dual := strings.Cut(key, "&")
		if err := n.program(k4, l.PublicIP, l.BackendData.VtepMAC); err != nil {
			return err
		}
		if dual && l.PublicIPv6 != nil && l.BackendV6Data != nil {
			if err := n.program(k6, *l.PublicIPv6, l.BackendV6Data.VtepMAC); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) program(key string, public netip.Addr, mac string) error {
	subnet, err := netip.ParsePrefix(strings.Replace(key, "-", "/", 1))
	if err != nil {
		return err
	}
	dev, base := familyOf(subnet.Addr()).device, subnet.Addr().String()
	for _, args := range [][]string{
		{"ip", "neigh", "replace", base, "lladdr", mac, "dev", dev, "nud", "permanent"},
		{"bridge", "fdb", "replace", mac, "dev", dev, "dst", public.String(), "self", "permanent"},
		{"ip", "route", "replace", subnet.String(), "via", base, "dev", dev, "onlink"},
	} {
		if _, err := n.Run(args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}
