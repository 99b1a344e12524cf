package cni_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
)

// TestVersions: in every version of the specification two pods reach each other
// and their gateway, in both families, at once; CHECK is content; DEL twice and
// without the namespace is fine and leaves nothing.
func TestVersions(t *testing.T) {
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			n := newNode(t)
			n.write(t, version, "pods", `"subnet":["10.244.1.0/24","fd00:1::/64"],"mtu":1430`)
			a, pathA := n.pod(t, "a")
			b, pathB := n.pod(t, "b")
			ra, rb := n.add(t, "pods", pathA), n.add(t, "pods", pathB)
			checkResult(t, ra, version, pathA)
			for _, ip := range rb.IPs {
				// The first one, without any wait: no duplicate detection holds it up.
				if out, err := a.Run("ping", "-c1", "-W2", ip.Address.Addr().String()); err != nil {
					t.Errorf("pod to pod: %v\n%s", err, out)
				}
				ping(t, b, ip.Gateway)
			}
			if version != "0.3.1" { // which has no CHECK
				if out, err := n.tool("check", "pods", pathA); err != nil {
					t.Errorf("CHECK: %v\n%s", err, out)
				}
			}
			for range 2 {
				if out, err := n.tool("del", "pods", pathA); err != nil {
					t.Errorf("DEL: %v\n%s", err, out)
				}
			}
			if _, err := a.Run("ip", "link", "show", "eth0"); err == nil {
				t.Error("the pod's interface is still there")
			}
			_, err := n.Run("ip", "netns", "del", b.Name)
			must(t, err)
			if out, err := n.tool("del", "pods", pathB); err != nil {
				t.Errorf("DEL without a namespace: %v\n%s", err, out)
			}
			n.clean(t, "pods")
			_, err = n.Run("ip", "netns", "add", b.Name) // the lab removes it
			must(t, err)
		})
	}
}

// TestTwoNetworks: a pod in two networks keeps the default route of the first.
func TestTwoNetworks(t *testing.T) {
	n := newNode(t)
	n.write(t, "1.0.0", "one", `"subnet":["10.244.1.0/24","fd00:1::/64"]`)
	n.write(t, "1.0.0", "two", `"subnet":["10.244.2.0/24","fd00:2::/64"]`)
	pod, path := n.pod(t, "a")
	first, second := n.add(t, "one", path), n.add(t, "two", path, "CNI_IFNAME=eth1")
	if len(first.Routes) != 2 || len(second.Routes) != 0 || len(second.IPs) != 2 {
		t.Errorf("first %+v, second %+v", first, second)
	}
	for _, r := range []result{first, second} {
		for _, ip := range r.IPs {
			ping(t, pod, ip.Gateway)
		}
	}
	for network, ifname := range map[string]string{"one": "eth0", "two": "eth1"} {
		for _, verb := range []string{"check", "del"} {
			if out, err := n.tool(verb, network, path, "CNI_IFNAME="+ifname); err != nil {
				t.Errorf("%s of %s: %v\n%s", verb, network, err, out)
			}
		}
	}
	n.clean(t, "one")
	n.clean(t, "two")
}

func checkResult(t *testing.T, r result, version, netns string) {
	t.Helper()
	if r.CNIVersion != version || len(r.Interfaces) != 3 || len(r.IPs) != 2 || len(r.Routes) != 2 {
		t.Fatalf("%+v", r)
	}
	br, host, pod := r.Interfaces[0], r.Interfaces[1], r.Interfaces[2]
	if br.Name != "cni0" || br.Sandbox != "" || host.Sandbox != "" || !strings.HasPrefix(host.Name, "veth") || pod.Name != "eth0" || pod.Sandbox != netns ||
		br.Mac == "" || host.Mac == "" || pod.Mac == "" {
		t.Errorf("interfaces %+v", r.Interfaces)
	}
	mtu := 0
	if version == "1.1.0" {
		mtu = 1430
	}
	if br.MTU != mtu || host.MTU != mtu || pod.MTU != mtu {
		t.Errorf("MTUs %+v, want %d", r.Interfaces, mtu)
	}
	for i, want := range []struct{ version, address, gateway, dst string }{
		{"4", "10.244.1.2/24", "10.244.1.1", "0.0.0.0/0"}, {"6", "fd00:1::2/64", "fd00:1::1", "::/0"},
	} {
		ip, route := r.IPs[i], r.Routes[i]
		if version >= "1.0.0" {
			want.version = "" // gone with 1.0
		}
		if ip.Version != want.version || ip.Address.String() != want.address || ip.Gateway.String() != want.gateway || ip.Interface != 2 ||
			route.Dst.String() != want.dst || route.GW.String() != want.gateway {
			t.Errorf("%+v %+v, want %+v", ip, route, want)
		}
	}
}

