package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"vtepd/cmd/internal/lab"
)

// A pair is vtepd on host a and the kernel's vxlan device on host b, joined by
// VNI 42, with the overlay addresses 10.99.0.1 and .2, fd42::1 and ::2.
type pair struct {
	a, b   *lab.Host
	daemon *lab.Daemon
}

func newPair(t *testing.T, w lab.Wire, v6 bool, args ...string) *pair {
	t.Helper()
	hosts := lab.Hosts(t, 2, w)
	p := &pair{a: hosts[0], b: hosts[1]}
	local, remote := "192.0.2.1", "192.0.2.2"
	if v6 {
		local, remote = "2001:db8::1", "2001:db8::2"
	}
	mtu := w.MTU
	if mtu == 0 {
		mtu = 1500
	}
	mtu -= 50
	if v6 {
		mtu -= 20
	}
	// First, so that nothing comes from the peer while the device is down.
	p.daemon = vtepd(t, p.a, append([]string{"--vni", "42", "--local", local, "--remote", remote,
		"--address", "10.99.0.1/24,fd42::1/64"}, args...)...)
	must(t, p.b.KernelVXLAN(42, []string{"10.99.0.2/24", "fd42::2/64"}, "local", remote, "remote", local))
	run(t, p.b, "ip", "link", "set", "vx42", "mtu", fmt.Sprint(mtu))
	return p
}

// wires are the underlays and tiers that all must work on.
func wires(t *testing.T, f func(t *testing.T, w lab.Wire, v6 bool, args ...string)) {
	for _, c := range []struct {
		name string
		wire lab.Wire
		v6   bool
		args []string
	}{
		{"IPv4", lab.Wire{}, false, nil},
		{"IPv4, portable tier", lab.Wire{}, false, []string{"--tier", "portable"}},
		{"IPv4, offload tier", lab.Wire{}, false, []string{"--tier", "offload"}},
		{"IPv4, tunnel-gso tier", lab.Wire{}, false, []string{"--tier", "tunnel-gso"}},
		{"IPv4, no offloads on the wire", lab.Wire{NoOffload: true}, false, nil},
		{"IPv6", lab.Wire{}, true, nil},
		{"IPv6, portable tier", lab.Wire{}, true, []string{"--tier", "portable"}},
		{"IPv6, offload tier", lab.Wire{}, true, []string{"--tier", "offload"}},
		{"jumbo", lab.Wire{MTU: 9000}, false, nil},
		{"two workers", lab.Wire{}, false, []string{"--workers", "2"}},
	} {
		t.Run(c.name, func(t *testing.T) { f(t, c.wire, c.v6, c.args...) })
	}
}

func TestKernelPeer(t *testing.T) {
	wires(t, func(t *testing.T, w lab.Wire, v6 bool, args ...string) {
		p := newPair(t, w, v6, args...)
		ping(t, p.a, "10.99.0.2")
		ping(t, p.b, "10.99.0.1")
		ping(t, p.a, "fd42::2")
		full := w.MTU
		if full == 0 {
			full = 1500
		}
		full -= 50 + 28
		if v6 {
			full -= 20
		}
		t.Run("full size with DF", func(t *testing.T) {
			ping(t, p.a, "10.99.0.2", "-M", "do", "-s", fmt.Sprint(full))
			ping(t, p.b, "10.99.0.1", "-M", "do", "-s", fmt.Sprint(full))
			ping(t, p.a, "fd42::2", "-M", "do", "-s", fmt.Sprint(full-20))
		})
		t.Run("inner fragments", func(t *testing.T) {
			ping(t, p.a, "10.99.0.2", "-s", "20000")
			ping(t, p.b, "10.99.0.1", "-s", "20000")
			ping(t, p.a, "fd42::2", "-s", "20000")
		})
		t.Run("TCP both ways at once", func(t *testing.T) {
			size := int64(20 << 20)
			if w.MTU == 0 && len(args) == 0 && !w.NoOffload {
				size = 200 << 20
			}
			if testing.Short() {
				size = 4 << 20
			}
			bothWays(t, p, size)
		})
		t.Run("nothing dropped", func(t *testing.T) {
			c := counters(t, p.daemon)
			s := c.Segments[0]
			if s.Drops.Rx.Sum()+s.Drops.Tx.Sum()+c.Drops.Rx.Sum() != 0 {
				t.Errorf("drops %+v, unowned %+v", s.Drops, c.Drops)
			}
		})
	})
}

