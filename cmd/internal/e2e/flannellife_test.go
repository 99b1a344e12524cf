package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

const subnetsKey = "/coreos.com/network/subnets/"

// peer writes the lease of a node that is not there.
func (f *flannelNet) peer(key, ip, mac string) {
	f.t.Helper()
	f.ctl("put", subnetsKey+key, fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":%q}}`, ip, mac))
}

func (n *flannelNode) routes() string { return run(n.f.t, n.host, "ip", "route") }

// within wants something a second after an event.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	began := time.Now()
	eventually(t, what, ok)
	if d := time.Since(began); d > time.Second {
		t.Errorf("%s took %v", what, d)
	}
}

// TestFlannelPeers: leases of others come, change and go, while we look and
// while we do not.
func TestFlannelPeers(t *testing.T) {
	f := newFlannelNet(t, 2, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`)
	f.peer("10.244.250.0-24", "192.0.2.50", "02:00:00:00:00:50")
	n := f.node(1)
	within(t, "the lease that was there", func() bool { return strings.Contains(n.routes(), "10.244.250.0/24 dev flannel.1") })
	f.peer("10.244.251.0-24", "192.0.2.51", "02:00:00:00:00:51")
	within(t, "a new lease", func() bool { return strings.Contains(n.routes(), "10.244.251.0/24 dev flannel.1") })
	f.ctl("del", subnetsKey+"10.244.250.0-24")
	within(t, "a deleted lease", func() bool { return !strings.Contains(n.routes(), "10.244.250.0/24") })
	run(t, n.host, "ip", "route", "del", "10.244.251.0/24")
	within(t, "a route that was deleted by hand", func() bool { return strings.Contains(n.routes(), "10.244.251.0/24 dev flannel.1") })
	for key, value := range map[string]string{"junk": "{}", "10.244.252.0-24": "not json", "10.99.0.0-24": "{}"} {
		f.ctl("put", subnetsKey+key, value)
	}
	eventually(t, "junk is refused", func() bool { return n.lease().RefusedNow == 3 })
	if l := n.lease(); l.Peers != 1 || len(l.Problems) != 0 || len(l.Refusals) != 3 {
		t.Errorf("%+v", l)
	}
	must(t, n.Stop())
	if out := n.routes(); strings.Contains(out, "10.244.") {
		t.Errorf("after a stop: %s", out)
	}
	f.ctl("del", subnetsKey+"10.244.251.0-24")
	n = f.node(1)
	if out := n.routes(); strings.Contains(out, "10.244.251.0/24") || n.lease().Peers != 0 {
		t.Errorf("what went while we were away is back: %s", out)
	}
}

// TestFlannelWithoutEtcd: it is away at the start, then while packets flow, and
// comes back without its data.
func TestFlannelWithoutEtcd(t *testing.T) {
	f := newFlannelNet(t, 3, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`)
	must(t, f.etcd.Stop())
	n := f.start(1)
	eventually(t, "status says that etcd is away", func() bool {
		out, err := n.Ctl("status")
		return err == nil && strings.Contains(out, "source flannel noconnected") && strings.Contains(out, "connection refused")
	})
	f.startEtcd()
	n.joined()
	other := f.node(2)
	pod, _ := n.podOn()
	_, addr := other.podOn()
	reaches(t, pod, addr)
	before := n.lease()
	must(t, f.etcd.Stop())
	run(t, pod, "ping", "-c", "1", "-W", "2", addr)
	f.n++ // a new data folder
	f.startEtcd()
	eventually(t, "our lease in the empty etcd", func() bool { return strings.Contains(f.ctl("get", subnetsKey+before.Key), before.Value) })
	eventually(t, "both nodes there", func() bool { return n.lease().Peers == 1 && other.lease().Peers == 1 })
	run(t, pod, "ping", "-c", "1", "-W", "2", addr)
	eventually(t, "the missing configuration is said", func() bool { return strings.Contains(strings.Join(n.lease().Problems, ""), "subnet init") })
}

// TestFlannelDirect: host-gw has no device and no overhead; DirectRouting goes
// by plain routes on the same link.
func TestFlannelDirect(t *testing.T) {
	for _, c := range []struct {
		name, backend, mtu string
		device             bool
	}{
		{"host-gw", `{"Type":"host-gw"}`, "1500", false},
		{"DirectRouting", `{"Type":"vxlan","DirectRouting":true}`, "1450", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFlannelNet(t, 2, `{"Network":"10.244.0.0/16","Backend":`+c.backend+`}`)
			a, b := f.node(0), f.node(1)
			pod, _ := a.podOn()
			_, addr := b.podOn()
			if e := readEnv(t, a.env); e["FLANNEL_MTU"] != c.mtu {
				t.Errorf("%v", e)
			}
			if got := strings.Contains(run(t, a.host, "ip", "-o", "link"), "flannel.1"); got != c.device {
				t.Errorf("a device: %v", got)
			}
			eventually(t, "a plain route", func() bool {
				return strings.Contains(a.routes(), b.lease().Subnets[0].String()+" via 192.0.2.2 dev u0")
			})
			reaches(t, pod, addr)
			if c.device {
				if out, err := a.Ctl("-j", "counters"); err != nil || !strings.Contains(out, `"tx":{"frames":0,`) {
					t.Errorf("something was encapsulated: %s %v", out, err)
				}
			}
		})
	}
}

