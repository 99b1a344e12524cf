package encap

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap/packet"
)

// A Decoded is what the outer headers of a captured frame say, and where the
// inner frame is. Its slices point into the decoded frame.
type Decoded struct {
	Outer
	// Length is that of the outer UDP payload in bytes, the VXLAN header
	// included.
	Length int
	// Inner is the inner frame. Nothing looked into it yet: it is for package
	// packet only.
	Inner []byte
}

// A Decoder reads the outer headers of captured frames with gopacket, which
// stops at the VXLAN header: inner bytes are hostile and never given to it. One
// goroutine uses it.
type Decoder struct {
	parser *gopacket.DecodingLayerParser
	types  []gopacket.LayerType
	eth    layers.Ethernet
	tag    layers.Dot1Q
	ip4    layers.IPv4
	ip6    layers.IPv6
	udp    layers.UDP
	vxlan  layers.VXLAN
}

// NewDecoder makes a Decoder for Ethernet frames.
func NewDecoder() *Decoder {
	d := new(Decoder)
	d.parser = gopacket.NewDecodingLayerParser(layers.LayerTypeEthernet, &d.eth, &d.tag, &d.ip4, &d.ip6, &d.udp)
	d.parser.IgnoreUnsupported = true
	return d
}

// ErrNotVXLAN is in the chain of the errors for frames that are something else.
var ErrNotVXLAN = errors.New("not VXLAN")

// Decode reads the outer headers of frame. UDP to port 4789 counts as VXLAN;
// to any other port if it starts with a VXLAN header whose reserved bits are
// zero.
func (d *Decoder) Decode(frame []byte) (out Decoded, err error) {
	defer func() { // gopacket recovers by itself, but for the VXLAN layer below
		if p := recover(); p != nil {
			err = fmt.Errorf("outer headers contradict themselves: %v", p)
		}
	}()
	d.types = d.types[:0]
	if err := d.parser.DecodeLayers(frame[:len(frame):len(frame)], &d.types); err != nil {
		return out, fmt.Errorf("outer headers: %w", err)
	}
	if n := len(d.types); n == 0 || d.types[n-1] != layers.LayerTypeUDP {
		return out, fmt.Errorf("%s: %w", d.names(), ErrNotVXLAN)
	}
	b := d.udp.Payload
	if len(b) < HeaderLen || d.udp.DstPort != Port && !looksLikeVXLAN(b) {
		return out, fmt.Errorf("UDP port %d to %d: %w", d.udp.SrcPort, d.udp.DstPort, ErrNotVXLAN)
	}
	if err := d.vxlan.DecodeFromBytes(b[:HeaderLen:HeaderLen], gopacket.NilDecodeFeedback); err != nil {
		return out, fmt.Errorf("VXLAN header: %w", err)
	}
	if !d.vxlan.ValidIDFlag {
		return out, fmt.Errorf("VXLAN header without the I flag: %w", ErrNotVXLAN)
	}
	out = Decoded{Outer: d.outer(), Length: len(b), Inner: b[HeaderLen:len(b):len(b)]}
	return out, nil
}

// looksLikeVXLAN reports whether b starts with a VXLAN header as VTEPs send it.
func looksLikeVXLAN(b []byte) bool {
	return b[0] == 0x08 && b[1]|b[2]|b[3]|b[7] == 0
}

// outer gathers the fields of the layers that were just decoded.
func (d *Decoder) outer() Outer {
	o := Outer{
		SrcMAC: mac(d.eth.SrcMAC), DstMAC: mac(d.eth.DstMAC),
		SrcPort: uint16(d.udp.SrcPort), DstPort: uint16(d.udp.DstPort),
		VNI: d.vxlan.VNI, Checksum: d.udp.Checksum != 0,
	}
	for _, t := range d.types {
		switch t {
		case layers.LayerTypeIPv4:
			o.Src, _ = netip.AddrFromSlice(d.ip4.SrcIP)
			o.Dst, _ = netip.AddrFromSlice(d.ip4.DstIP)
			o.TOS, o.TTL, o.DF = d.ip4.TOS, d.ip4.TTL, d.ip4.Flags&layers.IPv4DontFragment != 0
		case layers.LayerTypeIPv6:
			o.Src, _ = netip.AddrFromSlice(d.ip6.SrcIP)
			o.Dst, _ = netip.AddrFromSlice(d.ip6.DstIP)
			o.TOS, o.TTL, o.DF = d.ip6.TrafficClass, d.ip6.HopLimit, false
		}
	}
	return o
}

func mac(b []byte) packet.MAC {
	if len(b) != 6 {
		return packet.MAC{}
	}
	return packet.MAC(b)
}

// names returns the layers that were found, for messages.
func (d *Decoder) names() string {
	s := make([]string, 0, len(d.types))
	for _, t := range d.types {
		s = append(s, t.String())
	}
	if len(s) == 0 {
		return "nothing"
	}
	return strings.Join(s, "/")
}

// String returns the packet in one line, in the manner of tcpdump.
func (d Decoded) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v > %v: VXLAN vni %d, ttl %d, tos %#x", netip.AddrPortFrom(d.Src, d.SrcPort),
		netip.AddrPortFrom(d.Dst, d.DstPort), d.VNI, d.TTL, d.TOS)
	if d.DF {
		b.WriteString(", DF")
	}
	if !d.Checksum {
		b.WriteString(", no checksum")
	}
	fmt.Fprintf(&b, ", length %d", d.Length)
	var p packet.Parsed
	if p.Parse(d.Inner) {
		fmt.Fprintf(&b, ": %v > %v, ethertype %#04x, length %d", p.Src, p.Dst, p.EtherType, len(d.Inner))
	}
	return b.String()
}
