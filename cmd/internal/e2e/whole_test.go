package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

func status(t testing.TB, d *lab.Daemon) api.Status {
	t.Helper()
	var st api.Status
	decode(t, ctl(t, d, "-j", "status"), &st)
	return st
}

// needWhole skips the test where the kernel has no UDP-tunnel GSO on TAP
// (Linux before 6.17), for which status must give the reason.
func needWhole(t *testing.T, d *lab.Daemon) {
	t.Helper()
	st := status(t, d)
	if slices.Contains(st.Capabilities, "tunnel_gso") {
		return
	}
	if st.Tier != "offload" || !strings.Contains(st.WhyNotFaster, "6.17") {
		t.Fatalf("tier %s, and why not faster is %q", st.Tier, st.WhyNotFaster)
	}
	t.Skip(st.WhyNotFaster)
}

// tierIs waits until the segment is in a tier for a reason with the given
// words.
func tierIs(t *testing.T, d *lab.Daemon, tier, why string) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		s := status(t, d).Segments[0]
		if s.Tier != tier || !strings.Contains(s.Reason, why) {
			return fmt.Errorf("tier %s, reason %q; want %s, %q", s.Tier, s.Reason, tier, why)
		}
		return nil
	}))
}

func TestTierIsTheFastest(t *testing.T) {
	p := newPair(t, lab.Wire{}, false)
	needEBPF(t, p.daemon)
	needWhole(t, p.daemon)
	if st := status(t, p.daemon); st.Tier != "ebpf" || st.WhyNotFaster != "" {
		t.Errorf("tier %s, why not faster: %q", st.Tier, st.WhyNotFaster)
	}
	tierIs(t, p.daemon, "ebpf", "")
	if out := run(t, p.a, "ip", "-br", "link"); !strings.Contains(out, "vtgso") {
		t.Errorf("no egress device:\n%s", out)
	}
	must(t, p.daemon.Stop())
	if out := run(t, p.a, "ip", "-br", "link"); strings.Contains(out, "vtgso") {
		t.Errorf("an egress device is left:\n%s", out)
	}
}

