package offload_test

import (
	"bytes"
	"encoding/binary"
	"net"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// The frames of these tests are written and read by gopacket, and their
// checksums checked by the plain arithmetic of naiveSum, so that nothing rests
// on what is tested. Slices have no spare capacity: who reads beyond a frame
// panics.

var (
	macA = packet.MAC{0x02, 0, 0, 0, 0, 0x0a} // sends
	macB = packet.MAC{0x02, 0, 0, 0, 0, 0x0b}

	addrA4, addrB4 = net.IP{192, 0, 2, 10}, net.IP{198, 51, 100, 11}
	addrA6, addrB6 = net.ParseIP("2001:db8::a"), net.ParseIP("2001:db8::b")
)

// Bits of byte 13 of a TCP header.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
	ece
	cwr
)

// A csum is the form that a test frame's L4 checksum has.
type csum uint8

const (
	good    csum = iota
	partial      // only the pseudo-header's sum
	bad
	zero
)

// A recipe is a frame to be made, and what gopacket reads from one. Its zero
// value is an empty TCP segment over IPv4 without any flag.
type recipe struct {
	V6, UDP      bool
	Tags         []uint16 // VLANs
	TOS, TTL     uint8
	ID           uint16 // IPv4
	DF, Evil     bool   // IPv4
	IPOptions    int    // IPv4: bytes of options, all NOP; IPv6: bytes of destination options
	Label        uint32 // IPv6
	Src          uint16 // port
	Seq, Ack     uint32
	Flags        uint8
	NS           bool
	Window       uint16
	Urgent       uint16
	Options      string // TCP: bytes, a multiple of 4
	Body         string
	Csum         csum
	BadIPCsum    bool
	Padding      int
	DstMAC       packet.MAC
	UDPLenOffset int // added to the length in the UDP header
}

// segment is a TCP segment as it stands in the middle of a bulk transfer.
func segment(v6 bool, seq uint32, body string) recipe {
	return recipe{V6: v6, TTL: 64, ID: uint16(seq), DF: true, Src: 40000, Seq: seq, Ack: 77, Flags: ack, Window: 500, Body: body}
}

// datagram is a UDP datagram.
func datagram(v6 bool, id uint16, body string) recipe {
	return recipe{V6: v6, UDP: true, TTL: 64, ID: id, Src: 40000, Body: body}
}

// text returns n bytes that differ from those of another start.
func text(start, n int) string {
	b := make([]byte, n)
	for i := range b {
		x := start + i
		b[i] = byte(x ^ x>>8*31)
	}
	return string(b)
}

