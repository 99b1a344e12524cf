package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
	"vtepd/encap/drop"
	"vtepd/encap/offload"
)

// countersConfig has a segment for each reason that one alone cannot have.
const countersConfig = `
underlay: {local: [192.0.2.1, "2001:db8::1"]}
segments:
  - vni: 42
    mtu: 2000
    suppress: true
    remotes: [192.0.2.2, 192.0.2.3, 203.0.113.5]   # a peer, a silent one, one without a route
    static:
      - {mac: 02:00:00:00:00:99, dst: 192.0.2.3}
      - {mac: 02:00:00:00:00:98, dst: 192.0.2.4}   # a firewall refuses it
    neighbours:
      - {ip: 10.99.0.9, mac: 02:00:00:00:00:09}
      - {ip: "fd42::9", mac: 02:00:00:00:00:09}
  - {vni: 43, interface: u1, remotes: [192.0.2.2]}  # nothing of it comes by u1
  - {vni: 44, remotes: [192.0.2.2]}                 # its device is down
  - {vni: 45, accept: any, remotes: []}             # nobody to send to
  - {vni: 46, mode: route, mac: 02:00:00:00:00:46, prefixes: [{prefix: 10.46.0.0/16, via: 192.0.2.2, mac: 02:00:00:00:00:a1}]}
datapath: {workers: 2, tier: %s}
`

// A kind of traffic is sent so many times; each of them must be counted as
// want says and as nothing else. Keys are those of tally.
type kind struct {
	name  string
	times int
	send  func()
	want  map[string]uint64
}

// TestCountersBalance floods all kinds of good and bad traffic, mixed, and adds
// up where every frame of it was counted.
func TestCountersBalance(t *testing.T) {
	tiers(t, func(t *testing.T, tier string) {
		hosts := lab.Hosts(t, 2, lab.Wire{})
		a, b := hosts[0], hosts[1]
		quiet(t, a, b)
		sysctl(t, a, "net/ipv4/conf/u0/accept_local", "1") // so that martians reach us
		run(t, a, "ip", "link", "add", "name", "u1", "type", "bridge")
		run(t, a, "nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o ip daddr 192.0.2.4 drop")
		must(t, b.KernelVXLAN(42, nil, "local", "192.0.2.2", "remote", "192.0.2.1"))
		d := vtepdFile(t, a, fmt.Sprintf(countersConfig, tier))
		run(t, a, "ip", "link", "set", "vx44", "down")

		wire := newForger(t, a, b)
		wire.send(outer{}, vxlan(42, inner{}.bytes(t))) // who station is
		waitTally(t, d, map[string]uint64{"42 rx": 1})
		kinds := slices.Concat(fromWire(t, a, b, wire), fromDevice(t, a), routedKinds(t, a, wire))
		want := map[string]uint64{"42 rx": 1}
		for i := 0; ; i++ {
			sent := false
			for _, k := range kinds {
				if i < k.times {
					k.send()
					sent = true
				}
			}
			if !sent {
				break
			}
		}
		for _, k := range kinds {
			for key, n := range k.want {
				want[key] += n * uint64(k.times)
			}
		}
		waitTally(t, d, want)
		everyReason(t, want)
		remotesAddUp(t, d)
		var st api.Status
		decode(t, ctl(t, d, "-j", "status"), &st)
		for _, s := range st.Sockets {
			if s.Dropped != 0 {
				t.Errorf("socket %v dropped %d", s.Addr, s.Dropped)
			}
		}
	})
}

// everyReason holds what was expected against all the reasons there are.
func everyReason(t *testing.T, want map[string]uint64) {
	t.Helper()
	// No kernel hands us such frames; the engine's own tests do.
	unreachable := []string{"tx bad_checksum", "rx bad_checksum"}
	for r := drop.None + 1; r < drop.Count; r++ {
		for way, possible := range map[string]bool{"rx": r.Rx(), "tx": r.Tx()} {
			suffix := "drops." + way + "." + r.String()
			seen := slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(k string) bool { return strings.HasSuffix(k, suffix) })
			if possible && !seen && !slices.Contains(unreachable, way+" "+r.String()) {
				t.Errorf("no kind of traffic is dropped for %s %v", way, r)
			}
		}
	}
}

// remotesAddUp holds a segment's counters against the sum over its remotes.
func remotesAddUp(t *testing.T, d *lab.Daemon) {
	t.Helper()
	for _, s := range counters(t, d).Segments {
		var tx, failed uint64
		for _, r := range s.Remotes {
			tx, failed = tx+r.Tx.Frames, failed+r.Errors.Sum()
		}
		if tx != s.Tx.Frames || failed != s.Drops.Tx["send_failed"] {
			t.Errorf("segment %d: sent %d and failed %d, its remotes %d and %d", s.VNI, s.Tx.Frames, s.Drops.Tx["send_failed"], tx, failed)
		}
	}
}