// bothWays sends size bytes in each direction at the same time, over IPv4 and
// IPv6.
func bothWays(t *testing.T, p *pair, size int64) {
	var wg sync.WaitGroup
	for _, way := range []struct {
		from, to *lab.Host
		addr     string
	}{{p.a, p.b, "10.99.0.2"}, {p.b, p.a, "fd42::1"}} {
		wg.Go(func() {
			if err := way.from.TCP(way.to, way.addr, size); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestEveryPacketIsAsItShouldBe has tshark look at all that crosses the wire
// in a mixed exchange: only VXLAN, only our VNI, good checksums, ports in range,
// no fragments, reserved bits zero.
func TestEveryPacketIsAsItShouldBe(t *testing.T) {
	for _, c := range []struct {
		tier string
		v6   bool
	}{{"portable", false}, {"offload", false}, {"tunnel-gso", false}, {"portable", true}, {"offload", true}, {"tunnel-gso", true}} {
		v6 := c.v6
		t.Run(fmt.Sprintf("%s, IPv6 %v", c.tier, v6), func(t *testing.T) {
			// Without offloads what is captured is what a wire would carry.
			p := newPair(t, lab.Wire{NoOffload: true}, v6, "--tier", c.tier)
			file := p.a.File("all.pcap")
			capture, err := p.a.Capture("u0", file, "udp")
			must(t, err)
			ping(t, p.a, "10.99.0.2", "-s", "5000")
			ping(t, p.b, "fd42::1", "-s", "5000")
			must(t, p.a.TCP(p.b, "10.99.0.2", 3<<20))
			must(t, p.b.TCP(p.a, "fd42::1", 3<<20))
			numbered(t, p.a, p.b, "10.99.0.2") // UDP, super-frames too
			must(t, capture.Stop())
			ip := "ip"
			if v6 {
				ip = "ipv6"
			}
			total := len(tshark(t, file, "-T", "fields", "-e", "frame.number"))
			if total < 2000 {
				t.Fatalf("only %d packets were captured", total)
			}
			src := map[bool]string{false: "ip.src==192.0.2.1", true: "ipv6.src==2001:db8::1"}[v6]
			// #1 is the outer header, where there is an inner one, too.
			bad := "udp.checksum.status#1!=1 || udp.checksum.status==0 || !vxlan || vxlan.vni!=42 || vxlan.flag_i!=1 || " +
				"udp.dstport#1!=4789 || (" + src + " && udp.srcport#1<49152) || vxlan.reserved8!=0 || " +
				badTCP + " || ip.checksum.status==0 || _ws.malformed || icmp.checksum.status==0 || icmpv6.checksum.status==0"
			if lines := tshark(t, file, "-o", "tcp.check_checksum:TRUE", "-Y", bad); len(lines) > 0 {
				t.Errorf("%d of %d packets are not as they should be:\n%s", len(lines), total, strings.Join(lines[:min(len(lines), 5)], "\n"))
			}
			if lines := tshark(t, file, "-Y", ip+".dst && frame.len>1514"); len(lines) > 0 {
				t.Errorf("%d packets are larger than the wire takes", len(lines))
			}
		})
	}
}

// badTCP is tshark's filter for a wrong TCP checksum. Where a sum comes out as
// zero the kernel writes all ones, for TCP too (skb_checksum_help): that is the
// same number, and one packet in 65,536, but tshark wants the zero.
const badTCP = "(tcp.checksum.status==0 && tcp.checksum!=0xffff)"

func tshark(t *testing.T, file string, args ...string) []string {
	t.Helper()
	lines, err := lab.Tshark(file, args...)
	must(t, err)
	return lines
}

func TestGroupOfThree(t *testing.T) {
	for _, c := range []struct{ name, group, net, from string }{
		{"IPv4", "239.1.1.1", "192.0.2", "192.0.2."},
		{"IPv6", "ff05::100", "2001:db8", "2001:db8::"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosts := lab.Hosts(t, 3, lab.Wire{})
			d := vtepd(t, hosts[0], "--vni", "42", "--local", c.from+"1", "--group", c.group, "--interface", "u0",
				"--address", "10.99.0.1/24", "--workers", "2")
			must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", c.from+"2", "group", c.group, "dev", "u0"))
			vtepd(t, hosts[2], "--vni", "42", "--local", c.from+"3", "--group", c.group, "--address", "10.99.0.3/24")
			for i, h := range hosts {
				for j := range hosts {
					if i != j {
						ping(t, h, fmt.Sprintf("10.99.0.%d", j+1))
					}
				}
			}
			t.Run("a broadcast arrives once", func(t *testing.T) {
				before := rxFrames(t, hosts[0], "vx42")
				for range 10 {
					run(t, hosts[1], "sh", "-c", "ping -b -c 1 -W 0.1 10.99.0.255 >/dev/null 2>&1; true")
				}
				if n := rxFrames(t, hosts[0], "vx42") - before; n != 10 {
					t.Errorf("%d broadcasts arrived, want 10", n)
				}
			})
			if e := counters(t, d).Segments[0]; e.FDB.Entries != 2 {
				t.Errorf("%d MACs were learned, want 2", e.FDB.Entries)
			}
		})
	}
}

// rxFrames returns how many broadcast pings the host has seen.
func rxFrames(t *testing.T, h *lab.Host, _ string) int {
	t.Helper()
	out := run(t, h, "sh", "-c", "awk '/^Icmp:/ {n++; if (n==1) {for (i=1;i<=NF;i++) if ($i==\"InEchos\") c=i} else print $c}' /proc/net/snmp")
	var n int
	if _, err := fmt.Sscan(out, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestBridgedHosts puts a bridge with a station of its own behind each end:
// one vtepd, one kernel.
func TestBridgedHosts(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	var stations []*lab.Host
	for i, h := range hosts {
		run(t, h, "ip", "link", "add", "name", "br0", "type", "bridge")
		run(t, h, "ip", "link", "set", "br0", "up")
		s, err := h.Station(fmt.Sprintf("s%d", i), "br0", fmt.Sprintf("10.50.0.%d/24", i+1), 1450)
		must(t, err)
		stations = append(stations, s)
	}
	vtepd(t, hosts[0], "--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--bridge", "br0")
	must(t, hosts[1].KernelVXLAN(42, nil, "local", "192.0.2.2", "remote", "192.0.2.1"))
	run(t, hosts[1], "ip", "link", "set", "vx42", "mtu", "1450", "master", "br0")
	ping(t, stations[0], "10.50.0.2", "-M", "do", "-s", "1422")
	must(t, stations[1].TCP(stations[0], "10.50.0.1", 5<<20))
}

// TestVNIsAreIsolated has two segments with the same addresses on one port.
func TestVNIsAreIsolated(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	d := vtepdFile(t, hosts[0], `
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2]}
  - {vni: 43, address: 10.98.0.1/24, remotes: [192.0.2.2]}
`)
	must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	must(t, hosts[1].KernelVXLAN(44, []string{"10.98.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	ping(t, hosts[0], "10.99.0.2")
	if _, err := hosts[1].Run("ping", "-c", "2", "-i", "0.1", "-W", "0.3", "10.98.0.1"); err == nil {
		t.Error("VNI 44 reaches VNI 43")
	}
	if n := counters(t, d).Drops.Rx["vni_not_found"]; n == 0 {
		t.Error("datagrams with an unknown VNI are not counted")
	}
}
