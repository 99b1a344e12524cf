package bypass_test

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vtepd/route/bypass"
)

// vxlan is a flow to a VTEP, over either family.
var (
	vxlan4 = bypass.Flow{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"), Port: 4789, Device: "u0"}
	vxlan6 = bypass.Flow{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), Port: 4789, Device: "u0"}
)

// A ruleset is what a host may have: rules as `nft` takes them, and whether they
// may treat the datagrams of a flow over IPv4 and IPv6.
type ruleset struct {
	name   string
	rules  string
	v4, v6 bool
}

// rulesets are for datagrams to a VTEP.
var rulesets = []ruleset{
	{"nothing", ``, false, false},
	{"only input is filtered", `table inet f { chain i { type filter hook input priority 0; policy drop; tcp dport 22 accept; } }`, false, false},
	{"an empty output chain", `table inet f { chain o { type filter hook output priority 0; policy accept; } }`, false, false},
	{"output drops by policy", `table inet f { chain o { type filter hook output priority 0; policy drop; ip daddr 192.0.2.2 accept; } }`, true, true},
	{"counters and logs only", `table inet f { chain o { type filter hook output priority 0; counter; log prefix "x"; udp dport 4789 accept; } }`, false, false},
	{"a drop for everything", `table inet f { chain o { type filter hook output priority 0; drop; } }`, true, true},
	{"a drop for our port", `table inet f { chain o { type filter hook output priority 0; udp dport 4789 drop; } }`, true, true},
	{"a drop for another port", `table inet f { chain o { type filter hook output priority 0; udp dport 53 drop; } }`, false, false},
	{"a drop for all ports but another", `table inet f { chain o { type filter hook output priority 0; udp dport != 53 drop; } }`, true, true},
	{"a drop for a range of ports is not understood", `table inet f { chain o { type filter hook output priority 0; udp dport 1-100 drop; } }`, true, true},
	{"a set of ports is not understood", `table inet f { chain o { type filter hook output priority 0; udp dport { 53, 67 } drop; } }`, true, true},
	{"a drop for TCP", `table inet f { chain o { type filter hook output priority 0; meta l4proto tcp drop; tcp dport 25 reject; } }`, false, false},
	{"what a device drops late", `table netdev f { chain e { type filter hook egress device "lo" priority 0; udp dport 4789 drop; } }`, true, true},
	{"what a device drops late of others", `table netdev f { chain e { type filter hook egress device "lo" priority 0; meta l4proto tcp drop; } }`, false, false},
	{"a drop for our remote", `table ip f { chain o { type filter hook output priority 0; ip daddr 192.0.2.2 drop; } }`, true, false},
	{"a drop for our remote's network", `table ip f { chain o { type filter hook output priority 0; ip daddr 192.0.2.0/24 drop; } }`, true, false},
	{"a drop for an odd network of our remote", `table ip f { chain o { type filter hook output priority 0; ip daddr 192.0.0.0/15 drop; } }`, true, false},
	{"a drop for another host", `table ip f { chain o { type filter hook output priority 0; ip daddr 192.0.2.9 drop; } }`, false, false},
	{"a drop for all other hosts", `table ip f { chain o { type filter hook output priority 0; ip daddr != 192.0.2.2 drop; } }`, false, false},
	{"a drop for another odd network", `table ip f { chain o { type filter hook output priority 0; ip daddr 198.51.0.0/17 drop; } }`, false, false},
	{"a drop for our IPv6 remote", `table ip6 f { chain o { type filter hook output priority 0; ip6 daddr 2001:db8::2 drop; } }`, false, true},
	{"a drop for IPv6 in inet", `table inet f { chain o { type filter hook output priority 0; meta nfproto ipv6 drop; } }`, false, true},
	{"a drop on our interface", `table inet f { chain o { type filter hook output priority 0; oifname "u0" drop; } }`, true, true},
	{"a drop on interfaces like ours", `table inet f { chain o { type filter hook output priority 0; oifname "u*" drop; } }`, true, true},
	{"a drop on another interface", `table inet f { chain o { type filter hook output priority 0; oifname "docker0" drop; } }`, false, false},
	{"a mark in mangle", `table inet f { chain o { type route hook output priority -150; meta mark set 7; } }`, true, true},
	{"a changed DSCP behind routing", `table ip f { chain p { type filter hook postrouting priority 0; ip dscp set cs1; } }`, true, false},
	{"a jump to a chain that drops us", `table ip f { chain x { udp dport 4789 drop; } chain o { type filter hook output priority 0; jump x; } }`, true, false},
	{"a jump to a chain for others", `table ip f { chain x { tcp dport 4789 drop; } chain o { type filter hook output priority 0; jump x; } }`, false, false},
	{"a jump that only others take", `table ip f { chain x { drop; } chain o { type filter hook output priority 0; meta l4proto icmp jump x; } }`, false, false},
	{"the NAT of a container engine", `table ip nat {
		chain d { iifname "docker0" return; tcp dport 80 dnat to 172.17.0.2:80; }
		chain p { type nat hook postrouting priority 100; ip saddr 172.17.0.0/16 oifname != "docker0" masquerade; }
		chain o { type nat hook output priority -100; ip daddr != 127.0.0.0/8 fib daddr type local jump d; } }`, false, false},
	{"masquerading of everything", `table ip nat { chain p { type nat hook postrouting priority 100; oifname "u0" masquerade; } }`, true, false},
	{"a verdict map that drops us", `table inet f { chain o { type filter hook output priority 0; udp dport vmap { 4789 : drop, 53 : accept }; } }`, true, true},
	{"a verdict map that only others reach", `table inet f { chain o { type filter hook output priority 0; meta l4proto tcp tcp dport vmap { 22 : drop }; } }`, false, false},
	{"a verdict map of addresses, named", `table ip f { map m { type ipv4_addr : verdict; elements = { 192.0.2.2 : drop }; }; chain o { type filter hook output priority 0; ip daddr vmap @m; } }`, true, false},
	{"a copy to another host", `table ip f { chain o { type filter hook output priority 0; dup to 203.0.113.1; } }`, true, false},
	{"what is not read writes the register that is compared", `table inet f { chain o { type filter hook output priority 0; meta l4proto udp socket wildcard 0 drop; } }`, true, true},
	{"IPsec of a packet", `table ip f { chain o { type filter hook postrouting priority 0; ip daddr 192.0.2.2 ipsec out ip daddr 203.0.113.1 drop; } }`, true, false},
	{"a goto to a chain that drops us", `table ip f { chain x { udp dport 4789 drop; } chain o { type filter hook output priority 0; goto x; } }`, true, false},
	{"a late chain behind an early accept", `table inet a { chain o { type filter hook output priority -300; accept; } }
		table inet b { chain o { type filter hook postrouting priority 300; udp dport 4789 drop; } }`, true, true},
	{"the neighbour's table of the same chain name", `table ip a { chain x { drop; } chain o { type filter hook output priority 0; accept; } }
		table ip b { chain x { accept; } chain o { type filter hook output priority 0; jump x; } }`, false, false},
	{"a drop at the egress of an interface", `table netdev f { chain e { type filter hook egress device "lo" priority 0; udp dport 4789 drop; } }`, true, true},
	{"a drop of others at the egress of an interface", `table netdev f { chain e { type filter hook egress device "lo" priority 0; meta l4proto tcp drop; } }`, false, false},
	{"a drop at the ingress of an interface", `table netdev f { chain i { type filter hook ingress device "lo" priority 0; drop; } }`, false, false},
	{"no tracking", `table ip raw { chain o { type filter hook output priority -300; udp dport 4789 notrack; } }`, true, false},
}

