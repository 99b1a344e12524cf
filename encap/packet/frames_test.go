package packet_test

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"vtepd/encap/packet"
)

// Every builder here returns a slice without spare capacity, so that whoever
// reads beyond the frame panics.

var (
	macA = packet.MAC{0x02, 0, 0, 0, 0, 0x0a} // sends
	macB = packet.MAC{0x02, 0, 0, 0, 0, 0x0b} // receives
	macC = packet.MAC{0x02, 0, 0, 0, 0, 0x0c} // is asked for

	addrA4 = netip.MustParseAddr("192.0.2.10")
	addrB4 = netip.MustParseAddr("198.51.100.11")
	addrA6 = netip.MustParseAddr("2001:db8::a")
	addrB6 = netip.MustParseAddr("2001:db8::b")
)

const (
	tpidVLAN = 0x8100
	tpidQinQ = 0x88a8
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
)

func join(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func exact(b []byte) []byte { return join(b) }

// edited returns a copy of b with the bytes from at on replaced.
func edited(b []byte, at int, with ...byte) []byte {
	b = exact(b)
	copy(b[at:], with)
	return b
}

// ether builds a frame from A to B with tags, outermost first.
func ether(typ uint16, body []byte, tags ...uint16) []byte {
	b := join(macB[:], macA[:])
	for i, tpid := range tags {
		b = binary.BigEndian.AppendUint16(b, tpid)
		b = append(b, 0x20, byte(100+i)) // priority 1, VLAN 100 and up
	}
	b = binary.BigEndian.AppendUint16(b, typ)
	return join(b, body)
}

// ip4 builds an IPv4 packet with the given flags and fragment offset field.
func ip4(proto uint8, frag uint16, options, body []byte) []byte {
	h := make([]byte, 20, 60)
	h[0], h[1], h[8], h[9] = byte(0x45+len(options)/4), 0xb9, 63, proto
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(options)+len(body)))
	binary.BigEndian.PutUint16(h[4:], 0x1234)
	binary.BigEndian.PutUint16(h[6:], frag)
	copy(h[12:], addrA4.AsSlice())
	copy(h[16:], addrB4.AsSlice())
	h = append(h, options...)
	binary.BigEndian.PutUint16(h[10:], ^naiveSum(h))
	return join(h, body)
}

// ip6 builds an IPv6 packet. body starts with a header of type next.
func ip6(next uint8, body ...[]byte) []byte {
	rest := join(body...)
	h := make([]byte, 40)
	h[0], h[1], h[6], h[7] = 0x6b, 0x90, next, 62 // traffic class 0xb9
	binary.BigEndian.PutUint16(h[4:], uint16(len(rest)))
	copy(h[8:], addrA6.AsSlice())
	copy(h[24:], addrB6.AsSlice())
	return join(h, rest)
}

// extension builds an IPv6 extension header of 8*(1+units) bytes, or, for
// authentication, of 8+4*units.
func extension(next, units uint8, size int) []byte {
	b := make([]byte, size)
	b[0], b[1] = next, units
	return b
}

// fragment6 builds an IPv6 fragment header; offset is in units of 8 bytes.
func fragment6(next uint8, offset uint16, more bool) []byte {
	b := make([]byte, 8)
	v := offset << 3
	if more {
		v |= 1
	}
	b[0] = next
	binary.BigEndian.PutUint16(b[2:], v)
	return b
}

// destinationOptions builds n headers of 8 bytes each, the last in front of UDP.
func destinationOptions(n int) []byte {
	var b []byte
	for range n - 1 {
		b = append(b, extension(60, 0, 8)...)
	}
	return join(b, extension(17, 0, 8), udpHeader(0))
}

func tcpHeader() []byte {
	return join([]byte{0x30, 0x39, 0, 80}, make([]byte, 8), []byte{0x50}, make([]byte, 7))
}

func udpHeader(payload int) []byte { return []byte{0x30, 0x39, 0, 53, 0, byte(8 + payload), 0, 0} }

// naiveSum is the one's complement sum of RFC 1071 as its text has it.
func naiveSum(b []byte) uint16 {
	sum := 0
	for i, x := range b {
		if i%2 == 0 {
			sum += int(x) << 8
		} else {
			sum += int(x)
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// naivePseudo builds the pseudo-header of RFC 8200 §8.1, whose sum is that of
// RFC 793's too.
func naivePseudo(src, dst []byte, proto uint8, n int) []byte {
	return join(src, dst, binary.BigEndian.AppendUint32(nil, uint32(n)), []byte{0, 0, 0, proto})
}

// build serializes layers with gopacket, which fills in lengths and checksums.
func build(tb rapid.TB, ls ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	b := gopacket.NewSerializeBuffer()
	var network gopacket.NetworkLayer
	for _, l := range ls {
		switch l := l.(type) {
		case gopacket.NetworkLayer:
			network = l
		case interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}:
			if err := l.SetNetworkLayerForChecksum(network); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		tb.Fatal(err)
	}
	return exact(b.Bytes())
}

// decode has gopacket decode a frame of ours, and fails if it finds a fault.
func decode(tb rapid.TB, frame []byte) gopacket.Packet {
	tb.Helper()
	d := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if e := d.ErrorLayer(); e != nil {
		tb.Fatalf("gopacket finds a fault in %x: %v", frame, e.Error())
	}
	return d
}

func etherLayer(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{DstMAC: macB[:], SrcMAC: macA[:], EthernetType: typ}
}

func ip4Layer(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Flags: layers.IPv4DontFragment, Protocol: proto,
		SrcIP: addrA4.AsSlice(), DstIP: addrB4.AsSlice()}
}

func ip6Layer(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: addrA6.AsSlice(), DstIP: addrB6.AsSlice()}
}

func tcpLayer() *layers.TCP {
	return &layers.TCP{SrcPort: 12345, DstPort: 80, Seq: 1, ACK: true, Window: 500}
}

func udpLayer() *layers.UDP { return &layers.UDP{SrcPort: 12345, DstPort: 53} }

func payload(n int) gopacket.Payload {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + 1)
	}
	return b
}