// TestFlannelDualStack: one segment carries both families.
func TestFlannelDualStack(t *testing.T) {
	f := newFlannelNet(t, 2, `{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"vxlan"}}`)
	a, b := f.node(0), f.node(1)
	if e := readEnv(t, b.env); e["FLANNEL_MTU"] != "1430" || e["FLANNEL_IPV6_NETWORK"] != "fd44::/48" || !strings.HasSuffix(e["FLANNEL_IPV6_SUBNET"], "::1/64") {
		t.Errorf("%v", e)
	}
	l := b.lease()
	if len(l.Subnets) != 2 || !strings.Contains(l.Key, "&fd44:") || !strings.Contains(l.Value, `"PublicIPv6":"2001:db8::2"`) || !strings.Contains(l.Value, `"BackendV6Data"`) {
		t.Errorf("%+v", l)
	}
	out := run(t, b.host, "ip", "addr", "show", "flannel.1")
	for _, p := range l.Subnets {
		if want := netip.PrefixFrom(p.Addr(), p.Addr().BitLen()).String(); !strings.Contains(out, want) {
			t.Errorf("no %s: %s", want, out)
		}
	}
	for _, p := range l.Subnets { // the other node's own addresses, over both underlays
		reaches(t, a.host, p.Addr().String())
	}
}

// TestFlannelIPv6Only: neither pods nor underlay have IPv4.
func TestFlannelIPv6Only(t *testing.T) {
	f := newFlannelNet(t, 2, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"vxlan"}}`)
	a, b := f.node(0), f.node(1)
	l := b.lease()
	if !strings.HasPrefix(l.Key, "0.0.0.0-0&fd44:") || l.MTU != 1430 || !strings.HasPrefix(l.Value, `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::2","BackendType":"vxlan","BackendV6Data":`) {
		t.Errorf("%+v", l)
	}
	if e := readEnv(t, b.env); e["FLANNEL_NETWORK"] != "" || e["FLANNEL_IPV6_NETWORK"] != "fd44::/48" {
		t.Errorf("%v", e)
	}
	reaches(t, a.host, l.Subnets[0].Addr().String()) // a hears of b's lease when it is there
}

// TestFlannelDeviceLeft: flanneld leaves its device behind; what is in the way
// is named, and when it is gone the node joins.
func TestFlannelDeviceLeft(t *testing.T) {
	f := newFlannelNet(t, 2, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`)
	run(t, f.hosts[1], "ip", "link", "add", "flannel.1", "type", "vxlan", "id", "1", "local", "192.0.2.2", "dev", "u0", "dstport", "8472", "nolearning")
	n := f.start(1)
	eventually(t, "the device is named", func() bool {
		out, err := n.Ctl("status")
		return err == nil && strings.Contains(out, "problem: flannel: ") && strings.Contains(out, "flannel.1")
	})
	if _, err := os.Stat(n.env); err == nil {
		t.Error("subnet.env is there before the segment is")
	}
	run(t, f.hosts[1], "ip", "link", "del", "flannel.1")
	n.joined()
	if p := n.lease().Problems; len(p) != 0 {
		t.Error(p)
	}
}

// TestFlannelFile: a file with nothing but the network, a reload that changes
// masquerading, and one that would need a restart.
func TestFlannelFile(t *testing.T) {
	f := newFlannelNet(t, 2, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`)
	h := f.hosts[1]
	env, file := h.File("subnet.env"), h.File("flannel.yaml")
	write := func(more string) {
		must(t, os.WriteFile(file, fmt.Appendf(nil, "flannel: {endpoints: [%q], interface: u0, subnet_file: %s%s}\n", etcdAt, env, more), 0o600))
	}
	write("")
	d := vtepd(t, h, "--config", file)
	n := &flannelNode{Daemon: d, f: f, host: h, number: 1, env: env}
	n.joined()
	rules := func() string { return run(t, h, "nft", "list", "ruleset") }
	eventually(t, "masquerading", func() bool { return strings.Contains(rules(), "masquerade") })
	write(", masquerade: false")
	_, err := d.Ctl("reload")
	must(t, err)
	eventually(t, "no masquerading", func() bool {
		return !strings.Contains(rules(), "masquerade") && readEnv(t, env)["FLANNEL_IPMASQ"] == "false"
	})
	write(", public_ip: 192.0.2.77")
	if out, err := d.Ctl("reload"); err != nil || !strings.Contains(out, "only a restart changes flannel.public_ip") {
		t.Errorf("%s %v", out, err)
	}
	if l := n.lease(); !strings.Contains(l.Value, "192.0.2.2") {
		t.Errorf("%+v", l)
	}
}
