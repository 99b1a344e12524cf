package nft_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"vtepd/route/bypass"
	"vtepd/route/nft"
)

var networks = []nft.Network{
	{Network: netip.MustParsePrefix("10.244.0.0/16"), Own: netip.MustParsePrefix("10.244.1.0/24")},
	{Network: netip.MustParsePrefix("fd00::/16"), Own: netip.MustParsePrefix("fd00:0:0:1::/64")},
}

// pods is a node with a pod on cni0 and the rest of the world at eth0. The
// world has a pod of the network, too.
func pods(t testing.TB) (router, pod, world *node) {
	router, pod, world = newNode(t), newNode(t), newNode(t)
	wire(router, "cni0", pod, "e0")
	wire(router, "eth0", world, "e0")
	router.sh(`echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
		ip addr add 10.244.1.1/24 dev cni0; ip addr add fd00:0:0:1::1/64 dev cni0
		ip addr add 192.0.2.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0
		ip addr add 203.0.113.1/32 dev lo
		ip route add 10.244.7.7/32 dev cni0
		ip route add 10.244.2.0/24 via 192.0.2.9; ip route add fd00:0:0:2::/64 via 2001:db8::9`)
	pod.sh(`ip addr add 10.244.1.5/24 dev e0; ip addr add 10.244.7.7/32 dev e0; ip addr add fd00:0:0:1::5/64 dev e0
		ip route add default via 10.244.1.1; ip route add default via fd00:0:0:1::1`)
	world.sh(`ip addr add 192.0.2.9/24 dev e0; ip addr add 2001:db8::9/64 dev e0
		ip addr add 10.244.2.5/32 dev lo; ip addr add fd00:0:0:2::5/128 dev lo
		ip route add 10.244.0.0/16 via 192.0.2.1; ip route add fd00::/16 via 2001:db8::1`)
	return router, pod, world
}

