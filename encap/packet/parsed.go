// Package packet reads inner frames: zero-allocation views of Ethernet, VLAN
// tags, ARP, IPv4, IPv6, TCP, UDP, ICMP and ND, their checksums, and the few
// frames that a VTEP writes itself. Every byte may be hostile: lengths are
// checked against the frame, and what does not fit its own headers is of kind
// Other, which is forwarded but never looked into.
package packet

import (
	"encoding/binary"
	"net/netip"
)

// Sizes in bytes.
const (
	EthernetLen = 14
	TagLen      = 4
	ipv4Len     = 20
	ipv6Len     = 40
	tcpLen      = 20
	udpLen      = 8
)

// EtherTypes.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100 // IEEE 802.1Q
	etherQinQ = 0x88a8 // IEEE 802.1ad
)

// IP protocol numbers.
const (
	ProtoICMP   = 1
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// Kind is what an Ethernet frame carries.
type Kind uint8

// The kinds. Other is everything else, broken IP included.
const (
	Other Kind = iota
	ARP
	IPv4
	IPv6
)

// Parsed is what a frame's headers say. It is filled by Parse and reused from
// frame to frame. It keeps no reference to the frame.
type Parsed struct {
	Dst, Src  MAC
	EtherType uint16 // behind the tags
	Tags      uint8  // VLAN tags, at most 2 are looked through
	Kind      Kind
	L3        int   // offset of what follows the Ethernet header and tags
	L4        int   // offset of the L4 header; 0 when none can be reached (fragments but the first, no room)
	End       int   // offset where the IP packet ends by its own length, at most the frame's; padding follows
	Proto     uint8 // of the L4 header, behind IPv6 extension headers; valid for IPv4 and IPv6
	Fragment  bool  // a fragment, first ones included
	Options   bool  // has IPv4 options or IPv6 extension headers
	DF        bool  // IPv4: Don't Fragment
	TOS, TTL  uint8 // TOS or traffic class; TTL or hop limit
}

// Parse reads the headers of frame. It reports false only for a frame under 14
// bytes. It allocates nothing.
func (p *Parsed) Parse(frame []byte) bool {
	if len(frame) < EthernetLen {
		return false
	}
	*p = Parsed{Dst: MAC(frame[0:6]), Src: MAC(frame[6:12])}
	p.L3 = EthernetLen
	p.EtherType = binary.BigEndian.Uint16(frame[12:])
	for p.EtherType == etherVLAN || p.EtherType == etherQinQ {
		if p.Tags == 2 || len(frame) < p.L3+TagLen {
			p.Tags = max(p.Tags, 1)
			return true
		}
		p.Tags++
		p.EtherType = binary.BigEndian.Uint16(frame[p.L3+2:])
		p.L3 += TagLen
	}
	switch p.EtherType {
	case etherARP:
		p.Kind = ARP
	case etherIPv4:
		p.parseIPv4(frame)
	case etherIPv6:
		p.parseIPv6(frame)
	}
	return true
}

// HeaderCut reports whether frame says that it is IP and ends before the fixed
// part of the IP header does. The kernel's device drops such frames in both
// directions (pskb_inet_may_pull, skb_vlan_inet_prepare).
func (p *Parsed) HeaderCut(frame []byte) bool {
	return p.Kind == Other && (p.EtherType == etherIPv4 && len(frame) < p.L3+ipv4Len ||
		p.EtherType == etherIPv6 && len(frame) < p.L3+ipv6Len)
}

// CarriesIP reports whether a frame says that it is IPv4 or IPv6. Whether it is
// says Kind.
func (p *Parsed) CarriesIP() bool { return p.EtherType == etherIPv4 || p.EtherType == etherIPv6 }

// DstIP returns the IP destination of a frame of kind IPv4 or IPv6.
func (p *Parsed) DstIP(frame []byte) netip.Addr {
	if p.Kind == IPv4 {
		return netip.AddrFrom4([4]byte(frame[p.L3+16 : p.L3+20]))
	}
	return netip.AddrFrom16([16]byte(frame[p.L3+24 : p.L3+40]))
}

// SetEthernet makes the Ethernet addresses of a frame others.
func (p *Parsed) SetEthernet(frame []byte, dst, src MAC) {
	copy(frame, dst[:])
	copy(frame[6:], src[:])
	p.Dst, p.Src = dst, src
}

// PutBareEthernet writes to header, of EthernetLen bytes, what stands in front
// of an IP packet that has no Ethernet header: no addresses, and the EtherType
// that the packet's first byte says, 0 where it is no IP packet.
func PutBareEthernet(header []byte, first byte) {
	clear(header[:EthernetLen])
	switch first >> 4 {
	case 4:
		binary.BigEndian.PutUint16(header[12:], etherIPv4)
	case 6:
		binary.BigEndian.PutUint16(header[12:], etherIPv6)
	}
}

// parseIPv4 reads an IPv4 header (RFC 791 §3.1).
func (p *Parsed) parseIPv4(frame []byte) {
	ip := frame[p.L3:]
	if len(ip) < ipv4Len || ip[0]>>4 != 4 {
		return
	}
	ihl := int(ip[0]&15) * 4
	total := int(binary.BigEndian.Uint16(ip[2:]))
	if ihl < ipv4Len || total < ihl || total > len(ip) {
		return
	}
	p.Kind = IPv4
	p.Options = ihl > ipv4Len
	p.TOS, p.TTL, p.Proto = ip[1], ip[8], ip[9]
	frag := binary.BigEndian.Uint16(ip[6:])
	p.DF = frag&0x4000 != 0
	p.Fragment = frag&0x3fff != 0
	p.End = p.L3 + total
	if frag&0x1fff == 0 {
		p.setL4(p.L3 + ihl)
	}
}

// maxExtensions bounds how many IPv6 extension headers are walked through.
const maxExtensions = 8

// parseIPv6 reads an IPv6 header and the extension headers in front of the
// upper layer (RFC 8200 §3, §4).
func (p *Parsed) parseIPv6(frame []byte) {
	ip := frame[p.L3:]
	if len(ip) < ipv6Len || ip[0]>>4 != 6 {
		return
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(ip[4:]))
	if total > len(ip) {
		return
	}
	p.Kind = IPv6
	p.TOS, p.TTL, p.Proto = ip[0]<<4|ip[1]>>4, ip[7], ip[6]
	p.End = p.L3 + total
	at := p.L3 + ipv6Len
	for range maxExtensions {
		size := 0
		switch p.Proto {
		case 0, 43, 60: // hop-by-hop, routing, destination options
			if at+2 > p.End {
				return
			}
			size = 8 + 8*int(frame[at+1])
		case 51: // authentication header, RFC 4302 §2.2
			if at+2 > p.End {
				return
			}
			size = 8 + 4*int(frame[at+1])
		case 44: // fragment
			if at+8 > p.End {
				return
			}
			size = 8
			p.Fragment = true
			if binary.BigEndian.Uint16(frame[at+2:])&0xfff8 != 0 {
				p.Proto, p.Options = frame[at], true
				return
			}
		default:
			p.setL4(at)
			return
		}
		p.Options = true
		if at+size > p.End {
			return
		}
		p.Proto, at = frame[at], at+size
	}
}

// setL4 notes the L4 header at offset at if the packet holds all of it.
func (p *Parsed) setL4(at int) {
	need := 0
	switch p.Proto {
	case ProtoTCP:
		need = tcpLen
	case ProtoUDP:
		need = udpLen
	case ProtoICMP, ProtoICMPv6, ProtoSCTP:
		need = 4
	}
	if at+need <= p.End {
		p.L4 = at
	}
}

// addrs returns the IP source and destination as they stand in the frame.
func (p *Parsed) addrs(frame []byte) []byte {
	if p.Kind == IPv4 {
		return frame[p.L3+12 : p.L3+20]
	}
	return frame[p.L3+8 : p.L3+40]
}