// frame serializes the recipe.
func (r recipe) frame(tb rapid.TB) []byte {
	tb.Helper()
	ls, l3 := r.link()
	network, headers := r.network(tb)
	ls = append(ls, headers...)
	ls = append(ls, r.transport(tb, network)...)
	ls = append(ls, gopacket.Payload(r.Body))
	buf := gopacket.NewSerializeBuffer()
	must(tb, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	b := buf.Bytes()
	ip, total := b[l3:], 0
	if r.V6 {
		total = 40 + int(binary.BigEndian.Uint16(ip[4:]))
	} else {
		total = int(binary.BigEndian.Uint16(ip[2:]))
	}
	b = bytes.Clone(b[:l3+total]) // gopacket pads short Ethernet frames
	r.spoil(tb, b)
	b = append(b, bytes.Repeat([]byte{0xee}, r.Padding)...)
	return b[:len(b):len(b)]
}

func (r recipe) link() (ls []gopacket.SerializableLayer, l3 int) {
	typ := layers.EthernetTypeIPv4
	if r.V6 {
		typ = layers.EthernetTypeIPv6
	}
	dst := r.DstMAC
	if dst.IsZero() {
		dst = macB
	}
	eth := &layers.Ethernet{SrcMAC: macA[:], DstMAC: dst[:], EthernetType: typ}
	ls = []gopacket.SerializableLayer{eth}
	for i, vlan := range r.Tags {
		tag := &layers.Dot1Q{VLANIdentifier: vlan, Type: layers.EthernetTypeDot1Q}
		if i == len(r.Tags)-1 {
			tag.Type = typ
		}
		eth.EthernetType = layers.EthernetTypeDot1Q
		ls = append(ls, tag)
	}
	return ls, 14 + 4*len(r.Tags)
}

func (r recipe) network(tb rapid.TB) (gopacket.NetworkLayer, []gopacket.SerializableLayer) {
	proto := layers.IPProtocolTCP
	if r.UDP {
		proto = layers.IPProtocolUDP
	}
	if !r.V6 {
		h := &layers.IPv4{Version: 4, TOS: r.TOS, TTL: r.TTL, Id: r.ID, Protocol: proto, SrcIP: addrA4, DstIP: addrB4}
		if r.DF {
			h.Flags |= layers.IPv4DontFragment
		}
		if r.Evil {
			h.Flags |= layers.IPv4EvilBit
		}
		for range r.IPOptions {
			h.Options = append(h.Options, layers.IPv4Option{OptionType: 1})
		}
		return h, []gopacket.SerializableLayer{h}
	}
	h := &layers.IPv6{Version: 6, TrafficClass: r.TOS, HopLimit: r.TTL, FlowLabel: r.Label, NextHeader: proto,
		SrcIP: addrA6, DstIP: addrB6}
	if r.IPOptions == 0 {
		return h, []gopacket.SerializableLayer{h}
	}
	if r.IPOptions%8 != 0 {
		tb.Fatalf("destination options of %d bytes", r.IPOptions)
	}
	h.NextHeader = layers.IPProtocolIPv6Destination
	// gopacket cannot write this header.
	d := make([]byte, r.IPOptions)
	d[0], d[1], d[2], d[3] = byte(proto), byte(r.IPOptions/8-1), 1, byte(r.IPOptions-4)
	return h, []gopacket.SerializableLayer{h, gopacket.Payload(d)}
}

func (r recipe) transport(tb rapid.TB, network gopacket.NetworkLayer) []gopacket.SerializableLayer {
	if r.UDP {
		u := &layers.UDP{SrcPort: layers.UDPPort(r.Src), DstPort: 9}
		must(tb, u.SetNetworkLayerForChecksum(network))
		return []gopacket.SerializableLayer{u}
	}
	f := r.Flags
	t := &layers.TCP{SrcPort: layers.TCPPort(r.Src), DstPort: 80, Seq: r.Seq, Ack: r.Ack, Window: r.Window, Urgent: r.Urgent,
		FIN: f&fin != 0, SYN: f&syn != 0, RST: f&rst != 0, PSH: f&psh != 0, ACK: f&ack != 0, URG: f&urg != 0,
		ECE: f&ece != 0, CWR: f&cwr != 0, NS: r.NS}
	for i := 0; i+4 <= len(r.Options); i += 4 {
		// Four bytes of an experimental kind each.
		t.Options = append(t.Options, layers.TCPOption{OptionType: 253, OptionLength: 4, OptionData: []byte(r.Options[i+2 : i+4])})
	}
	must(tb, t.SetNetworkLayerForChecksum(network))
	return []gopacket.SerializableLayer{t}
}

// spoil gives the frame's checksums the wanted form.
func (r recipe) spoil(tb rapid.TB, b []byte) {
	p := parse(tb, b)
	at := csumField(p)
	if r.UDP {
		n := int(binary.BigEndian.Uint16(b[p.L4+4:])) + r.UDPLenOffset
		binary.BigEndian.PutUint16(b[p.L4+4:], uint16(n))
		if b[at] == 0 && b[at+1] == 0 { // gopacket does not know that 0 is sent as its other form (RFC 768)
			b[at], b[at+1] = 0xff, 0xff
		}
	}
	switch r.Csum {
	case good:
	case partial:
		binary.BigEndian.PutUint16(b[at:], naivePseudo(b, p))
	case bad:
		b[at] ^= 0x55
		b[at+1] ^= 0x0f
		if binary.BigEndian.Uint16(b[at:]) == naivePseudo(b, p) {
			b[at] ^= 0x20 // that would be the partial form
		}
	case zero:
		b[at], b[at+1] = 0, 0
	}
	if r.BadIPCsum {
		b[p.L3+10] ^= 0x55
	}
}

// naiveSum is the one's complement sum of RFC 1071 as its text has it.
func naiveSum(initial int, b []byte) uint16 {
	sum := initial
	for i, x := range b {
		sum += int(x) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// naivePseudo is the folded sum of the pseudo-header.
func naivePseudo(b []byte, p *packet.Parsed) uint16 {
	addrs := b[p.L3+12 : p.L3+20]
	if p.Kind == packet.IPv6 {
		addrs = b[p.L3+8 : p.L3+40]
	}
	return naiveSum(int(p.Proto)+p.End-p.L4, addrs)
}

// csumField is where the L4 checksum stands.
func csumField(p *packet.Parsed) int {
	if p.Proto == packet.ProtoUDP {
		return p.L4 + 6
	}
	return p.L4 + 16
}

// unfinished reports whether the frame's L4 checksum is the pseudo-header's sum.
// One in 65,536 is both that and good.
func unfinished(tb rapid.TB, b []byte) bool {
	p := parse(tb, b)
	return binary.BigEndian.Uint16(b[csumField(p):]) == naivePseudo(b, p)
}

// state is what the frame's L4 checksum is by plain arithmetic.
func state(tb rapid.TB, b []byte) csum {
	p := parse(tb, b)
	switch {
	case p.Proto == packet.ProtoUDP && binary.BigEndian.Uint16(b[csumField(p):]) == 0:
		return zero
	case naiveSum(int(naivePseudo(b, p)), b[p.L4:p.End]) == 0xffff:
		return good
	case unfinished(tb, b):
		return partial
	}
	return bad
}

// read has gopacket read a frame that this file made.
func read(tb rapid.TB, b []byte) recipe {
	tb.Helper()
	d := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if d.TransportLayer() == nil || d.Metadata().Truncated {
		tb.Fatalf("gopacket finds a fault in %x: %v", b, d)
	}
	var r recipe
	for _, l := range d.Layers() {
		switch l := l.(type) {
		case *layers.Dot1Q:
			r.Tags = append(r.Tags, l.VLANIdentifier)
		case *layers.IPv4:
			r.TOS, r.TTL, r.ID, r.IPOptions = l.TOS, l.TTL, l.Id, int(l.IHL)*4-20
			r.DF, r.Evil = l.Flags&layers.IPv4DontFragment != 0, l.Flags&layers.IPv4EvilBit != 0
			r.BadIPCsum = naiveSum(0, l.Contents) != 0xffff
		case *layers.IPv6:
			r.V6, r.TOS, r.TTL, r.Label = true, l.TrafficClass, l.HopLimit, l.FlowLabel
		case *layers.IPv6Destination:
			r.IPOptions = l.ActualLength
		case *layers.TCP:
			r.Src, r.Seq, r.Ack, r.Window, r.Urgent = uint16(l.SrcPort), l.Seq, l.Ack, l.Window, l.Urgent
			r.Flags, r.NS, r.Options, r.Body = l.Contents[13], l.NS, string(l.Contents[20:]), string(l.Payload)
		case *layers.UDP:
			r.UDP, r.Src, r.Body = true, uint16(l.SrcPort), string(l.Payload)
			if int(l.Length) != 8+len(l.Payload) {
				tb.Errorf("a UDP length of %d with %d bytes", l.Length, len(l.Payload))
			}
		}
	}
	r.Csum = state(tb, b)
	return r
}

func parse(tb rapid.TB, frame []byte) *packet.Parsed {
	tb.Helper()
	p := new(packet.Parsed)
	if !p.Parse(frame) {
		tb.Fatalf("Parse refuses %x", frame)
	}
	return p
}

// super makes the super-frame of a recipe, and what a device says of it.
func (r recipe) super(tb rapid.TB, size int) ([]byte, *packet.Parsed, offload.GSO) {
	tb.Helper()
	if r.Csum == good {
		r.Csum = partial
	}
	b := r.frame(tb)
	p := parse(tb, b)
	g := offload.GSO{Type: offload.TCPv4, NeedsCsum: true, Size: uint16(size), HdrLen: uint16(p.L4 + 20 + len(r.Options)),
		CsumStart: uint16(p.L4), CsumOffset: 16}
	switch {
	case r.UDP:
		g.Type, g.HdrLen, g.CsumOffset = offload.UDP, uint16(p.L4+8), 6
	case r.V6:
		g.Type = offload.TCPv6
	}
	return b, p, g
}

func must(tb rapid.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
