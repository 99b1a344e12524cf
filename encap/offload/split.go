package offload

import (
	"encoding/binary"

	"vtepd/encap/packet"
)

// TCP flags.
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpURG = 0x20
	tcpCWR = 0x80
)

// A Splitter cuts super-frames. Its zero value is ready. It is reused by one
// goroutine, so that what the wire frames of one super-frame share is computed
// once.
type Splitter struct {
	g       *GSO
	l3, l4  int
	hdr     int // bytes up to the payload
	v4, tcp bool
	base    uint64 // sum of what the L4 checksums have in common
	ipBase  uint64 // sum of the IPv4 header less total length, ID and checksum
	id      uint16
	seq     uint32
	flags   uint8
	noCsum  bool // UDP over IPv4 without a checksum stays without
}

// Split writes the wire frames of a validated super-frame to dst back to back,
// each behind prefix, with lengths, IPv4 IDs, sequence numbers, flags and
// checksums of their own (kernel: tcp_gso_segment, __udp_gso_segment). It
// returns the bytes written, the size of every wire frame but the last, prefix
// included, and their number; all 0 when dst is too small. The L4 checksum of
// frame must be unfinished (NeedsCsum), else Split checks it and refuses a wrong
// one, as it does with that of the IPv4 header: cutting must not make a bad
// checksum good.
func (s *Splitter) Split(dst, prefix, frame []byte, p *packet.Parsed, g *GSO) (n, segSize, frames int) {
	if !g.NeedsCsum && p.L4Checksum(frame) == packet.CsumBad || badHeader(frame, p) {
		return 0, 0, 0
	}
	s.begin(frame, p, g)
	payload := frame[s.hdr:p.End]
	size := int(g.Size)
	frames = (len(payload) + size - 1) / size
	if need := frames*(len(prefix)+s.hdr) + len(payload); need > len(dst) {
		return 0, 0, 0
	}
	head := frame[:s.hdr]
	for i := range frames {
		part := payload[i*size : min((i+1)*size, len(payload))]
		n += copy(dst[n:], prefix)
		out := dst[n : n+s.hdr+len(part)]
		copy(out, head)
		if s.noCsum {
			copy(out[s.hdr:], part)
			s.finish(out, i, i == frames-1, 0)
		} else {
			s.finish(out, i, i == frames-1, packet.CopySum(out[s.hdr:], part, s.base))
		}
		n += len(out)
	}
	return n, len(prefix) + s.hdr + min(size, len(payload)), frames
}

// begin computes what the wire frames share.
func (s *Splitter) begin(frame []byte, p *packet.Parsed, g *GSO) {
	*s = Splitter{g: g, l3: p.L3, l4: p.L4, hdr: int(g.HdrLen), v4: p.Kind == packet.IPv4, tcp: g.Type != UDP}
	ip, l4 := frame[p.L3:], frame[p.L4:]
	if s.v4 {
		s.id = binary.BigEndian.Uint16(ip[4:])
		s.ipBase = packet.Sum(ip[:p.L4-p.L3], 0) + inverse(ip[2:]) + inverse(ip[4:]) + inverse(ip[10:])
	}
	pseudo := p.PseudoSum(frame)
	if at := p.L4 + int(g.CsumOffset); g.NeedsCsum {
		// As it stands there: with a routing header the addresses are others,
		// and a wrong one stays wrong.
		pseudo = uint64(binary.BigEndian.Uint16(frame[at:]))
	}
	s.base = pseudo + uint64(^uint16(p.End-p.L4))
	if s.tcp {
		s.seq = binary.BigEndian.Uint32(l4[4:])
		s.flags = l4[13]
		// The header less sequence number, flags and checksum.
		s.base += packet.Sum(l4[:s.hdr-p.L4], 0) + inverse(l4[4:]) + inverse(l4[6:]) + inverse(l4[16:]) +
			uint64(^uint16(s.flags))
		return
	}
	s.noCsum = s.v4 && !g.NeedsCsum && binary.BigEndian.Uint16(l4[6:]) == 0
	s.base += uint64(binary.BigEndian.Uint32(l4)>>16) + uint64(binary.BigEndian.Uint32(l4)&0xffff)
}

// badHeader reports whether the IPv4 header checksum of a frame is wrong.
func badHeader(frame []byte, p *packet.Parsed) bool {
	return p.Kind == packet.IPv4 && packet.Fold(packet.Sum(frame[p.L3:p.L4], 0)) != 0xffff
}

// inverse takes a 16-bit word out of a one's complement sum.
func inverse(b []byte) uint64 { return uint64(^binary.BigEndian.Uint16(b)) }

// finish makes the header copy in out, wire frame i, its own. sum is what the L4
// checksums have in common and that of the payload.
func (s *Splitter) finish(out []byte, i int, last bool, sum uint64) {
	ip, l4 := out[s.l3:], out[s.l4:]
	if s.v4 {
		total, id := uint16(len(ip)), s.id+uint16(i)
		binary.BigEndian.PutUint16(ip[2:], total)
		binary.BigEndian.PutUint16(ip[4:], id)
		binary.BigEndian.PutUint16(ip[10:], ^packet.Fold(s.ipBase+uint64(total)+uint64(id)))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	}
	sum += uint64(len(l4))
	if s.tcp {
		seq := s.seq + uint32(i)*uint32(s.g.Size)
		flags := s.flags
		if !last {
			flags &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			flags &^= tcpCWR
		}
		binary.BigEndian.PutUint32(l4[4:], seq)
		l4[13] = flags
		sum += uint64(seq>>16) + uint64(seq&0xffff) + uint64(flags)
		binary.BigEndian.PutUint16(l4[16:], ^packet.Fold(sum))
		return
	}
	binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	if s.noCsum {
		return
	}
	c := ^packet.Fold(sum + uint64(len(l4)))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(l4[6:], c)
}
