package vtep

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// The frames of the tests are made by gopacket, and their checksums checked by
// the plain arithmetic below, so that nothing here rests on what is tested.

var (
	ip4a = net.IP{10, 99, 0, 1}
	ip4b = net.IP{10, 99, 0, 2}
	ip6a = net.ParseIP("fd00::1")
	ip6b = net.ParseIP("fd00::2")
)

// A recipe is a frame to be made. Its zero value is an IPv4 TCP segment from
// our host to the far one.
type recipe struct {
	src, dst packet.MAC
	tags     []uint16
	v6, udp  bool
	size     int // L4 payload
	tos, ttl uint8
	df       bool
	seq      uint32
	id       uint16
	flags    uint8 // TCP
	port     uint16
	partial  bool // only the pseudo-header sum in the checksum field
	badCsum  bool
}

func (c recipe) bytes() []byte {
	if c.src.IsZero() {
		c.src = hostMAC
	}
	if c.dst.IsZero() {
		c.dst = farMAC
	}
	if c.ttl == 0 {
		c.ttl = 64
	}
	if c.port == 0 {
		c.port = 40000
	}
	var ls []gopacket.SerializableLayer
	etherType := layers.EthernetTypeIPv4
	if c.v6 {
		etherType = layers.EthernetTypeIPv6
	}
	eth := &layers.Ethernet{SrcMAC: c.src[:], DstMAC: c.dst[:], EthernetType: etherType}
	ls = append(ls, eth)
	for i, id := range c.tags {
		tag := &layers.Dot1Q{VLANIdentifier: id, Type: etherType}
		if i < len(c.tags)-1 {
			tag.Type = layers.EthernetTypeDot1Q
		}
		eth.EthernetType = layers.EthernetTypeDot1Q
		ls = append(ls, tag)
	}
	proto := layers.IPProtocolTCP
	if c.udp {
		proto = layers.IPProtocolUDP
	}
	var ip gopacket.NetworkLayer
	if c.v6 {
		h := &layers.IPv6{Version: 6, TrafficClass: c.tos, HopLimit: c.ttl, NextHeader: proto, SrcIP: ip6a, DstIP: ip6b}
		ls, ip = append(ls, h), h
	} else {
		h := &layers.IPv4{Version: 4, TOS: c.tos, TTL: c.ttl, Protocol: proto, SrcIP: ip4a, DstIP: ip4b, Id: c.id}
		if c.df {
			h.Flags = layers.IPv4DontFragment
		}
		ls, ip = append(ls, h), h
	}
	if c.udp {
		u := &layers.UDP{SrcPort: layers.UDPPort(c.port), DstPort: 53}
		check(u.SetNetworkLayerForChecksum(ip))
		ls = append(ls, u)
	} else {
		t := &layers.TCP{SrcPort: layers.TCPPort(c.port), DstPort: 80, Seq: c.seq, Ack: 7, ACK: true, Window: 500,
			FIN: c.flags&1 != 0, SYN: c.flags&2 != 0, PSH: c.flags&8 != 0}
		check(t.SetNetworkLayerForChecksum(ip))
		ls = append(ls, t)
	}
	body := make([]byte, c.size)
	for i := range body {
		body[i] = byte(i*7 + i>>8)
	}
	ls = append(ls, gopacket.Payload(body))
	b := serialize(ls...)
	p := parse(b)
	at := p.L4 + 16
	if c.udp {
		at = p.L4 + 6
	}
	if c.partial {
		binary.BigEndian.PutUint16(b[at:], pseudoSum(b, &p))
	}
	if c.badCsum {
		b[at] ^= 0x55
		b[len(b)-1]++ // so that it is not the pseudo-header's sum by chance either
	}
	return b
}

