package packet

import (
	"encoding/binary"
	"net/netip"
)

const (
	icmpNS       = 135 // RFC 4861 §4.3
	icmpNA       = 136 // RFC 4861 §4.4
	icmpRedirect = 137 // RFC 4861 §4.5
	nsLen        = 24  // without options
	naLen        = 32  // with a target link-layer address option
)

// NeighbourSolicit reads a neighbour solicitation, valid by RFC 4861 §7.1.1.
// dad says that the sender asks for an address it wants for itself (RFC 4862
// §5.4).
func NeighbourSolicit(frame []byte, p *Parsed) (target netip.Addr, dad, ok bool) {
	if p.Kind != IPv6 || p.Proto != ProtoICMPv6 || p.L4 == 0 || p.Options || p.Fragment || p.TTL != 255 {
		return
	}
	b := frame[p.L4:p.End]
	if len(b) < nsLen || b[0] != icmpNS || b[1] != 0 || p.L4Checksum(frame) != CsumGood {
		return
	}
	target = netip.AddrFrom16([16]byte(b[8:24]))
	src := netip.AddrFrom16([16]byte(p.addrs(frame)[:16]))
	dad = src.IsUnspecified()
	if target.IsMulticast() || !validOptions(b[nsLen:], dad) || dad && !solicitedNode(p.addrs(frame)[16:]) {
		return netip.Addr{}, false, false
	}
	return target, dad, true
}

// solicitedNode reports whether a is in ff02::1:ff00:0/104 (RFC 4291 §2.7.1).
func solicitedNode(a []byte) bool {
	return [13]byte(a) == [13]byte{0: 0xff, 1: 0x02, 11: 0x01, 12: 0xff}
}

// validOptions reports whether ND options fill b with none of length 0. In
// duplicate address detection there must be no source link-layer address.
func validOptions(b []byte, dad bool) bool {
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || len(b) < 8*int(b[1]) || dad && b[0] == 1 {
			return false
		}
		b = b[8*int(b[1]):]
	}
	return true
}

// NeighbourAdvert writes to dst the frame that answers the solicitation in
// frame: its target is at mac. To a sender without an address it goes to all
// nodes, unsolicited (RFC 4861 §7.2.4). It returns the frame's length in bytes,
// 0 when frame is no solicitation or dst is too small.
func NeighbourAdvert(dst, frame []byte, p *Parsed, mac MAC) int {
	target, dad, ok := NeighbourSolicit(frame, p)
	n := p.L3 + ipv6Len + naLen
	if !ok || len(dst) < n {
		return 0
	}
	answerEthernet(dst, frame, p, mac)
	to := [16]byte(p.addrs(frame)[:16])
	flags := uint32(0x6000_0000) // solicited, override
	if dad {
		to = [16]byte{0: 0xff, 1: 0x02, 15: 1}
		copy(dst, []byte{0x33, 0x33, 0, 0, 0, 1})
		flags = 0x2000_0000
	}
	t := target.As16()
	putIPv6(dst[p.L3:], naLen, 255, t, to)
	b := dst[p.L3+ipv6Len : n]
	clear(b)
	b[0] = icmpNA
	binary.BigEndian.PutUint32(b[4:], flags)
	copy(b[8:], t[:])
	b[24], b[25] = 2, 1 // target link-layer address, 8 bytes
	copy(b[26:], mac[:])
	putICMPv6Checksum(dst[p.L3:n])
	return n
}

// putIPv6 writes an IPv6 header for an ICMPv6 message of n bytes.
func putIPv6(dst []byte, n int, hops uint8, from, to [16]byte) {
	binary.BigEndian.PutUint32(dst, 6<<28)
	binary.BigEndian.PutUint16(dst[4:], uint16(n))
	dst[6], dst[7] = ProtoICMPv6, hops
	copy(dst[8:], from[:])
	copy(dst[24:], to[:])
}

// putICMPv6Checksum completes the message behind the IPv6 header that fills
// packet.
func putICMPv6Checksum(packet []byte) {
	binary.BigEndian.PutUint16(packet[ipv6Len+2:], 0)
	pseudo := Sum(packet[8:40], uint64(ProtoICMPv6)+uint64(len(packet)-ipv6Len))
	binary.BigEndian.PutUint16(packet[ipv6Len+2:], ^Fold(Sum(packet[ipv6Len:], pseudo)))
}
