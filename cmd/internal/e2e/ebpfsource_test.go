package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/cmd/internal/lab"
)

// A shot is a datagram with a segment of a connection, as its peer would send
// it, but for what is said here.
type shot struct {
	o          outer
	ip         func(*layers.IPv4) // changes the outer header
	vni        uint32
	src        string // inner source MAC
	badTCP     bool   // the inner checksum is wrong
	tag        bool   // inner VLAN
	cut, more  int    // bytes that the inner frame is short of, or that follow
	wrongFlags bool   // of the VXLAN header
	badIP      bool   // the outer IP checksum is wrong
	elsewhere  bool   // the outer frame is for another host
	tos        uint8  // inner
}

// A hijack is a connection of host a to 10.99.0.77, whose peer is a forger.
type hijack struct {
	a    end
	wire *forger
	conn net.Conn
	tcp  layers.TCP // of the next shot
	vni  uint32
	base outer
}

// newHijack starts a daemon with a configuration, which has the station behind
// 192.0.2.2, and opens the connection. SYN and ACK have the outer header o.
func newHijack(t *testing.T, config string, o outer, vni uint32) *hijack {
	t.Helper()
	hosts := lab.Hosts(t, 2, lab.Wire{})
	quiet(t, hosts...)
	h := &hijack{a: end{hosts[0], vtepdFile(t, hosts[0], config)}, wire: newForger(t, hosts[0], hosts[1]), vni: vni, base: o}
	needEBPF(t, h.a.d)
	tierIs(t, h.a.d, "ebpf", "")
	run(t, h.a.Host, "ip", "neigh", "add", "10.99.0.77", "lladdr", station, "dev", "vx42", "nud", "permanent")
	dialed := make(chan error, 1)
	go func() {
		dialed <- h.a.Do(func() (err error) {
			h.conn, err = net.DialTimeout("tcp", "10.99.0.77:80", patience)
			return err
		})
	}()
	var first *layers.TCP
	arrived(t, h.wire.raw, 1, func(k gopacket.Packet) bool {
		udp, ok := k.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if !ok || len(udp.Payload) < 8 { // gopacket knows VXLAN by its usual port only
			return false
		}
		tcp, ok := gopacket.NewPacket(udp.Payload[8:], layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ok {
			first = tcp
		}
		return ok
	})
	if first == nil {
		t.Fatal("no SYN came")
	}
	h.tcp = layers.TCP{SrcPort: first.DstPort, DstPort: first.SrcPort, Seq: 1000, Ack: first.Seq + 1, SYN: true, ACK: true, Window: 1000}
	h.shoot(t, shot{}, "")
	must(t, <-dialed)
	t.Cleanup(func() { h.conn.Close() })
	h.tcp.SYN, h.tcp.Seq = false, 1001
	return h
}

// shoot puts a segment with a payload on the wire.
func (h *hijack) shoot(t *testing.T, s shot, payload string) {
	t.Helper()
	def(&s.src, station)
	def(&s.o.from, h.base.from)
	if s.vni == 0 {
		s.vni = h.vni
	}
	if s.o.dport == 0 {
		s.o.dport = h.base.dport
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, TOS: s.tos, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 99, 0, 77}, DstIP: []byte{10, 99, 0, 1}}
	must(t, h.tcp.SetNetworkLayerForChecksum(ip))
	eth := &layers.Ethernet{SrcMAC: hw(t, s.src), DstMAC: hw(t, mac(t, h.a.Host, "vx42")), EthernetType: layers.EthernetTypeIPv4}
	ls := []gopacket.SerializableLayer{eth}
	if s.tag {
		eth.EthernetType = layers.EthernetTypeDot1Q
		ls = append(ls, &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeIPv4})
	}
	b := serialize(t, append(ls, ip, &h.tcp, gopacket.Payload(payload))...)
	if s.badTCP {
		b[len(b)-len(payload)-4] ^= 0x55 // of the checksum
	}
	b = append(b[:len(b)-s.cut], make([]byte, s.more)...)
	b = vxlan(s.vni, b)
	if s.wrongFlags {
		b[0] = 0
	}
	h.wire.post(s, b)
}

// post sends a datagram whose outer headers are as a shot says.
func (f *forger) post(s shot, payload []byte) {
	f.t.Helper()
	o := s.o
	def(&o.from, "192.0.2.2")
	if o.dport == 0 {
		o.dport = 4789
	}
	eth := &layers.Ethernet{SrcMAC: hw(f.t, f.us), DstMAC: hw(f.t, f.it), EthernetType: layers.EthernetTypeIPv4}
	if s.elsewhere {
		eth.DstMAC = hw(f.t, "02:00:00:00:ee:ee")
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, TOS: o.tos, Protocol: layers.IPProtocolUDP,
		SrcIP: net.ParseIP(o.from), DstIP: net.IPv4(192, 0, 2, 1)}
	if s.ip != nil {
		s.ip(ip)
	}
	udp := &layers.UDP{SrcPort: 50000, DstPort: layers.UDPPort(o.dport)}
	must(f.t, udp.SetNetworkLayerForChecksum(ip))
	b := serialize(f.t, eth, ip, udp, gopacket.Payload(payload))
	if s.badIP {
		b[14+10] ^= 0x55
	}
	must(f.t, f.raw.Send(b))
}