// fromWire are the kinds of datagrams: each is counted once.
func fromWire(t *testing.T, a, b *lab.Host, w *forger) []kind {
	own := mac(t, a, "vx42")
	one := func(key string) map[string]uint64 { return map[string]uint64{key: 1} }
	datagram := func(o outer, payload []byte) func() { return func() { w.send(o, payload) } }
	frame := func(vni uint32, f inner) []byte { return vxlan(vni, f.bytes(t)) }
	noFlag := frame(42, inner{})
	noFlag[0] = 0
	train := udpSocket(t, b)
	return []kind{
		{"a unicast frame", 20, datagram(outer{}, frame(42, inner{dst: own})), one("42 rx")},
		{"a broadcast", 9, datagram(outer{}, frame(42, inner{})), one("42 rx")},
		{"over IPv6 by nobody we know", 3, datagram(outer{from: "2001:db8::2", to: "2001:db8::1"}, frame(42, inner{})), one("42 drops.rx.source_not_accepted")},
		{"an Ethernet header alone", 5, datagram(outer{}, vxlan(42, append(inner{}.bytes(t)[:12:12], 0x88, 0xb5))), one("42 rx")},
		{"an IP packet without a header", 5, datagram(outer{}, vxlan(42, inner{}.bytes(t)[:14])), one("42 drops.rx.truncated")},
		{"a wrong inner checksum", 4, datagram(outer{}, frame(42, inner{badSum: true})), one("42 rx")},
		{"without outer checksum", 4, datagram(outer{sum: sumZero}, frame(42, inner{})), one("42 rx")},
		{"a train of twelve", 2, func() { must(t, train.repeat(12, frame(42, inner{dst: own, size: 500}))) }, map[string]uint64{"42 rx": 12}},
		// Its 10000 bytes are cut to what the device's MTU of 2000 takes.
		{"a kernel peer's super-frame", 3, func() { sendSuper(t, b, "vx42", station, own, 10000) }, map[string]uint64{"42 rx": 6}},
		{"the I flag clear", 7, datagram(outer{}, noFlag), one("drops.rx.invalid_header")},
		{"shorter than a header", 2, datagram(outer{}, []byte{8, 0, 0}), one("drops.rx.invalid_header")},
		{"an unknown VNI", 6, datagram(outer{}, frame(4242, inner{})), one("drops.rx.vni_not_found")},
		{"an inner frame cut short", 5, datagram(outer{}, vxlan(42, make([]byte, 13))), one("42 drops.rx.truncated")},
		{"a multicast source MAC", 4, datagram(outer{}, frame(42, inner{src: "01:00:5e:00:00:01"})), one("42 drops.rx.mac_invalid_source")},
		{"a zero source MAC", 3, datagram(outer{}, frame(42, inner{src: "00:00:00:00:00:00"})), one("42 drops.rx.mac_invalid_source")},
		{"our own MAC", 6, datagram(outer{}, frame(42, inner{src: own})), one("42 drops.rx.local_mac")},
		{"a static MAC from elsewhere", 5, datagram(outer{}, frame(42, inner{src: "02:00:00:00:00:99"})), one("42 drops.rx.entry_exists")},
		{"a stranger", 8, datagram(outer{from: "192.0.2.77"}, frame(42, inner{})), one("42 drops.rx.source_not_accepted")},
		{"our own address as source", 4, datagram(outer{from: "192.0.2.1"}, frame(42, inner{})), one("42 drops.rx.martian_source")},
		{"our own IPv6 address as source", 3, datagram(outer{from: "2001:db8::1", to: "2001:db8::1"}, frame(42, inner{})), one("42 drops.rx.martian_source")},
		{"by another interface", 6, datagram(outer{}, frame(43, inner{})), one("43 drops.rx.wrong_interface")},
		{"an inner VLAN tag", 7, datagram(outer{}, frame(42, inner{tag: 5})), one("42 drops.rx.inner_vlan")},
		{"CE over what is not ECN-capable", 5, datagram(outer{tos: 3}, frame(42, inner{})), one("42 drops.rx.ecn")},
		{"a device that is down", 4, datagram(outer{}, frame(44, inner{})), one("44 drops.rx.write_failed")},
		{"any source where all may", 3, datagram(outer{from: "192.0.2.77"}, frame(45, inner{})), one("45 rx")},
	}
}

