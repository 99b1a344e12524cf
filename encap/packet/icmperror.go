package packet

import "encoding/binary"

// maxQuote is the largest ICMPv6 error in bytes, its IPv6 header included
// (RFC 4443 §2.4 c); ICMPv4 errors quote up to the old 576 (RFC 1812 §4.3.2.3).
const (
	maxQuote  = 1280
	maxQuote4 = 576
)

// FragNeeded writes to dst the ICMP "fragmentation needed" (RFC 1191 §4) that
// answers the IPv4 packet in frame, from its destination's IP and MAC to its
// source: packets of mtu bytes fit. It returns the frame's length in bytes, 0
// where none may be sent: without DF, and as with [Unreachable].
func FragNeeded(dst, frame []byte, p *Parsed, mtu int) int {
	if p.Kind != IPv4 || !p.DF {
		return 0
	}
	return icmp4Error(dst, frame, p, 3, 4, uint32(min(mtu, 0xffff)))
}

// TooBig writes to dst the ICMPv6 "packet too big" (RFC 4443 §3.2) that
// answers the IPv6 packet in frame, as FragNeeded does. It answers fragments
// too, but neither ICMPv6 errors and redirects (RFC 4443 §2.4 e) nor packets to
// groups: a group is no source.
func TooBig(dst, frame []byte, p *Parsed, mtu int) int {
	if p.Kind != IPv6 {
		return 0
	}
	return icmp6Error(dst, frame, p, 2, uint32(mtu))
}

// Unreachable writes to dst the ICMP "network unreachable" (RFC 1812 §5.2.7.1)
// or the ICMPv6 "no route to destination" (RFC 4443 §3.1) that answers the IP
// packet in frame, from its destination's IP and MAC to its source. It returns
// the frame's length in bytes, 0 where none may be sent (RFC 1122 §3.2.2): for
// ICMP errors, for fragments but the first, and to or for groups.
func Unreachable(dst, frame []byte, p *Parsed) int {
	switch p.Kind {
	case IPv4:
		return icmp4Error(dst, frame, p, 3, 0, 0)
	case IPv6:
		return icmp6Error(dst, frame, p, 1, 0)
	}
	return 0
}

// icmp4Error answers an IPv4 packet. rest is the header's last word.
func icmp4Error(dst, frame []byte, p *Parsed, typ, code uint8, rest uint32) int {
	if !p.answerable() {
		return 0
	}
	ip := frame[p.L3:p.End]
	if ip[6]&0x1f != 0 || ip[7] != 0 || !unicast4(ip[12:16]) || !unicast4(ip[16:20]) {
		return 0
	}
	if p.Proto == ProtoICMP && (p.L4 == 0 || !icmp4Query(frame[p.L4])) {
		return 0
	}
	quote := min(len(ip), maxQuote4-ipv4Len-8)
	n := p.L3 + ipv4Len + 8 + quote
	if len(dst) < n {
		return 0
	}
	answerEthernet(dst, frame, p, p.Dst)
	h := dst[p.L3:n]
	clear(h[:ipv4Len+8])
	h[0], h[1], h[8], h[9] = 0x45, 0xc0, 64, ProtoICMP // precedence: RFC 1812 §4.3.2.5
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
	copy(h[12:16], ip[16:20])
	copy(h[16:20], ip[12:16])
	binary.BigEndian.PutUint16(h[10:], ^Fold(Sum(h[:ipv4Len], 0)))
	m := h[ipv4Len:]
	m[0], m[1] = typ, code
	binary.BigEndian.PutUint32(m[4:], rest)
	copy(m[8:], ip[:quote])
	binary.BigEndian.PutUint16(m[2:], ^Fold(Sum(m, 0)))
	return n
}

// icmp6Error answers an IPv6 packet. rest is the header's last word.
func icmp6Error(dst, frame []byte, p *Parsed, typ uint8, rest uint32) int {
	if !p.answerable() {
		return 0
	}
	ip := frame[p.L3:p.End]
	if ip[8] == 0xff || [16]byte(ip[8:24]) == ([16]byte{}) || ip[24] == 0xff {
		return 0
	}
	if p.Proto == ProtoICMPv6 && (p.L4 == 0 || frame[p.L4] < 128 || frame[p.L4] == icmpRedirect) {
		return 0
	}
	quote := min(len(ip), maxQuote-ipv6Len-8)
	n := p.L3 + ipv6Len + 8 + quote
	if len(dst) < n {
		return 0
	}
	answerEthernet(dst, frame, p, p.Dst)
	h := dst[p.L3:n]
	putIPv6(h, 8+quote, 64, [16]byte(ip[24:40]), [16]byte(ip[8:24]))
	m := h[ipv6Len:]
	m[0], m[1], m[2], m[3] = typ, 0, 0, 0
	binary.BigEndian.PutUint32(m[4:], rest)
	copy(m[8:], ip[:quote])
	putICMPv6Checksum(h)
	return n
}

// answerable reports whether frame came from one station to one station.
func (p *Parsed) answerable() bool { return !p.Dst.IsMulticast() && !p.Src.IsMulticast() }

func unicast4(a []byte) bool { return a[0] != 0 && a[0] < 224 && a[0] != 127 }

// icmp4Query reports whether an ICMPv4 type is a query or its answer, so that
// an error may be sent for it.
func icmp4Query(t uint8) bool {
	switch t {
	case 0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43:
		return true
	}
	return false
}