func serialize(ls ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	check(gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return buf.Bytes()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func parse(b []byte) (p packet.Parsed) {
	if !p.Parse(b) {
		panic("short frame")
	}
	return p
}

// ones is the folded one's complement sum of b.
func ones(b []byte, sum uint32) uint16 {
	for i, x := range b {
		sum += uint32(x) << (8 * (1 - i&1))
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func pseudoSum(b []byte, p *packet.Parsed) uint16 {
	addrs := b[p.L3+12 : p.L3+20]
	if p.Kind == packet.IPv6 {
		addrs = b[p.L3+8 : p.L3+40]
	}
	return ones(addrs, uint32(p.Proto)+uint32(p.End-p.L4))
}

// goodChecksums reports whether the IPv4 header checksum and that of TCP or UDP
// are right.
func goodChecksums(b []byte) bool {
	p := parse(b)
	if p.L4 == 0 || p.Kind == packet.IPv4 && ones(b[p.L3:p.L4], 0) != 0xffff {
		return false
	}
	return ones(b[p.L4:p.End], uint32(pseudoSum(b, &p))) == 0xffff
}

// super is a super-frame as a device with a virtio_net_hdr hands it over.
func super(c recipe, mss int) given {
	c.partial = true
	b := c.bytes()
	p := parse(b)
	g := given{b, offload.GSO{Type: offload.TCPv4, NeedsCsum: true, Size: uint16(mss), CsumStart: uint16(p.L4),
		CsumOffset: 16, HdrLen: uint16(p.L4 + 20)}}
	switch {
	case c.udp:
		g.gso.Type, g.gso.CsumOffset, g.gso.HdrLen = offload.UDP, 6, uint16(p.L4+8)
	case c.v6:
		g.gso.Type = offload.TCPv6
	}
	return g
}

// wantWireFrames checks that frames are those that big is to be cut into: right
// sizes, sequence numbers, checksums, and the payload of big together.
func wantWireFrames(tb testing.TB, big []byte, mss int, frames [][]byte) {
	tb.Helper()
	bp := parse(big)
	hdr := bp.L4 + 8
	if bp.Proto == packet.ProtoTCP {
		hdr = bp.L4 + 20
	}
	payload := big[hdr:bp.End]
	if want := (len(payload) + mss - 1) / mss; len(frames) != want {
		tb.Errorf("%d wire frames, want %d", len(frames), want)
		return
	}
	for i, f := range frames {
		p := parse(f)
		part := payload[i*mss : min((i+1)*mss, len(payload))]
		if p.End != len(f) || !goodChecksums(f) {
			tb.Errorf("wire frame %d: length or checksum wrong", i)
		}
		if string(f[hdr:]) != string(part) {
			tb.Errorf("wire frame %d: payload of %d bytes, want %d", i, len(f)-hdr, len(part))
		}
		if string(f[:bp.L3]) != string(big[:bp.L3]) {
			tb.Errorf("wire frame %d: another Ethernet header", i)
		}
		if bp.Kind == packet.IPv4 {
			if id := binary.BigEndian.Uint16(big[bp.L3+4:]) + uint16(i); id != binary.BigEndian.Uint16(f[p.L3+4:]) {
				tb.Errorf("wire frame %d: IPv4 ID", i)
			}
		}
		if bp.Proto == packet.ProtoTCP {
			if seq := binary.BigEndian.Uint32(big[bp.L4+4:]) + uint32(i*mss); seq != binary.BigEndian.Uint32(f[p.L4+4:]) {
				tb.Errorf("wire frame %d: sequence number", i)
			}
		}
	}
}

func arp(op uint16, src, dst packet.MAC, sender, target netip.Addr) []byte {
	s, t := sender.As4(), target.As4()
	return serialize(
		&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: op, SourceHwAddress: src[:], SourceProtAddress: s[:], DstHwAddress: make([]byte, 6), DstProtAddress: t[:]})
}

// solicit is a neighbour solicitation for target.
func solicit(src packet.MAC, sender, target netip.Addr) []byte {
	t := target.As16()
	dst := net.IP{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: t[13], 14: t[14], 15: t[15]}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: sender.AsSlice(), DstIP: dst}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)}
	check(icmp.SetNetworkLayerForChecksum(ip))
	ns := &layers.ICMPv6NeighborSolicitation{TargetAddress: t[:]}
	if !sender.IsUnspecified() {
		ns.Options = layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: src[:]}}
	}
	return serialize(
		&layers.Ethernet{SrcMAC: src[:], DstMAC: net.HardwareAddr{0x33, 0x33, 0xff, t[13], t[14], t[15]},
			EthernetType: layers.EthernetTypeIPv6}, ip, icmp, ns)
}
