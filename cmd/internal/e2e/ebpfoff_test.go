package e2e

import (
	"fmt"
	"strings"
	"testing"

	"vtepd/cmd/internal/lab"
)

// inTier waits until an end's segment is in one of some tiers for a reason
// with the given words.
func (e end) inTier(t *testing.T, why string, tiers ...string) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		s := status(t, e.d).Segments[0]
		for _, tier := range tiers {
			if s.Tier == tier && strings.Contains(s.Reason, why) {
				return nil
			}
		}
		return fmt.Errorf("tier %s, reason %q; want %v, %q", s.Tier, s.Reason, tiers, why)
	}))
}

// nftChain makes a base chain with one rule.
func nftChain(family, hook, rule string) string {
	return fmt.Sprintf("nft 'add table %[1]s t; add chain %[1]s t c { type filter hook %s; }; add rule %[1]s t c %[3]s'", family, hook, rule)
}

const noTable = "nft list tables | sed 's/^/delete /' | nft -f -"

// TestFastPathIsOff changes the host of one end while it forwards: what would
// treat the datagrams of the daemon, or the frames of the device, goes on treating
// them, and status says why connections go by user space. When it is gone they
// take the fast path again.
func TestFastPathIsOff(t *testing.T) {
	a, b := newTwins(t, lab.Wire{})
	bothFast(t, a, b)
	live := newLive(t, a.Host, b.Host, "10.99.0.2")
	esp := "tmpl src 192.0.2.%d dst 192.0.2.%d proto esp mode transport"
	for _, c := range []struct {
		name, on, off, why string
		blocks             bool // nothing gets through
	}{
		{"a rule that drops what arrives", nftChain("inet", "input priority 0", "udp dport 4789 drop"), noTable,
			"nftables chain c of table t has a rule that may be for datagrams from 192.0.2.2", true},
		{"a rule at prerouting", nftChain("ip", "prerouting priority -300", "ip saddr 192.0.2.2 drop"), noTable, "datagrams from 192.0.2.2", true},
		{"a rule by interface", nftChain("inet", "input priority 0", "iifname u0 udp dport 4789 counter drop"), noTable, "datagrams from 192.0.2.2", true},
		{"a policy that drops what arrives", "nft 'add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }'", noTable, "drops by policy", true},
		{"a rule at the ingress of a device", nftChain("netdev", "ingress device u0 priority 0", "udp dport 4789 drop"), noTable, "datagrams from 192.0.2.2", true},
		{"a rule at the ingress of a device, family inet", nftChain("inet", "ingress device u0 priority 0", "udp dport 4789 drop"), noTable, "datagrams from 192.0.2.2", true},
		{"a rule that drops what leaves", nftChain("inet", "output priority 0", "udp dport 4789 drop"), noTable, "datagrams to 192.0.2.2", true},
		{"a rule at the egress of the underlay", nftChain("netdev", "egress device u0 priority 0", "udp dport 4789 drop"), noTable, "datagrams to 192.0.2.2", true},
		{"a rule at the egress of the segment's device", nftChain("netdev", "egress device vx42 priority 0", "tcp dport != 1 drop"), noTable, "", true},
		{"an IPsec policy for what leaves", "ip xfrm policy add src 192.0.2.1 dst 192.0.2.2 dir out " + fmt.Sprintf(esp, 1, 2),
			"ip xfrm policy flush", "an IPsec policy covers datagrams to 192.0.2.2", true},
		{"an IPsec policy for what arrives", "ip xfrm policy add src 192.0.2.2 dst 192.0.2.1 dir in " + fmt.Sprintf(esp, 2, 1),
			"ip xfrm policy flush", "an IPsec policy covers datagrams from 192.0.2.2", true},
		{"a filter of what arrives", "tc qdisc add dev u0 clsact && tc filter add dev u0 ingress protocol ip u32 match ip dport 4789 0xffff flowid 1:1",
			"tc qdisc del dev u0 clsact", "device u0 has traffic-control filters for what arrives", false},
		{"a filter of what leaves", "tc qdisc add dev vx42 clsact && tc filter add dev vx42 egress protocol ip u32 match u32 0 0 flowid 1:1",
			"tc qdisc del dev vx42 clsact", "device vx42 has traffic-control filters for what leaves", false},
		{"a queueing discipline", "tc qdisc add dev vx42 root tbf rate 1gbit burst 128kb latency 50ms", "tc qdisc del dev vx42 root",
			"device vx42 has a queueing discipline, tbf", false},
		{"a route without Ethernet", "ip tuntap add dev tun9 mode tun && ip link set tun9 up && ip route add 192.0.2.2/32 dev tun9", "ip link del tun9",
			"tun9 has no Ethernet", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			run(t, a.Host, "sh", "-c", c.on)
			if c.why != "" {
				a.inTier(t, c.why, "tunnel-gso", "offload")
			}
			if c.blocks {
				live.blocked(t)
			} else {
				a.sends(t, b.Host, "10.99.0.2", false)
				a.receives(t, b.Host, "10.99.0.1", false)
			}
			run(t, a.Host, "sh", "-c", c.off)
			tierIs(t, a.d, "ebpf", "")
			live.lives(t)
			bothFast(t, a, b)
		})
	}
}

// TestFastPathOfWireFrames: where super-frames would be cut by the kernel they go
// through user space. What comes whole is the sender's business.
func TestFastPathOfWireFrames(t *testing.T) {
	a, b := newTwins(t, lab.Wire{})
	bothFast(t, a, b)
	for _, c := range []struct {
		set    string
		direct bool
	}{{"off", false}, {"on", true}} {
		run(t, a.Host, "ethtool", "-K", "u0", "tx-udp_tnl-csum-segmentation", c.set)
		if c.direct {
			tierIs(t, a.d, "ebpf", "")
		} else {
			a.inTier(t, "TCP super-frames with 192.0.2.2 go through user space: interface u0 does not cut tunnel super-frames", "offload")
		}
		a.sends(t, b.Host, "10.99.0.2", c.direct)
		a.receives(t, b.Host, "10.99.0.1", true)
	}
}

// TestSlowPath has segments whose datagrams the programs do not know to make.
func TestSlowPath(t *testing.T) {
	for _, c := range []struct {
		name, why string
		tiers     []string
		args      []string
	}{
		{"the TTL is inherited", "the TTL is inherited", []string{"tunnel-gso", "offload"}, []string{"--ttl", "inherit"}},
		{"the DF bit is inherited", "the DF bit is inherited", []string{"tunnel-gso", "offload"}, []string{"--df", "inherit"}},
		{"another tier", "", []string{"offload"}, []string{"--tier", "offload"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, lab.Wire{}, false, c.args...)
			a := end{p.a, p.daemon}
			a.inTier(t, c.why, c.tiers...)
			ping(t, p.a, "10.99.0.2")
			a.sends(t, p.b, "10.99.0.2", false)
			a.receives(t, p.b, "fd42::1", false)
		})
	}
	t.Run("IPv6", func(t *testing.T) {
		p := newPair(t, lab.Wire{}, true)
		a := end{p.a, p.daemon}
		a.inTier(t, "over IPv6", "tunnel-gso", "offload")
		ping(t, p.a, "10.99.0.2")
		a.sends(t, p.b, "10.99.0.2", false)
		a.receives(t, p.b, "fd42::1", false)
	})
	t.Run("a routed segment", func(t *testing.T) {
		p := newRoutedPair(t, lab.Wire{}, false)
		end{p.a, p.daemon}.inTier(t, "the segment is routed", "tunnel-gso", "offload")
	})
}
