package encap

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap/packet"
)

// An Outer is the fields of all outer headers of a datagram.
type Outer struct {
	SrcMAC, DstMAC   packet.MAC
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	VNI              uint32
	TOS, TTL         uint8
	DF               bool // IPv4 only
	Checksum         bool // of the outer UDP header
}

// A Template is the outer headers of the datagrams to one remote, from the
// Ethernet header to the VXLAN header. gopacket builds it, and decodes it again
// to make sure of it; the data path only copies and patches. It is immutable
// and may be used by any goroutine.
type Template struct {
	b        []byte
	l4       int
	checksum bool
	ipBase   uint64 // IPv4: sum of the header less total length, TOS, TTL
	udpBase  uint64 // sum of addresses and protocol
}

// NewTemplate builds the headers that o describes, and checks that gopacket
// reads from them just what was asked.
func NewTemplate(o Outer) (*Template, error) {
	if o.VNI > MaxVNI || !o.Src.IsValid() || o.Src.Is4() != o.Dst.Is4() || o.Src.Is4In6() || o.Dst.Is4In6() {
		return nil, fmt.Errorf("no outer header leads from %v to %v with VNI %d", o.Src, o.Dst, o.VNI)
	}
	b, err := serialize(o)
	if err != nil {
		return nil, fmt.Errorf("outer header to %v: %w", o.Dst, err)
	}
	t := &Template{b: b, l4: packet.EthernetLen + 20, checksum: o.Checksum}
	addrs := b[packet.EthernetLen+12:][:8]
	if o.Src.Is6() {
		t.l4 = packet.EthernetLen + 40
		addrs = b[packet.EthernetLen+8:][:32]
	}
	t.udpBase = packet.Sum(addrs, packet.ProtoUDP)
	ip := append([]byte(nil), b[packet.EthernetLen:t.l4]...)
	ip[1], ip[2], ip[3], ip[8], ip[10], ip[11] = 0, 0, 0, 0, 0, 0
	t.ipBase = packet.Sum(ip, 0)
	return t, t.check(o)
}

// serialize has gopacket write the headers of an empty datagram.
func serialize(o Outer) ([]byte, error) {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr(o.SrcMAC[:]), DstMAC: net.HardwareAddr(o.DstMAC[:])}
	udp := &layers.UDP{SrcPort: layers.UDPPort(o.SrcPort), DstPort: layers.UDPPort(o.DstPort)}
	vxlan := &layers.VXLAN{ValidIDFlag: true, VNI: o.VNI}
	var ip interface {
		gopacket.SerializableLayer
		gopacket.NetworkLayer
	}
	ipLen := 20
	if o.Src.Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		v4 := &layers.IPv4{Version: 4, IHL: 5, TOS: o.TOS, TTL: o.TTL, Protocol: layers.IPProtocolUDP,
			SrcIP: o.Src.AsSlice(), DstIP: o.Dst.AsSlice()}
		if o.DF {
			v4.Flags = layers.IPv4DontFragment
		}
		ip = v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		ipLen = 40
		ip = &layers.IPv6{Version: 6, TrafficClass: o.TOS, HopLimit: o.TTL, NextHeader: layers.IPProtocolUDP,
			SrcIP: o.Src.AsSlice(), DstIP: o.Dst.AsSlice()}
	}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		return nil, err
	}
	buf := gopacket.NewSerializeBuffer()
	// The checksum is that of an empty datagram: Put replaces it.
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip, udp, vxlan)
	if err != nil {
		return nil, err
	}
	b := buf.Bytes()[:packet.EthernetLen+ipLen+8+HeaderLen] // behind it: padding of a short Ethernet frame
	switch at := len(b) - HeaderLen - 2; {
	case !o.Checksum:
		b[at], b[at+1] = 0, 0
	case b[at] == 0 && b[at+1] == 0: // zero is for none (RFC 768): gopacket leaves it
		b[at], b[at+1] = 0xff, 0xff
	}
	return b, nil
}

// check has gopacket decode the template and compares.
func (t *Template) check(o Outer) error {
	d, err := NewDecoder().Decode(t.b)
	if err != nil {
		return fmt.Errorf("outer header to %v does not decode: %w", o.Dst, err)
	}
	if o.Src.Is6() {
		o.DF = false
	}
	if d.Outer != o {
		return fmt.Errorf("outer header decodes to %+v, not %+v", d.Outer, o)
	}
	return nil
}

// Len returns the length in bytes of all headers.
func (t *Template) Len() int { return len(t.b) }

// L4 returns the offset of the outer UDP header.
func (t *Template) L4() int { return t.l4 }

// Header returns the VXLAN header.
func (t *Template) Header() Header { return Header(t.b[len(t.b)-HeaderLen:]) }

// Put writes the headers for an inner frame of the given number of bytes to
// dst, which must hold Len bytes. The outer UDP checksum is left unfinished: it
// is the folded pseudo-header sum, or 0 where the template has none.
func (t *Template) Put(dst []byte, inner int, srcPort uint16, tos, ttl uint8) {
	copy(dst[:len(t.b)], t.b)
	udpLen := len(t.b) - t.l4 + inner
	ip, udp := dst[packet.EthernetLen:], dst[t.l4:]
	if t.l4 == packet.EthernetLen+20 {
		total := 20 + udpLen
		ip[1], ip[8] = tos, ttl
		binary.BigEndian.PutUint16(ip[2:], uint16(total))
		sum := t.ipBase + uint64(tos) + uint64(total) + uint64(ttl)<<8
		binary.BigEndian.PutUint16(ip[10:], ^packet.Fold(sum))
	} else {
		ip[0], ip[1] = 0x60|tos>>4, tos<<4
		binary.BigEndian.PutUint16(ip[4:], uint16(udpLen))
		ip[7] = ttl
	}
	binary.BigEndian.PutUint16(udp, srcPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(udpLen))
	if t.checksum {
		binary.BigEndian.PutUint16(udp[6:], packet.Fold(t.udpBase+uint64(uint16(udpLen))))
	}
}

// Identify writes the IPv4 ID of a datagram whose headers Put wrote. Over IPv6 it
// does nothing.
func (t *Template) Identify(dst []byte, id uint16) {
	if t.l4 != packet.EthernetLen+20 {
		return
	}
	ip := dst[packet.EthernetLen:]
	binary.BigEndian.PutUint16(ip[4:], id)
	// Put left the ID zero, so it is only added (RFC 1624 §3, eqn. 3).
	sum := uint64(^binary.BigEndian.Uint16(ip[10:])) + uint64(id)
	binary.BigEndian.PutUint16(ip[10:], ^packet.Fold(sum))
}

// Finish computes the outer UDP checksum of a whole datagram whose headers Put
// wrote. Where the template has none it does nothing.
func (t *Template) Finish(datagram []byte) {
	if !t.checksum {
		return
	}
	udp := datagram[t.l4:]
	c := ^packet.Fold(packet.Sum(udp, 0)) // the field holds the pseudo-header's sum
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], c)
}