// hears reports whether the connection hears a payload within limit.
func (h *hijack) hears(t *testing.T, payload string, limit time.Duration) bool {
	t.Helper()
	must(t, h.conn.SetReadDeadline(time.Now().Add(limit)))
	b := make([]byte, len(payload))
	_, err := io.ReadFull(h.conn, b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if err == nil && string(b) != payload {
		t.Fatalf("the connection hears %q, not %q", b, payload)
	}
	return err == nil
}

// drained is longer than what the programs wait before a connection takes the
// fast path again.
const drained = 300 * time.Millisecond

// onFastPath has the connection hear a segment, which must come by the fast
// path; it may take it only after a pause.
func (h *hijack) onFastPath(t *testing.T) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		time.Sleep(drained)
		_, user := h.a.during(t, func() {
			h.shoot(t, shot{}, "good")
			if !h.hears(t, "good", patience) {
				t.Fatal("a good segment is not heard")
			}
			h.tcp.Seq += 4
		})
		if user.rx.Frames != 0 {
			return fmt.Errorf("user space carried it")
		}
		return nil
	}))
}

const hijacked = `
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2, 192.0.2.3], static: [{mac: 02:00:00:00:00:a1, dst: 192.0.2.2}, {mac: 02:00:00:00:00:a3, dst: 192.0.2.3}]}
  - {vni: 43, remotes: [192.0.2.2]}
`

// TestShots fires at a connection on the fast path: what is not its peer's
// segment in a good datagram of its peer's VTEP is user space's to judge, and
// counted as if there were no fast path.
func TestShots(t *testing.T) {
	h := newHijack(t, hijacked, outer{}, 42)
	run(t, h.a.Host, "ip", "link", "set", "u0", "promisc", "on")
	for _, c := range []struct {
		name   string
		s      shot
		reason string // of user space's drop, "" where the kernel drops
		fine   bool   // user space delivers it
	}{
		{"an unknown VTEP", shot{o: outer{from: "192.0.2.9"}}, "source_not_accepted", false},
		{"a VNI that is not ours", shot{vni: 44}, "vni_not_found", false},
		{"the VNI of another segment", shot{vni: 43}, "-", false},
		{"another VTEP's MAC", shot{src: "02:00:00:00:00:a3"}, "entry_exists", false},
		{"another VTEP with our MAC's sender", shot{o: outer{from: "192.0.2.3"}}, "entry_exists", false},
		{"our own MAC", shot{src: "own"}, "local_mac", false},
		{"a group as source", shot{src: "03:00:00:00:00:a1"}, "mac_invalid_source", false},
		{"a bad inner checksum", shot{badTCP: true}, "", false},
		{"a bad outer IP checksum", shot{badIP: true}, "", false},
		{"a first fragment", shot{ip: func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }}, "", false},
		{"another fragment", shot{ip: func(ip *layers.IPv4) { ip.FragOffset = 8 }}, "", false},
		{"an inner tag", shot{tag: true}, "inner_vlan", false},
		{"a cut inner packet", shot{cut: 3}, "", false},
		{"bytes behind it", shot{more: 30}, "", true},
		{"no VNI flag", shot{wrongFlags: true}, "invalid_header", false},
		{"another port", shot{o: outer{dport: 4790}}, "", false},
		{"an outer frame for another host", shot{elsewhere: true}, "", false},
		{"an outer mark that the inner packet cannot bear", shot{o: outer{tos: 3}}, "ecn", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.onFastPath(t)
			if c.s.src == "own" {
				c.s.src = mac(t, h.a.Host, "vx42")
			}
			before := dropped(t, h.a, c.reason)
			for range 2 { // the first one may find the fast path shut
				h.shoot(t, c.s, "evil")
				heard := h.hears(t, "evil", 50*time.Millisecond)
				if heard {
					h.tcp.Seq += 4
				}
				if heard != c.fine {
					t.Errorf("it is heard: %v", heard)
				}
				time.Sleep(drained)
			}
			if c.reason == "" || c.reason == "-" {
				return
			}
			must(t, lab.Until(patience, func() error {
				if n := dropped(t, h.a, c.reason) - before; n != 2 {
					return fmt.Errorf("%d dropped for %s", n, c.reason)
				}
				return nil
			}))
		})
	}
}

// dropped is how many datagrams a daemon dropped for a reason.
func dropped(t *testing.T, e end, reason string) uint64 {
	t.Helper()
	c := counters(t, e.d)
	n := c.Drops.Rx[reason]
	for _, s := range c.Segments {
		n += s.Drops.Rx[reason]
	}
	return n
}

// TestShotsByConfiguration has segments that take other datagrams than those
// their remotes get.
func TestShotsByConfiguration(t *testing.T) {
	segment := func(more string) string {
		return strings.ReplaceAll(`
underlay: {local: 192.0.2.1}
segments: [{vni: 42, address: 10.99.0.1/24, MORE}]
`, "MORE", more)
	}
	t.Run("a remote that is not accepted", func(t *testing.T) {
		h := newHijack(t, segment("remotes: [192.0.2.2], learning: false, accept: [192.0.2.128/25], static: [{mac: "+station+", dst: 192.0.2.2}]"),
			outer{from: "192.0.2.130"}, 42)
		for range 3 {
			h.shoot(t, shot{o: outer{from: "192.0.2.2"}}, "evil")
			if h.hears(t, "evil", drained) {
				t.Fatal("it is heard")
			}
		}
	})
	t.Run("a remote with a port and a VNI of its own", func(t *testing.T) {
		h := newHijack(t, segment("remotes: [{ip: 192.0.2.2, port: 4790, vni: 77}], static: [{mac: "+station+", dst: {ip: 192.0.2.2, port: 4790, vni: 77}}]"), outer{}, 42)
		h.onFastPath(t)
		for range 2 {
			h.shoot(t, shot{o: outer{dport: 4790}, vni: 77}, "evil")
			if h.hears(t, "evil", drained) {
				t.Fatal("what is for another port and VNI is heard")
			}
		}
	})
}
