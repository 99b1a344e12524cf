package e2e

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/cmd/internal/lab"
)

// An inner is an Ethernet frame of the overlay, written by gopacket. Its zero
// fields are a broadcast UDP datagram of 100 bytes over IPv4.
type inner struct {
	src, dst string // MACs
	from, to string // IP addresses
	size     int    // bytes of UDP payload
	tag      uint16 // VLAN identifier
	df       bool
	badSum   bool   // the UDP checksum is wrong
	port     uint16 // UDP destination
	payload  []byte // of UDP, in place of zeros
}

const (
	broadcast = "ff:ff:ff:ff:ff:ff"
	station   = "02:00:00:00:00:a1" // behind the peer, by default
)

func (f inner) bytes(t testing.TB) []byte {
	t.Helper()
	def(&f.src, station)
	def(&f.dst, broadcast)
	def(&f.from, "10.99.0.77")
	def(&f.to, "10.99.0.78")
	if f.size == 0 {
		f.size = 100
	}
	eth := &layers.Ethernet{SrcMAC: hw(t, f.src), DstMAC: hw(t, f.dst), EthernetType: layers.EthernetTypeIPv4}
	ls := []gopacket.SerializableLayer{eth}
	kind := layers.EthernetTypeIPv4
	from, to := netip.MustParseAddr(f.from), netip.MustParseAddr(f.to)
	if from.Is6() {
		kind = layers.EthernetTypeIPv6
	}
	eth.EthernetType = kind
	if f.tag != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		ls = append(ls, &layers.Dot1Q{VLANIdentifier: f.tag, Type: kind})
	}
	if f.port == 0 {
		f.port = 7001
	}
	if f.payload == nil {
		f.payload = make([]byte, f.size)
	}
	udp := &layers.UDP{SrcPort: 7000, DstPort: layers.UDPPort(f.port)}
	ls = append(ls, network(from, to, udp, 0, f.df), udp, gopacket.Payload(f.payload))
	b := serialize(t, ls...)
	if f.badSum {
		b[len(b)-len(f.payload)-1] ^= 0x55
	}
	return b
}

// network is the IP header for an L4 header, which it gets its checksum from.
func network(from, to netip.Addr, udp *layers.UDP, tos uint8, df bool) gopacket.SerializableLayer {
	if from.Is6() {
		ip := &layers.IPv6{Version: 6, TrafficClass: tos, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip) // it takes IPv6
		return ip
	}
	ip := &layers.IPv4{Version: 4, IHL: 5, TOS: tos, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	if df {
		ip.Flags = layers.IPv4DontFragment
	}
	_ = udp.SetNetworkLayerForChecksum(ip) // it takes IPv4
	return ip
}

func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return buf.Bytes()
}

func hw(t testing.TB, mac string) net.HardwareAddr {
	t.Helper()
	a, err := net.ParseMAC(mac)
	must(t, err)
	return a
}

func def(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// vxlan puts a VXLAN header in front of an inner frame (RFC 7348 §5).
func vxlan(vni uint32, frame []byte) []byte {
	return append([]byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, frame...)
}

// An outer says how a datagram stands on the wire. Its zero fields are from
// 192.0.2.2 to 192.0.2.1, port 4789, with a good checksum.
type outer struct {
	from, to     string
	sport, dport uint16
	tos          uint8
	sum          outerSum
}

type outerSum int

const (
	sumGood outerSum = iota
	sumZero
	sumBad
)

// A forger puts datagrams on the wire of the lab by hand, from host b to host
// a, so that anything can be said in them.
type forger struct {
	t      testing.TB
	raw    *lab.Raw
	us, it string // MACs of the wire's ends
}

func newForger(t testing.TB, a, b *lab.Host) *forger {
	t.Helper()
	raw, err := b.Raw("u0")
	must(t, err)
	t.Cleanup(func() { must(t, raw.Close()) })
	return &forger{t: t, raw: raw, us: mac(t, b, "u0"), it: mac(t, a, "u0")}
}

func (f *forger) send(o outer, payload []byte) {
	f.t.Helper()
	def(&o.from, "192.0.2.2")
	def(&o.to, "192.0.2.1")
	if o.sport == 0 {
		o.sport = 50000
	}
	if o.dport == 0 {
		o.dport = 4789
	}
	from, to := netip.MustParseAddr(o.from), netip.MustParseAddr(o.to)
	eth := &layers.Ethernet{SrcMAC: hw(f.t, f.us), DstMAC: hw(f.t, f.it), EthernetType: layers.EthernetTypeIPv4}
	l3 := 20
	if from.Is6() {
		eth.EthernetType, l3 = layers.EthernetTypeIPv6, 40
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(o.sport), DstPort: layers.UDPPort(o.dport)}
	b := serialize(f.t, eth, network(from, to, udp, o.tos, false), udp, gopacket.Payload(payload))
	sum := b[14+l3+6 : 14+l3+8]
	switch o.sum {
	case sumZero:
		sum[0], sum[1] = 0, 0
	case sumBad:
		sum[0] ^= 0x55
	}
	must(f.t, f.raw.Send(b))
}

// device opens a device of the host to send frames from it, as its host would.
func device(t testing.TB, h *lab.Host, dev string) *lab.Raw {
	t.Helper()
	r, err := h.Raw(dev)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

// arrived returns the frames of a device that f takes, waiting for n of them
// and then for silence.
func arrived(t testing.TB, r *lab.Raw, n int, f func(gopacket.Packet) bool) []gopacket.Packet {
	t.Helper()
	var got []gopacket.Packet
	for range 50 {
		frames, err := r.Receive(patience / 50)
		must(t, err)
		for _, b := range frames {
			if p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default); f(p) {
				got = append(got, p)
			}
		}
		if len(got) >= n {
			break
		}
	}
	return got
}

// quiet keeps devices that the host gets from now on from saying anything by
// themselves.
func quiet(t testing.TB, hosts ...*lab.Host) {
	t.Helper()
	for _, h := range hosts {
		sysctl(t, h, "net/ipv6/conf/default/disable_ipv6", "1")
	}
}

func sysctl(t testing.TB, h *lab.Host, key, value string) {
	t.Helper()
	run(t, h, "sh", "-c", "echo "+value+" > /proc/sys/"+key)
}
