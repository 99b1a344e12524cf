package bypass_test

import (
	"net"
	"strings"
	"testing"

	"vtepd/route/bypass"
)

// rulesetsIn are for datagrams from a VTEP.
var rulesetsIn = []ruleset{
	{"nothing", ``, false, false},
	{"only output is filtered", `table inet f { chain o { type filter hook output priority 0; policy drop; } }`, false, false},
	{"input drops by policy", `table inet f { chain i { type filter hook input priority 0; policy drop; udp dport 4789 accept; } }`, true, true},
	{"a drop for our port", `table inet f { chain i { type filter hook input priority 0; udp dport 4789 drop; } }`, true, true},
	{"a drop for another port", `table inet f { chain i { type filter hook input priority 0; udp dport 53 drop; } }`, false, false},
	{"a drop before routing", `table inet f { chain p { type filter hook prerouting priority -300; udp dport 4789 drop; } }`, true, true},
	{"forwarding does not concern us", `table inet f { chain w { type filter hook forward priority 0; policy drop; } }`, false, false},
	{"a drop of what comes from the VTEP", `table ip f { chain i { type filter hook input priority 0; ip saddr 192.0.2.2 drop; } }`, true, false},
	{"a drop of what comes from others", `table ip f { chain i { type filter hook input priority 0; ip saddr 192.0.2.9 drop; } }`, false, false},
	{"a drop on our interface", `table inet f { chain i { type filter hook input priority 0; iifname "u0" drop; } }`, true, true},
	{"a drop on another interface", `table inet f { chain i { type filter hook input priority 0; iifname "docker0" drop; } }`, false, false},
	{"an output interface is not known", `table inet f { chain p { type filter hook prerouting priority 0; meta mark 7 drop; } }`, true, true},
	{"no tracking", `table ip raw { chain p { type filter hook prerouting priority -300; udp dport 4789 notrack; } }`, true, false},
	{"the NAT of a container engine", `table ip nat {
		chain d { iifname "docker0" return; tcp dport 80 dnat to 172.17.0.2:80; }
		chain p { type nat hook prerouting priority -100; fib daddr type local jump d; } }`, false, false},
	{"our port is somebody else's", `table ip nat { chain p { type nat hook prerouting priority -100; udp dport 4789 dnat to 203.0.113.1; } }`, true, false},
	{"what a device drops early", `table netdev f { chain i { type filter hook ingress device "lo" priority 0; udp dport 4789 drop; } }`, true, true},
	{"what a device drops early of others", `table netdev f { chain i { type filter hook ingress device "lo" priority 0; meta l4proto tcp drop; } }`, false, false},
}

// back is the flow of what a VTEP sends to us.
func back(f bypass.Flow) bypass.Flow {
	f.Src, f.Dst, f.In = f.Dst, f.Src, true
	return f
}

func TestRulesIn(t *testing.T) { testRules(t, rulesetsIn, back(vxlan4), back(vxlan6)) }

func TestPoliciesIn(t *testing.T) {
	for _, c := range []struct {
		name, selector string
		v4             bool
	}{
		{"for what comes from our remote", "src 192.0.2.2/32 dst 192.0.2.1/32 dir in", true},
		{"for what goes to it", "src 192.0.2.1/32 dst 192.0.2.2/32 dir out", false},
		{"for another host", "src 192.0.2.9/32 dst 192.0.2.1/32 dir in", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace(t)
			args := append([]string{"xfrm", "policy", "add"}, strings.Fields(c.selector)...)
			run(t, "", "ip", append(args, "tmpl", "src", "192.0.2.2", "dst", "192.0.2.1", "proto", "esp", "mode", "transport")...)
			if why := bypass.NewLook().Reason(back(vxlan4)); (why != "") != c.v4 {
				t.Errorf("reason %q, want one: %v", why, c.v4)
			}
		})
	}
}

// TestControlled: traffic control that a redirect at the tcx hook would pass by.
func TestControlled(t *testing.T) {
	const match = "protocol all u32 match u32 0 0 action mirred egress redirect dev v1"
	for _, c := range []struct {
		name    string
		tc      []string
		in, out bool
	}{
		{"nothing", nil, false, false},
		{"a queue that only orders", []string{"qdisc add dev v0 root pfifo"}, false, false},
		{"a rate", []string{"qdisc add dev v0 root tbf rate 1gbit burst 100k latency 10ms"}, false, true},
		{"a place for filters, empty", []string{"qdisc add dev v0 clsact"}, false, false},
		{"a filter at ingress", []string{"qdisc add dev v0 clsact", "filter add dev v0 ingress " + match}, true, false},
		{"a filter at egress", []string{"qdisc add dev v0 clsact", "filter add dev v0 egress " + match}, false, true},
		{"a filter at an ingress queue", []string{"qdisc add dev v0 ingress", "filter add dev v0 ingress " + match}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace(t)
			run(t, "", "ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
			for _, args := range c.tc {
				run(t, "", "tc", strings.Fields(args)...)
			}
			ifi, err := net.InterfaceByName("v0")
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []struct{ in, want bool }{{true, c.in}, {false, c.out}} {
				if why := bypass.Controlled(ifi.Index, d.in); (why != "") != d.want {
					t.Errorf("in %v: %q, want a reason: %v", d.in, why, d.want)
				}
			}
		})
	}
	if bypass.Controlled(1<<30, true) == "" {
		t.Error("an interface that is not there gives no reason")
	}
}