// arpRequest builds a request of sender for target, as RFC 826 has it.
func arpRequest(tb rapid.TB, sender, target netip.Addr) []byte {
	return build(tb, &layers.Ethernet{DstMAC: layers.EthernetBroadcast, SrcMAC: macA[:], EthernetType: typeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: typeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: layers.ARPRequest, SourceHwAddress: macA[:], SourceProtAddress: sender.AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: target.AsSlice()})
}

// solicitation is what differs between neighbour solicitations.
type solicitation struct {
	src, dst, target string
	hops, code       uint8
	options          layers.ICMPv6Options
}

// solicit is a valid solicitation of A for B.
func solicit() solicitation {
	return solicitation{src: addrA6.String(), dst: "ff02::1:ff00:b", target: addrB6.String(), hops: 255,
		options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: macA[:]}}}
}

// probe is the solicitation of duplicate address detection (RFC 4862 §5.4.2).
func probe() solicitation {
	s := solicit()
	s.src, s.options = "::", nil
	return s
}

func (s solicitation) frame(tb rapid.TB, tags ...uint16) []byte {
	ip := ip6Layer(layers.IPProtocolICMPv6)
	ip.SrcIP, ip.DstIP, ip.HopLimit = net.ParseIP(s.src), net.ParseIP(s.dst), s.hops
	b := build(tb, etherLayer(typeIPv6), ip, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, s.code)},
		&layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP(s.target), Options: s.options})
	return ether(typeIPv6, b[14:], tags...)
}

// seeds are frames of every kind, for fuzzing and for cutting short.
func seeds(tb rapid.TB) map[string][]byte {
	return map[string][]byte{
		"ARP":                 arpRequest(tb, addrA4, addrB4),
		"TCP over IPv4":       build(tb, etherLayer(typeIPv4), ip4Layer(6), tcpLayer(), payload(33)),
		"UDP over IPv4":       build(tb, etherLayer(typeIPv4), ip4Layer(17), udpLayer(), payload(1400)),
		"ICMP over IPv4":      build(tb, etherLayer(typeIPv4), ip4Layer(1), &layers.ICMPv4{TypeCode: 0x0800}, payload(56)),
		"IPv4 options":        ether(typeIPv4, ip4(17, 0, make([]byte, 40), udpHeader(0))),
		"IPv4 first fragment": ether(typeIPv4, ip4(17, 0x2000, nil, udpHeader(0))),
		"IPv4 last fragment":  ether(typeIPv4, ip4(17, 0x0001, nil, payload(3))),
		"TCP over IPv6":       build(tb, etherLayer(typeIPv6), ip6Layer(6), tcpLayer(), payload(33)),
		"UDP over IPv6":       build(tb, etherLayer(typeIPv6), ip6Layer(17), udpLayer(), payload(1400)),
		"SCTP over IPv6":      ether(typeIPv6, ip6(132, payload(12))),
		"ND":                  solicit().frame(tb),
		"ND probe, tagged":    probe().frame(tb, tpidQinQ, tpidVLAN),
		"IPv6 extensions": ether(typeIPv6, ip6(0, extension(60, 0, 8), extension(43, 1, 16), extension(51, 2, 16),
			extension(44, 0, 8), fragment6(6, 0, true), tcpHeader())),
		"IPv6 last fragment": ether(typeIPv6, ip6(44, fragment6(17, 4, false), payload(5))),
		"VLAN":               ether(typeIPv4, ip4(6, 0x4000, nil, tcpHeader()), tpidVLAN),
		"QinQ":               ether(typeIPv6, ip6(17, udpHeader(0)), tpidQinQ, tpidVLAN),
		"three tags":         ether(typeIPv4, ip4(17, 0, nil, udpHeader(0)), tpidQinQ, tpidVLAN, tpidVLAN),
		"LLDP":               ether(0x88cc, payload(46)),
	}
}

func parse(tb rapid.TB, frame []byte) *packet.Parsed {
	tb.Helper()
	p := new(packet.Parsed)
	if !p.Parse(frame) {
		tb.Fatalf("Parse refuses %x", frame)
	}
	return p
}
