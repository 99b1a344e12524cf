package packet

import "encoding/binary"

// The ECN codepoints (RFC 3168 §5).
const (
	notECT = 0
	ect1   = 1
	ect0   = 2
	ce     = 3
)

// OuterTOS returns the outer TOS or traffic class for a frame: the DSCP of
// base, and the inner ECN bits with CE sent as ECT(0) (RFC 3168 §9.1.1, as the
// kernel's ip_tunnel_ecn_encap does; RFC 6040 §4.2 decapsulators see no
// difference, since the inner CE stays).
func OuterTOS(p *Parsed, base uint8) uint8 {
	base &^= 3
	if p.Kind != IPv4 && p.Kind != IPv6 {
		return base
	}
	ecn := p.TOS & 3
	if ecn == ce {
		ecn = ect0
	}
	return base | ecn
}

// MergeECN merges the outer ECN bits into the inner header at decapsulation
// (RFC 6040 §4.2, kernel: INET_ECN_decapsulate). It reports false for the one
// combination that must be dropped: outer CE over inner Not-ECT. frame is
// changed in place, with its IPv4 header checksum, and p with it.
func (p *Parsed) MergeECN(frame []byte, outerTOS uint8) bool {
	if p.Kind != IPv4 && p.Kind != IPv6 {
		return true
	}
	inner, outer := p.TOS&3, outerTOS&3
	if inner == notECT {
		return outer != ce
	}
	merged := inner
	switch {
	case outer == ce:
		merged = ce
	case outer == ect1 && inner == ect0:
		merged = ect1
	}
	if merged != inner {
		p.setTOS(frame, p.TOS&^3|merged)
	}
	return true
}

func (p *Parsed) setTOS(frame []byte, tos uint8) {
	ip := frame[p.L3:]
	if p.Kind == IPv6 {
		ip[0] = ip[0]&0xf0 | tos>>4
		ip[1] = ip[1]&0x0f | tos<<4
		p.TOS = tos
		return
	}
	// RFC 1624 §3, eqn. 3: HC' = ~(~HC + ~m + m').
	sum := uint64(^binary.BigEndian.Uint16(ip[10:])) + uint64(^uint16(p.TOS)) + uint64(tos)
	binary.BigEndian.PutUint16(ip[10:], ^Fold(sum))
	ip[1], p.TOS = tos, tos
}
