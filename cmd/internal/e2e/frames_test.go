package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// tiers runs a test in the fastest tier and in the others.
func tiers(t *testing.T, f func(t *testing.T, tier string)) {
	for _, tier := range []string{"auto", "tunnel-gso", "offload", "portable"} {
		t.Run(tier, func(t *testing.T) { f(t, tier) })
	}
}

// TestVLAN drops inner tags or passes them as they are, both ways; it never
// takes them out.
func TestVLAN(t *testing.T) {
	tiers(t, func(t *testing.T, tier string) {
		hosts := lab.Hosts(t, 2, lab.Wire{})
		a, b := hosts[0], hosts[1]
		quiet(t, a)
		d := vtepdFile(t, a, fmt.Sprintf(`
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, remotes: [192.0.2.2]}
  - {vni: 43, remotes: [192.0.2.2], vlan: pass}
datapath: {tier: %s}
`, tier))
		wire := newForger(t, a, b)
		tagged := inner{tag: 77, src: "02:00:00:00:00:01"}.bytes(t)
		for _, c := range []struct {
			vni    uint32
			passes bool
		}{{42, false}, {43, true}} {
			t.Run(fmt.Sprintf("passes: %v", c.passes), func(t *testing.T) {
				dev := device(t, a, fmt.Sprintf("vx%d", c.vni))
				wire.send(outer{}, vxlan(c.vni, tagged))
				must(t, dev.Send(tagged))
				if !c.passes {
					waitSegment(t, d, c.vni, func(s api.SegmentCounters) bool {
						return s.Drops.Rx["inner_vlan"] == 1 && s.Drops.Tx["inner_vlan"] == 1 && s.Rx.Frames == 0 && s.Tx.Frames == 0
					})
					return
				}
				waitSegment(t, d, c.vni, func(s api.SegmentCounters) bool { return s.Rx.Frames == 1 && s.Tx.Frames == 1 })
				in := arrived(t, dev, 1, func(p gopacket.Packet) bool { return bytes.Equal(p.Data(), tagged) })
				out := arrived(t, wire.raw, 1, func(p gopacket.Packet) bool { return bytes.HasSuffix(p.Data(), tagged) })
				if len(in) != 1 || len(out) != 1 {
					t.Errorf("%d frames came in with their tag, %d went out", len(in), len(out))
				}
			})
		}
	})
}

// TestOuterChecksum: a zero checksum is taken over IPv4, over IPv6 by option
// only; a wrong one never reaches the engine and is counted at the socket.
func TestOuterChecksum(t *testing.T) {
	tiers(t, func(t *testing.T, tier string) {
		for _, zero6 := range []bool{false, true} {
			hosts := lab.Hosts(t, 2, lab.Wire{})
			a, b := hosts[0], hosts[1]
			quiet(t, a)
			d := vtepdFile(t, a, fmt.Sprintf(`
underlay: {local: [192.0.2.1, "2001:db8::1"]}
segments: [{vni: 42, remotes: [192.0.2.2, "2001:db8::2"], udp6_zero_csum_rx: %v}]
datapath: {tier: %s}
`, zero6, tier))
			wire := newForger(t, a, b)
			frame := vxlan(42, inner{}.bytes(t))
			v4, v6 := outer{}, outer{from: "2001:db8::2", to: "2001:db8::1"}
			// Of each family and kind its own number, so that sums tell.
			for i, sum := range []outerSum{sumZero, sumBad, sumGood} {
				for range []int{1, 10, 100}[i] {
					v4.sum, v6.sum = sum, sum
					wire.send(v4, frame)
					wire.send(v6, frame)
				}
			}
			want := uint64(201)
			if zero6 {
				want++
			}
			waitTally(t, d, map[string]uint64{"42 rx": want})
			var st api.Status
			must(t, lab.Until(patience, func() error {
				decode(t, ctl(t, d, "-j", "status"), &st)
				for _, s := range st.Sockets {
					if s.Dropped != 10 {
						return fmt.Errorf("socket %v dropped %d datagrams, want the 10 with a wrong checksum", s.Addr, s.Dropped)
					}
				}
				return nil
			}))
			must(t, d.Stop())
		}
	})
}

// TestBadInnerChecksumStaysBad sends frames whose inner checksum is wrong,
// among good ones of the same flow, and looks at what the host makes of them.
func TestBadInnerChecksumStaysBad(t *testing.T) {
	tiers(t, func(t *testing.T, tier string) {
		hosts := lab.Hosts(t, 2, lab.Wire{})
		a, b := hosts[0], hosts[1]
		d := vtepd(t, a, "--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--address", "10.99.0.1/24", "--tier", tier)
		wire, own := newForger(t, a, b), mac(t, a, "vx42")
		before := badSums(t, a)
		train := udpSocket(t, b)
		for i := range 8 {
			bad := i%4 == 1
			wire.send(outer{}, vxlan(42, inner{dst: own, to: "10.99.0.1", badSum: bad}.bytes(t)))
			wire.send(outer{}, vxlan(42, segmentOf(t, own, uint32(i), bad)))
		}
		// A train of bad ones, which a kernel would be glad to join.
		must(t, train.repeat(6, vxlan(42, segmentOf(t, own, 99, true))))
		waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.Rx.Frames >= 22 })
		must(t, lab.Until(patience, func() error {
			if udp, tcp := badSums(t, a)[0]-before[0], badSums(t, a)[1]-before[1]; udp != 2 || tcp != 8 {
				return fmt.Errorf("the host found %d bad UDP and %d bad TCP checksums, want 2 and 8", udp, tcp)
			}
			return nil
		}))
	})
}