func TestMasquerade(t *testing.T) {
	router, pod, world := pods(t)
	r := router.start()
	if err := r.Set("masquerade", nft.Masquerade(networks...)); err != nil {
		t.Fatal(err)
	}
	until(t, soon, func() error { return written(r, 1) })
	golden(t, "masquerade.nft", router.sh("nft list table inet vtepd"))
	// Datagrams between VTEPs are not for these rules, and route/bypass sees that:
	// super-frames may leave whole.
	for _, f := range []bypass.Flow{
		{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.9"), Port: 4789, Device: "eth0"},
		{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::9"), Port: 4789, Device: "eth0"},
	} {
		var why string
		if err := router.do(func() error { why = bypass.NewLook().Reason(f); return nil }); err != nil || why != "" {
			t.Errorf("super-frames to %v are cut: %s (%v)", f.Dst, why, err)
		}
	}
	sockets := make(map[string]*net.UDPConn)
	for _, c := range []struct {
		name, from string
		at         *node
		to         string
		in         *node
		seen       string
	}{
		{"a pod to the world", "10.244.1.5", pod, "192.0.2.9", world, "192.0.2.1"},
		{"a pod to a pod of another node", "10.244.1.5", pod, "10.244.2.5", world, "10.244.1.5"},
		{"a pod of another node to a pod", "10.244.2.5", world, "10.244.1.5", pod, "10.244.2.5"},
		{"the world to a pod", "192.0.2.9", world, "10.244.1.5", pod, "192.0.2.9"},
		{"the node to a pod of another node", "203.0.113.1", router, "10.244.2.5", world, "192.0.2.1"},
		{"the node to its pod", "203.0.113.1", router, "10.244.1.5", pod, "203.0.113.1"},
		{"the node to the world", "203.0.113.1", router, "192.0.2.9", world, "203.0.113.1"},
		{"a pod with an address of a former subnet", "10.244.7.7", pod, "10.244.2.5", world, "192.0.2.1"},
		{"IPv6: a pod to the world", "fd00:0:0:1::5", pod, "2001:db8::9", world, "2001:db8::1"},
		{"IPv6: a pod to a pod of another node", "fd00:0:0:1::5", pod, "fd00:0:0:2::5", world, "fd00:0:0:1::5"},
		{"IPv6: a pod of another node to a pod", "fd00:0:0:2::5", world, "fd00:0:0:1::5", pod, "fd00:0:0:2::5"},
		{"IPv6: the world to a pod", "2001:db8::9", world, "fd00:0:0:1::5", pod, "2001:db8::9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			to := sockets[c.to]
			if to == nil {
				to = c.in.listen(c.to)
				sockets[c.to] = to
			}
			seen, err := c.at.send(c.from, to, 10)
			if err != nil || seen != c.seen {
				t.Errorf("seen from %q, want %s (%v)", seen, c.seen, err)
			}
		})
	}
}

func written(r *running, times uint64) error {
	if s := r.Status(); s.Written != times || len(s.Errors) > 0 {
		return fmt.Errorf("status %+v", s)
	}
	return nil
}

// TestDisturbed has somebody else meddle with our table: within a second it is
// as it was, and nothing of others changed.
func TestDisturbed(t *testing.T) {
	node := newNode(t)
	const theirs = `add table ip other; add chain ip other c { type filter hook input priority 0; policy accept; }; add rule ip other c counter`
	node.sh("nft '" + theirs + "'")
	r := node.start()
	if err := r.Set("masquerade", nft.Masquerade(networks...)); err != nil {
		t.Fatal(err)
	}
	until(t, soon, func() error { return written(r, 1) })
	good := node.sh("nft list table inet vtepd")
	for _, script := range []string{
		"nft flush ruleset",
		"nft delete table inet vtepd",
		"nft flush table inet vtepd",
		"nft flush chain inet vtepd masquerade-postrouting",
		"nft add rule inet vtepd masquerade-postrouting accept",
		"nft insert rule inet vtepd masquerade-postrouting accept",
		"nft add chain inet vtepd more",
		"nft 'add chain inet vtepd masquerade-postrouting { policy drop; }'",
		"nft 'add table inet vtepd { flags dormant; }'",
		"nft add set inet vtepd s '{ type ipv4_addr; }'",
		`h=$(nft -a list table inet vtepd | grep -o 'handle [0-9]*$' | tail -1); nft delete rule inet vtepd masquerade-postrouting $h`,
		`nft -s list table inet vtepd > /tmp/$$; (echo delete table inet vtepd; sed 's,10.244.0.0/16,10.0.0.0/8,' /tmp/$$) | nft -f -; rm /tmp/$$`,
	} {
		before := r.Status().Restored
		node.sh(script)
		until(t, soon, func() error {
			s := r.Status()
			if now := node.sh("nft list ruleset inet"); strings.TrimSpace(now) != strings.TrimSpace(good) || s.Restored != before+1 {
				return fmt.Errorf("after %s: %d restored, the table is\n%s", script, s.Restored-before, now)
			}
			return nil
		})
	}
	node.sh("nft '" + theirs + "'")
	if err := r.Set("masquerade", nft.Contribution{}); err != nil {
		t.Fatal(err)
	}
	until(t, soon, func() error {
		if now := node.sh("nft list tables"); strings.TrimSpace(now) != "table ip other" {
			return fmt.Errorf("tables are %s", now)
		}
		return nil
	})
}

// TestStopAndLeftovers: a clean stop leaves nothing of ours, and a start
// removes what a killed run left.
func TestStopAndLeftovers(t *testing.T) {
	node := newNode(t)
	node.sh("nft add table ip other; nft add table inet vtepd; nft add chain inet vtepd x")
	idle := node.start()
	only := func() error {
		if now := node.sh("nft list tables"); strings.TrimSpace(now) != "table ip other" {
			return fmt.Errorf("tables are %s", now)
		}
		return nil
	}
	until(t, soon, only)
	until(t, soon, func() error { // the idle one gives up its claim
		if held := node.sh("grep @vtepd/ /proc/net/unix || true"); held != "" {
			return fmt.Errorf("claims are held: %s", held)
		}
		return nil
	})
	r := node.start()
	if err := r.Set("masquerade", nft.Masquerade(networks...)); err != nil {
		t.Fatal(err)
	}
	until(t, soon, func() error { return written(r, 1) })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if err := only(); err != nil {
		t.Error(err)
	}
	if err := idle.stop(); err != nil {
		t.Error(err)
	}
}

// TestContributions: each has its own chains, and one that the kernel would
// refuse is refused before.
func TestContributions(t *testing.T) {
	node := newNode(t)
	r := node.start()
	jump := func(to string) nft.Rule {
		return nft.Rule{Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: to}}, Comment: "to " + to}
	}
	base := &nft.Base{Type: nftables.ChainTypeFilter, Hook: *nftables.ChainHookForward, Priority: *nftables.ChainPriorityFilter}
	good := nft.Contribution{Chains: []nft.Chain{{Name: "forward", Base: base, Rules: []nft.Rule{jump("pods")}}, {Name: "pods"}}}
	for _, name := range []string{"policy", "services"} {
		if err := r.Set(name, good); err != nil {
			t.Fatal(err)
		}
	}
	for name, bad := range map[string]nft.Contribution{
		"a jump to nowhere": {Chains: []nft.Chain{{Name: "x", Rules: []nft.Rule{jump("y")}}}},
		"a chain twice":     {Chains: []nft.Chain{{Name: "x"}, {Name: "x"}}},
		"no name":           {Chains: []nft.Chain{{}}},
		"a long comment":    {Chains: []nft.Chain{{Name: "x", Rules: []nft.Rule{{Comment: strings.Repeat("x", 129)}}}}},
	} {
		if err := r.Set("policy", bad); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	until(t, soon, func() error {
		if s := r.Status(); len(s.Contributions) != 2 || len(s.Errors) > 0 || s.Written == 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	golden(t, "contributions.nft", node.sh("nft list table inet vtepd"))
}

// many is a contribution of n rules, as a policy for many pods makes it.
func many(n int) nft.Contribution {
	c := nft.Chain{Name: "pods"}
	for i := range n {
		c.Rules = append(c.Rules, nft.Rule{Comment: fmt.Sprint("pod ", i), Exprs: []expr.Any{
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 244, byte(i >> 8), byte(i)}},
			&expr.Verdict{Kind: expr.VerdictReturn}}})
	}
	return nft.Contribution{Chains: []nft.Chain{c}}
}

// TestManyRules writes 5,000 rules in one transaction.
func TestManyRules(t *testing.T) {
	const n = 5000
	node := newNode(t)
	r := node.start()
	if err := r.Set("policy", many(n)); err != nil {
		t.Fatal(err)
	}
	until(t, 20*soon, func() error { return written(r, 1) })
	if got := strings.Count(node.sh("nft list table inet vtepd"), "return"); got != n {
		t.Errorf("%d rules, want %d", got, n)
	}
}

func BenchmarkWrite20000(b *testing.B) {
	node := newNode(b)
	r := node.start()
	n := uint64(0)
	for b.Loop() {
		if err := r.Set("policy", many(20000)); err != nil {
			b.Fatal(err)
		}
		n++
		until(b, 20*soon, func() error { return written(r, n) })
	}
}