// TestNothingIsBypassed changes the host while traffic flows: whatever would
// treat the daemon's datagrams keeps treating them.
func TestNothingIsBypassed(t *testing.T) {
	p := newPair(t, lab.Wire{}, false, "--tier", "tunnel-gso")
	needWhole(t, p.daemon)
	if st := status(t, p.daemon); st.Tier != "tunnel-gso" || st.WhyNotFaster != "the configuration says tunnel-gso" {
		t.Errorf("tier %s, why not faster: %q", st.Tier, st.WhyNotFaster)
	}
	ping(t, p.a, "10.99.0.2")
	blocked := func(t *testing.T) {
		t.Helper()
		if out, err := p.a.Run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "0.3", "10.99.0.2"); err == nil {
			t.Errorf("frames go past it: %s", out)
		}
	}
	t.Run("a netfilter rule that drops", func(t *testing.T) {
		run(t, p.a, "nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o udp dport 4789 drop")
		tierIs(t, p.daemon, "offload", "nftables chain o of table t")
		blocked(t)
		run(t, p.a, "nft", "delete table inet t")
		tierIs(t, p.daemon, "tunnel-gso", "")
		ping(t, p.a, "10.99.0.2")
	})
	t.Run("a netfilter rule for others", func(t *testing.T) {
		run(t, p.a, "nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o tcp dport 25 drop")
		must(t, p.a.TCP(p.b, "10.99.0.2", 1<<20))
		tierIs(t, p.daemon, "tunnel-gso", "")
		run(t, p.a, "nft", "delete table inet t")
	})
	t.Run("a netfilter rule at the egress of the interface", func(t *testing.T) {
		run(t, p.a, "nft", "add table netdev t; add chain netdev t e { type filter hook egress device u0 priority 0; }; add rule netdev t e udp dport 4789 drop")
		tierIs(t, p.daemon, "offload", "nftables chain e of table t")
		blocked(t)
		run(t, p.a, "nft", "delete table netdev t")
		tierIs(t, p.daemon, "tunnel-gso", "")
		ping(t, p.a, "10.99.0.2")
	})
	t.Run("an IPsec policy", func(t *testing.T) {
		policy := []string{"src", "192.0.2.1/32", "dst", "192.0.2.2/32", "dir", "out"}
		run(t, p.a, append(append([]string{"ip", "xfrm", "policy", "add"}, policy...),
			"tmpl", "src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "mode", "transport")...)
		tierIs(t, p.daemon, "offload", "IPsec")
		blocked(t) // there is no state for the policy
		run(t, p.a, append([]string{"ip", "xfrm", "policy", "delete"}, policy...)...)
		tierIs(t, p.daemon, "tunnel-gso", "")
		ping(t, p.a, "10.99.0.2")
	})
	t.Run("a route through an interface without Ethernet", func(t *testing.T) {
		run(t, p.a, "ip", "tuntap", "add", "dev", "tun9", "mode", "tun")
		run(t, p.a, "ip", "link", "set", "tun9", "up")
		run(t, p.a, "ip", "route", "add", "192.0.2.2/32", "dev", "tun9")
		tierIs(t, p.daemon, "offload", "tun9 has no Ethernet")
		run(t, p.a, "ip", "link", "del", "tun9")
		tierIs(t, p.daemon, "tunnel-gso", "")
		must(t, p.a.TCP(p.b, "10.99.0.2", 1<<20))
	})
}

func TestTierReasons(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  []string
		start []string // in front of vtepd
		tier  string
		why   string
	}{
		{"no outer checksum", []string{"--udp-csum=false", "--tier", "tunnel-gso"}, nil, "offload", "no outer checksum"},
		{"no outer checksum, which the fast path has not either", []string{"--udp-csum=false"}, nil, "ebpf", ""},
		{"the file says offload", []string{"--tier", "offload"}, nil, "offload", ""},
		{"the file says portable", []string{"--tier", "portable"}, nil, "portable", ""},
		{"the capabilities of the unit", nil, []string{"setpriv", "--bounding-set", "-all,+net_admin,+net_bind_service,+bpf"}, "ebpf", ""},
		{"without CAP_BPF", nil, []string{"setpriv", "--bounding-set", "-all,+net_admin"}, "offload", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosts := lab.Hosts(t, 2, lab.Wire{})
			must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
			args := append([]string{"run", "--control", hosts[0].File("sock"), "--vni", "42", "--local", "192.0.2.1",
				"--remote", "192.0.2.2", "--address", "10.99.0.1/24"}, c.args...)
			command := append(slices.Clone(c.start), filepath.Join(bin, "vtepd"))
			proc, err := hosts[0].Start(command[0], append(command[1:], args...)...)
			must(t, err)
			must(t, proc.WaitFor("forwarding", patience))
			ping(t, hosts[0], "10.99.0.2")
			must(t, hosts[0].TCP(hosts[1], "10.99.0.2", 1<<20))
			out := run(t, hosts[0], filepath.Join(bin, "vtepctl"), "-j", "--control", hosts[0].File("sock"), "status")
			var st api.Status
			decode(t, out, &st)
			if c.tier == "ebpf" && strings.Contains(st.WhyNotFaster, "not supported") { // Linux before 6.6
				t.Skip(st.WhyNotFaster)
			}
			if s := st.Segments[0]; s.Tier != c.tier || !strings.Contains(s.Reason, c.why) {
				t.Errorf("segment tier %s, reason %q", s.Tier, s.Reason)
			}
			if st.Tier != "ebpf" && st.WhyNotFaster == "" {
				t.Errorf("tier %s without a reason", st.Tier)
			}
		})
	}
}