// namespace gives the test's thread an empty network namespace, which ends
// with it.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal(err)
	}
}

func run(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(stdin)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// semicolons puts in what nft wants between what stands on one line.
var semicolons = strings.NewReplacer("} }", "}; }", "} chain", "}; chain")

func TestRules(t *testing.T) { testRules(t, rulesets, vxlan4, vxlan6) }

// testRules has the reasons of flows over IPv4 and IPv6 under each ruleset.
func testRules(t *testing.T, sets []ruleset, flow4, flow6 bypass.Flow) {
	for _, c := range sets {
		t.Run(c.name, func(t *testing.T) {
			namespace(t)
			run(t, semicolons.Replace(c.rules), "nft", "-f", "-")
			look := bypass.NewLook()
			for _, f := range []struct {
				flow bypass.Flow
				want bool
			}{{flow4, c.v4}, {flow6, c.v6}} {
				why := look.Reason(f.flow)
				if (why != "") != f.want {
					t.Errorf("%+v: reason %q, want one: %v", f.flow, why, f.want)
				}
				if why != "" && !strings.Contains(why, "table") {
					t.Errorf("reason %q does not say where", why)
				}
			}
		})
	}
}

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		name     string
		selector string
		v4       bool
	}{
		{"for everything", "src 0.0.0.0/0 dst 0.0.0.0/0 dir out", true},
		{"for our remote", "src 192.0.2.1/32 dst 192.0.2.2/32 dir out", true},
		{"for our port", "src 192.0.2.0/24 dst 192.0.2.0/24 proto udp dport 4789 dir out", true},
		{"for another port", "src 192.0.2.0/24 dst 192.0.2.0/24 proto udp dport 500 dir out", false},
		{"for TCP", "src 192.0.2.0/24 dst 192.0.2.0/24 proto tcp dir out", false},
		{"for another host", "src 192.0.2.1/32 dst 192.0.2.9/32 dir out", false},
		{"for what comes in", "src 192.0.2.2/32 dst 192.0.2.1/32 dir in", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			namespace(t)
			args := append([]string{"xfrm", "policy", "add"}, strings.Fields(c.selector)...)
			run(t, "", "ip", append(args, "tmpl", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "mode", "transport")...)
			look := bypass.NewLook()
			if why := look.Reason(vxlan4); (why != "") != c.v4 {
				t.Errorf("reason %q, want one: %v", why, c.v4)
			}
			if why := look.Reason(vxlan6); why != "" {
				t.Errorf("over IPv6: %q", why)
			}
		})
	}
}