// segmentOf is segment i of a TCP flow of 100 bytes each.
func segmentOf(t testing.TB, dst string, i uint32, bad bool) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 99, 0, 77}, DstIP: []byte{10, 99, 0, 1}}
	tcp := &layers.TCP{SrcPort: 7000, DstPort: 7001, Seq: 1 + i*100, ACK: true, Window: 1000}
	must(t, tcp.SetNetworkLayerForChecksum(ip))
	b := serialize(t, &layers.Ethernet{SrcMAC: hw(t, station), DstMAC: hw(t, dst), EthernetType: layers.EthernetTypeIPv4},
		ip, tcp, gopacket.Payload(make([]byte, 100)))
	if bad {
		b[len(b)-1] ^= 0x55
	}
	return b
}

// badSums is how many bad UDP and TCP checksums the host has found.
func badSums(t testing.TB, h *lab.Host) (n [2]int) {
	t.Helper()
	for i, proto := range []string{"Udp:", "Tcp:"} {
		var rows [][]string
		for _, line := range strings.Split(run(t, h, "cat", "/proc/net/snmp"), "\n") {
			if strings.HasPrefix(line, proto) {
				rows = append(rows, strings.Fields(line))
			}
		}
		for j, name := range rows[0] {
			if name == "InCsumErrors" {
				_, err := fmt.Sscan(rows[1][j], &n[i])
				must(t, err)
			}
		}
	}
	return n
}

// TestPortAndVNIOfARemote has a peer that listens on another port under
// another VNI.
func TestPortAndVNIOfARemote(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	run(t, b, "ip", "link", "add", "vx77", "type", "vxlan", "id", "77", "dstport", "4790", "local", "192.0.2.2", "nolearning")
	run(t, b, "bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx77", "dst", "192.0.2.1", "port", "4789", "vni", "42")
	run(t, b, "ip", "addr", "add", "10.99.0.2/24", "dev", "vx77")
	run(t, b, "ip", "link", "set", "vx77", "mtu", "1450", "up")
	d := vtepdFile(t, a, `
underlay: {local: 192.0.2.1}
segments: [{vni: 42, address: 10.99.0.1/24, remotes: [{ip: 192.0.2.2, port: 4790, vni: 77}]}]
`)
	ping(t, a, "10.99.0.2", "-M", "do", "-s", "1422")
	must(t, a.TCP(b, "10.99.0.2", 2<<20))
	for _, e := range fdbShow(t, d) {
		if e.MAC.String() == mac(t, b, "vx77") && (e.Port != 4790 || e.VNI != 77) {
			t.Errorf("learned as %+v", e)
		}
	}
}

// TestBothFamilies has one segment on one port with a peer over each family.
func TestBothFamilies(t *testing.T) {
	hosts := lab.Hosts(t, 3, lab.Wire{})
	vtepdFile(t, hosts[0], `
underlay: {local: [192.0.2.1, "2001:db8::1"]}
segments: [{vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2, "2001:db8::3"]}]
`)
	must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	must(t, hosts[2].KernelVXLAN(42, []string{"10.99.0.3/24"}, "local", "2001:db8::3", "remote", "2001:db8::1"))
	ping(t, hosts[0], "10.99.0.2")
	ping(t, hosts[0], "10.99.0.3")
	must(t, hosts[1].TCP(hosts[0], "10.99.0.1", 2<<20))
	must(t, hosts[2].TCP(hosts[0], "10.99.0.1", 2<<20))
	// The smallest path decides: that over IPv6.
	if out := run(t, hosts[0], "ip", "link", "show", "vx42"); !strings.Contains(out, "mtu 1430") {
		t.Errorf("device: %s", out)
	}
	t.Run("never from tunnel to tunnel", func(t *testing.T) {
		if _, err := hosts[1].Run("ping", "-n", "-c", "2", "-i", "0.1", "-W", "0.3", "10.99.0.3"); err == nil {
			t.Error("one peer reaches the other through us")
		}
	})
}

// TestFloodList has our own address, a remote twice and dead ones in it.
func TestFloodList(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	quiet(t, a, b)
	d := vtepdFile(t, a, `
underlay: {local: 192.0.2.1}
segments: [{vni: 42, remotes: [192.0.2.99, 192.0.2.1, 192.0.2.2, 203.0.113.5]}]
`)
	if out, err := d.Ctl("remote", "add", "192.0.2.2"); err == nil {
		t.Errorf("a remote was added twice: %s", out)
	}
	wire, dev := newForger(t, a, b), device(t, a, "vx42")
	for i := range 20 {
		must(t, dev.Send(inner{src: "02:00:00:00:00:01", size: 100 + i}.bytes(t)))
	}
	waitSegment(t, d, 42, func(s api.SegmentCounters) bool {
		return s.Tx.Frames == 40 && s.Drops.Tx["send_failed"] == 20 // .99 is silent, the last one without a route
	})
	got := arrived(t, wire.raw, 20, func(p gopacket.Packet) bool {
		udp, ok := p.TransportLayer().(*layers.UDP)
		return ok && udp.DstPort == 4789
	})
	seen := make(map[string]bool)
	for _, p := range got {
		seen[hex.EncodeToString(p.TransportLayer().LayerPayload())] = true
	}
	if len(got) != 20 || len(seen) != 20 {
		t.Errorf("the peer got %d datagrams, %d different ones, want each of 20 once", len(got), len(seen))
	}
}