// fromDevice are the kinds of frames that the host sends: each is counted once
// a copy.
func fromDevice(t *testing.T, a *lab.Host) []kind {
	dev, lonely := device(t, a, "vx42"), device(t, a, "vx45")
	const host, nowhere = "02:00:00:00:00:01", "02:00:00:00:00:ee"
	frame := func(f inner) func() {
		def(&f.src, host)
		b := f.bytes(t)
		return func() { must(t, dev.Send(b)) }
	}
	raw := func(b []byte) func() { return func() { must(t, dev.Send(b)) } }
	super := func(dst string) func() { return func() { sendSuper(t, a, "vx42", host, dst, 8000) } }
	// Two of the three remotes can be sent to.
	flooded := map[string]uint64{"42 tx": 2, "42 drops.tx.send_failed": 1}
	return []kind{
		{"to a learned MAC", 15, frame(inner{dst: station}), map[string]uint64{"42 tx": 1}},
		{"to a static MAC", 5, frame(inner{dst: "02:00:00:00:00:99"}), map[string]uint64{"42 tx": 1}},
		{"an unknown MAC", 6, frame(inner{dst: nowhere}), flooded},
		{"a broadcast", 6, frame(inner{}), flooded},
		{"a multicast", 4, frame(inner{dst: "01:00:5e:01:02:03"}), flooded},
		{"a super-frame of eight", 4, super(station), map[string]uint64{"42 tx": 8}},
		{"a super-frame of eight, flooded", 3, super(nowhere), map[string]uint64{"42 tx": 16, "42 drops.tx.send_failed": 8}},
		{"refused by a firewall", 5, frame(inner{dst: "02:00:00:00:00:98"}), map[string]uint64{"42 drops.tx.send_failed": 1}},
		{"too large, to one", 3, frame(inner{dst: station, size: 1600}), map[string]uint64{"42 drops.tx.oversize": 1}},
		{"too large, flooded", 3, frame(inner{size: 1600}), map[string]uint64{"42 drops.tx.oversize": 3}},
		{"a VLAN tag", 4, frame(inner{tag: 7}), map[string]uint64{"42 drops.tx.inner_vlan": 1}},
		{"ARP for a neighbour", 6, raw(arpRequest(t, host, "10.99.0.1", "10.99.0.9")), map[string]uint64{"42 consumed.suppressed": 1}},
		{"ARP for somebody else", 4, raw(arpRequest(t, host, "10.99.0.1", "10.99.0.8")), flooded},
		{"ND for a neighbour", 5, raw(solicit(t, host, "fd42::1", "fd42::9")), map[string]uint64{"42 consumed.suppressed": 1}},
		{"nobody to send to", 5, func() { must(t, lonely.Send(inner{src: host}.bytes(t))) }, map[string]uint64{"45 drops.tx.no_remote": 1}},
	}
}

// routedKinds are those of a routed segment, in both directions. Packets of its
// device have no Ethernet header.
func routedKinds(t *testing.T, a *lab.Host, w *forger) []kind {
	const own = "02:00:00:00:00:46"
	dev := device(t, a, "vx46")
	one := func(key string) map[string]uint64 { return map[string]uint64{"46 " + key: 1} }
	datagram := func(frame []byte) func() { return func() { w.send(outer{}, vxlan(46, frame)) } }
	packet := func(to string) func() {
		b := inner{from: "10.99.0.77", to: to}.bytes(t)[14:]
		return func() { must(t, dev.Send(b)) }
	}
	raw := func(b []byte) func() { return func() { must(t, dev.Send(b)) } }
	arp := arpRequest(t, station, "10.99.0.1", "10.99.0.9")
	copy(arp, hw(t, own))
	liar := inner{dst: own}.bytes(t)
	liar[14+2] = 0xff
	return []kind{
		{"to our router", 9, datagram(inner{dst: own}.bytes(t)), one("rx")},
		{"IPv6 to our router", 5, datagram(inner{dst: own, from: "fd46::1", to: "fd46::2"}.bytes(t)), one("rx")},
		{"to another router", 6, datagram(inner{dst: "02:00:00:00:00:47"}.bytes(t)), one("drops.rx.otherhost")},
		{"a broadcast to routers", 4, datagram(inner{}.bytes(t)), one("drops.rx.otherhost")},
		{"ARP to our router", 5, datagram(arp), one("drops.rx.unhandled_proto")},
		{"a packet that lies", 4, datagram(liar), one("drops.rx.malformed")},
		{"to a prefix", 9, packet("10.46.0.1"), one("tx")},
		{"to no prefix", 6, packet("10.47.0.1"), one("drops.tx.no_remote")},
		{"to a group", 5, packet("239.1.1.1"), one("drops.tx.multicast")},
		{"no IP packet", 4, raw(bytes.Repeat([]byte{0xaa}, 60)), one("drops.tx.malformed")},
		{"half an IP header", 3, raw([]byte{0x45, 0, 0, 10, 0, 0, 0, 0, 0, 0}), one("drops.tx.truncated")},
	}
}