func TestRoutingRules(t *testing.T) {
	for _, c := range []struct {
		rule   string
		v4, v6 bool
	}{
		{"from 192.0.2.1 table 100", false, false}, // sockets and redirects both look at it
		{"fwmark 7 table 100", false, false},       // neither has a mark
		{"ipproto udp dport 4789 table 100", true, false},
		{"ipproto udp dport 4000-5000 table 100", true, false},
		{"ipproto udp dport 53 table 100", false, false},
		{"ipproto tcp table 100", false, false},
		{"to 192.0.2.0/24 ipproto udp table 100", true, false},
		{"to 203.0.113.0/24 ipproto udp table 100", false, false},
		{"sport 49152-60999 table 100", true, false},
		{"tos 0x10 table 100", true, false},
		{"oif u0 table 100", true, false},
		{"oif u1 table 100", false, false},
		{"not dport 53 table 100", true, false},
		{"-6 ipproto udp dport 4789 table 100", false, true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			namespace(t)
			args := []string{"rule", "add"}
			rule, v6 := strings.CutPrefix(c.rule, "-6 ")
			if v6 {
				args = append([]string{"-6"}, args...)
			}
			run(t, "", "ip", append(args, strings.Fields(rule)...)...)
			look := bypass.NewLook()
			for _, f := range []struct {
				flow bypass.Flow
				want bool
			}{{vxlan4, c.v4}, {vxlan6, c.v6}} {
				if why := look.Reason(f.flow); strings.Contains(why, "routing rule") != f.want {
					t.Errorf("to %v: reason %q, want one: %v", f.flow.Dst, why, f.want)
				}
			}
		})
	}
}