// TestBridge: what the keys of the network configuration say of the bridge and
// its ports.
func TestBridge(t *testing.T) {
	n := newNode(t)
	n.write(t, "1.0.0", "plain", `"subnet":"10.1.0.0/24","bridge":"br-plain","isGateway":false,"hairpinMode":false,"mtu":0`)
	n.write(t, "1.0.0", "hairpin", `"subnet":"10.2.0.0/24"`)
	p, path := n.pod(t, "p")
	_, pathQ := n.pod(t, "q")
	r := n.add(t, "plain", path)
	if len(r.Routes) != 0 || r.IPs[0].Gateway.IsValid() {
		t.Errorf("a gateway without isGateway: %+v", r)
	}
	if out, err := n.Run("ip", "addr", "show", "br-plain"); err != nil || strings.Contains(out, "10.1.0.1") || strings.Contains(out, "cni0") {
		t.Errorf("%v %s", err, out)
	}
	if out, err := p.Run("ip", "route"); err != nil || strings.Contains(out, "default") {
		t.Errorf("%v %s", err, out)
	}
	rq := n.add(t, "hairpin", pathQ)
	for port, want := range map[string]string{r.Interfaces[1].Name: "0", rq.Interfaces[1].Name: "1"} {
		out, err := n.Run("cat", "/sys/class/net/"+port+"/brport/hairpin_mode")
		if err != nil || strings.TrimSpace(out) != want {
			t.Errorf("hairpin mode of %s is %s, want %s: %v", port, out, want, err)
		}
	}
	mac := r.Interfaces[0].Mac
	n.add(t, "plain", pathQ, "CNI_IFNAME=eth1")
	if out, err := n.Run("cat", "/sys/class/net/br-plain/address"); err != nil || strings.TrimSpace(out) != mac {
		t.Errorf("the bridge's MAC was %s, is %s: %v", mac, out, err)
	}
	_, err := n.Run("ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
	must(t, err)
	n.write(t, "1.0.0", "wrong", `"subnet":"10.3.0.0/24","bridge":"other0"`)
	if out, err := n.tool("add", "wrong", path, "CNI_IFNAME=eth1"); err == nil || !strings.Contains(out, "other0 is a veth, not a bridge") {
		t.Errorf("%v %s", err, out)
	}
	if held := n.held(t, "wrong"); len(held) > 0 {
		t.Errorf("still held: %v", held)
	}
}

// TestRollback: an ADD that fails leaves neither addresses nor interfaces, and
// what another made stays.
func TestRollback(t *testing.T) {
	n := newNode(t)
	n.write(t, "1.0.0", "pods", `"subnet":"10.244.1.0/24","ipMasq":true`)
	p, path := n.pod(t, "p")
	_, err := p.Run("ip", "link", "add", "eth0", "type", "bridge")
	must(t, err)
	if out, err := n.tool("add", "pods", path); err == nil || !strings.Contains(out, "the container has an interface eth0 already") {
		t.Errorf("%v %s", err, out)
	}
	n.clean(t, "pods")
	if out, err := n.tool("add", "pods", "/var/run/netns/not-there"); err == nil || !strings.Contains(out, "namespace") {
		t.Errorf("%v %s", err, out)
	}
	n.clean(t, "pods")
	if _, err := p.Run("ip", "link", "show", "eth0"); err != nil {
		t.Error("somebody else's interface is gone")
	}
	_, err = n.tool("del", "pods", path) // as a runtime does after an error
	must(t, err)
	if _, err := p.Run("ip", "link", "show", "eth0"); err != nil {
		t.Error("somebody else's interface is gone after DEL")
	}
	_, err = p.Run("ip", "link", "del", "eth0")
	must(t, err)
	n.add(t, "pods", path)
	// A second ADD without a DEL is refused and takes nothing from the first.
	if out, err := n.tool("add", "pods", path); err == nil || !strings.Contains(out, "it is released by DEL") {
		t.Errorf("%v %s", err, out)
	}
	if _, err := p.Run("ping", "-c1", "-W2", "10.244.1.1"); err != nil {
		t.Error(err)
	}
}

// TestMasquerade: with ipMasq a pod reaches what knows no way back to it; the
// rules are the network's own and go with its last attachment.
func TestMasquerade(t *testing.T) {
	n := newNode(t)
	outside, err := n.lab.Host("outside")
	must(t, err)
	must(t, n.lab.Connect(n.Host, outside, lab.Wire{}))
	if ra, err := n.Run("cat", "/proc/sys/net/ipv6/conf/u0/accept_ra"); err != nil || ra != "1\n" {
		t.Fatalf("accept_ra is %s: %v", ra, err)
	}
	n.write(t, "1.0.0", "masq", `"subnet":["10.1.0.0/24","fd00:1::/64"],"ipMasq":true`)
	n.write(t, "1.0.0", "plain", `"subnet":["10.2.0.0/24","fd00:2::/64"]`)
	a, pathA := n.pod(t, "a")
	b, pathB := n.pod(t, "b")
	n.add(t, "masq", pathA)
	n.add(t, "masq", pathB)
	for _, to := range []string{"192.0.2.2", "2001:db8::2"} {
		ping(t, a, netip.MustParseAddr(to))
	}
	// The node forwards now, and goes on taking router advertisements.
	if ra, err := n.Run("cat", "/proc/sys/net/ipv6/conf/u0/accept_ra", "/proc/sys/net/ipv6/conf/all/forwarding"); err != nil || ra != "2\n1\n" {
		t.Errorf("accept_ra and forwarding are %q: %v", ra, err)
	}
	_, err = n.tool("del", "masq", pathA)
	must(t, err)
	ping(t, b, netip.MustParseAddr("192.0.2.2"))
	n.add(t, "plain", pathA)
	if _, err := a.Run("ping", "-c1", "-W1", "192.0.2.2"); err == nil {
		t.Error("a network without ipMasq is masqueraded")
	}
	_, err = n.tool("del", "plain", pathA)
	must(t, err)
	_, err = n.tool("del", "masq", pathB)
	must(t, err)
	n.clean(t, "masq")
}

// TestPortmap: the stock plugins follow in the chain; a published port of the
// node reaches the pod.
func TestPortmap(t *testing.T) {
	n := newNode(t)
	outside, err := n.lab.Host("outside")
	must(t, err)
	must(t, n.lab.Connect(n.Host, outside, lab.Wire{}))
	n.write(t, "0.4.0", "pods", `"subnet":"10.244.1.0/24","mtu":1400`,
		`{"type":"portmap","capabilities":{"portMappings":true}}`, `{"type":"bandwidth","capabilities":{"bandwidth":true}}`)
	p, path := n.pod(t, "p")
	caps := `CAP_ARGS={"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}],` +
		`"bandwidth":{"ingressRate":100000000,"ingressBurst":10000000,"egressRate":100000000,"egressBurst":10000000}}`
	n.add(t, "pods", path, caps)
	server, err := p.Start("socat", "TCP-LISTEN:80,fork,reuseaddr", "SYSTEM:echo from the pod")
	must(t, err)
	must(t, lab.Until(5*time.Second, func() error {
		out, err := outside.Run("socat", "-T2", "TCP:192.0.2.1:8080,connect-timeout=1", "-")
		if err == nil && !strings.Contains(out, "from the pod") {
			err = fmt.Errorf("answered %q", out)
		}
		return err
	}))
	must(t, server.Stop())
	// No CHECK here: portmap 1.1.1 looks for the IPv4 rules among those of IPv6.
	_, err = n.tool("del", "pods", path, caps)
	must(t, err)
	if held := n.held(t, "pods"); len(held) > 0 {
		t.Errorf("still held: %v", held)
	}
}

// TestCheckSees: CHECK sees what somebody changed.
func TestCheckSees(t *testing.T) {
	n := newNode(t)
	n.write(t, "1.0.0", "pods", `"subnet":["10.244.1.0/24","fd00:1::/64"]`)
	p, path := n.pod(t, "p")
	for _, test := range []struct {
		name   string
		pod    string // a command in the pod: PORT is the host's end, ADDR the pod's address
		host   string // a command on the node
		reason string
	}{
		{"nothing", "", "", ""},
		{"address", "ip addr del ADDR dev eth0", "", "lacks the address 10.244.1."},
		{"route", "ip -6 route del default", "", "lacks the route to ::/0 via fd00:1::1"},
		{"pod's end down", "ip link set eth0 down", "", "eth0 in the container is down"},
		{"pod's end gone", "ip link del eth0", "", "host's end veth"},
		{"MAC", "ip link set eth0 address 02:00:00:00:00:01", "", "has the MAC 02:00:00:00:00:01, not "},
		{"another eth0", "ip link set eth0 name eth9; ip link add eth0 type bridge", "", "is not the other end of veth"},
		{"not in the bridge", "", "ip link set PORT nomaster", "is not in bridge cni0"},
		{"host's end down", "", "ip link set PORT down", " is down"},
		{"bridge down", "", "ip link set cni0 down", "bridge cni0 is down"},
		{"address not held", "", "rm -r " + n.data + "/pods", "is not held for"},
	} {
		r := n.add(t, "pods", path)
		fill := strings.NewReplacer("PORT", r.Interfaces[1].Name, "ADDR", r.IPs[0].Address.String())
		_, err := p.Run("sh", "-c", fill.Replace(test.pod))
		must(t, err)
		_, err = n.Run("sh", "-c", fill.Replace(test.host))
		must(t, err)
		out, err := n.tool("check", "pods", path)
		if (err == nil) != (test.reason == "") || !strings.Contains(out, test.reason) {
			t.Errorf("%s: %v\n%s", test.name, err, out)
		}
		_, err = n.tool("del", "pods", path)
		must(t, err)
		_, err = p.Run("sh", "-c", "ip link del eth0 2>&-; true")
		must(t, err)
	}
}