// tally flattens counters to the numbers that must add up, zeros left out.
func tally(c api.Counters) map[string]uint64 {
	m := make(map[string]uint64)
	put := func(prefix string, t api.Tally) {
		for k, n := range t {
			m[prefix+k] = n
		}
	}
	put("drops.rx.", c.Drops.Rx)
	put("drops.tx.", c.Drops.Tx)
	for _, s := range c.Segments {
		vni := fmt.Sprint(s.VNI, " ")
		m[vni+"rx"], m[vni+"tx"] = s.Rx.Frames, s.Tx.Frames
		put(vni+"drops.rx.", s.Drops.Rx)
		put(vni+"drops.tx.", s.Drops.Tx)
		put(vni+"consumed.", s.Consumed)
	}
	maps.DeleteFunc(m, func(_ string, n uint64) bool { return n == 0 })
	return m
}

// waitTally waits until the daemon has counted exactly want.
func waitTally(t testing.TB, d *lab.Daemon, want map[string]uint64) {
	t.Helper()
	if err := lab.Until(patience, func() error {
		got := tally(counters(t, d))
		var wrong []string
		for key := range want {
			if got[key] != want[key] {
				wrong = append(wrong, fmt.Sprintf("%s: %d, want %d", key, got[key], want[key]))
			}
		}
		for key, n := range got {
			if _, ok := want[key]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s: %d, want none", key, n))
			}
		}
		if len(wrong) > 0 {
			slices.Sort(wrong)
			return fmt.Errorf("counters:\n%s", strings.Join(wrong, "\n"))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// sendSuper sends a TCP super-frame with so many bytes of payload from a
// device; the kernel is to cut it at 1000.
func sendSuper(t testing.TB, h *lab.Host, dev, src, dst string, payload int) {
	t.Helper()
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IPv4(10, 99, 0, 77), DstIP: net.IPv4(10, 99, 0, 78)}
	tcp := &layers.TCP{SrcPort: 7000, DstPort: 7001, ACK: true, Window: 1000}
	must(t, tcp.SetNetworkLayerForChecksum(ip))
	b := serialize(t, &layers.Ethernet{SrcMAC: hw(t, src), DstMAC: hw(t, dst), EthernetType: layers.EthernetTypeIPv4},
		ip, tcp, gopacket.Payload(make([]byte, payload)))
	// The checksum is left to the device: the folded pseudo-header sum only.
	sum := 2*(10<<8+99) + 77 + 78 + 6 + 20 + payload
	sum = sum&0xffff + sum>>16
	b[34+16], b[34+17] = byte(sum>>8), byte(sum)
	hdr := make([]byte, offload.HdrLen)
	gso := offload.GSO{Type: offload.TCPv4, NeedsCsum: true, Size: 1000, HdrLen: 54, CsumStart: 34, CsumOffset: 16}
	gso.Encode(hdr)
	must(t, h.SendSuper(dev, hdr, b))
}

func arpRequest(t testing.TB, src, from, to string) []byte {
	t.Helper()
	return serialize(t, &layers.Ethernet{SrcMAC: hw(t, src), DstMAC: hw(t, broadcast), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: hw(t, src), SourceProtAddress: net.ParseIP(from).To4(),
			DstHwAddress: make([]byte, 6), DstProtAddress: net.ParseIP(to).To4()})
}

// solicit is a neighbour solicitation (RFC 4861 §4.3) for an address.
func solicit(t testing.TB, src, from, target string) []byte {
	t.Helper()
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP(from), DstIP: net.ParseIP("ff02::1:ff00:9")}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)}
	must(t, icmp.SetNetworkLayerForChecksum(ip))
	return serialize(t, &layers.Ethernet{SrcMAC: hw(t, src), DstMAC: hw(t, "33:33:ff:00:00:09"), EthernetType: layers.EthernetTypeIPv6},
		ip, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP(target)})
}

// A trainSocket sends the frames of a train back to back in one datagram, of
// equal size each, which the kernel cuts.
type trainSocket func(size int, frames []byte) error

// udpSocket opens a socket on host b whose datagrams leave in trains
// (UDP_SEGMENT), as another vtepd's do.
func udpSocket(t testing.TB, b *lab.Host) trainSocket {
	t.Helper()
	fd := -1
	must(t, b.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 2}, Port: 50500})
	}))
	t.Cleanup(func() { must(t, unix.Close(fd)) })
	return func(size int, frames []byte) error {
		const udpSegment = 103
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, udpSegment, size); err != nil {
			return err
		}
		return unix.Sendto(fd, frames, 0, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 1}, Port: 4789})
	}
}

// repeat sends the same datagram n times.
func (s trainSocket) repeat(n int, payload []byte) error {
	return s(len(payload), bytes.Repeat(payload, n))
}
