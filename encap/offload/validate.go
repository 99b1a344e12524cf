package offload

import (
	"vtepd/encap/drop"
	"vtepd/encap/packet"
)

// Validate holds what a device or a tunnel said of a frame against the frame's
// own bytes, and replaces HdrLen, CsumStart and CsumOffset by what is true. It
// returns Malformed where they contradict each other: then nothing may be cut or
// completed.
func Validate(frame []byte, p *packet.Parsed, g *GSO) drop.Reason {
	if g.Type == None {
		return validateCsum(frame, p, g)
	}
	hdr, off := l4HeaderLen(frame, p)
	switch {
	case hdr == 0, p.Fragment, g.Size == 0, p.End <= p.L4+hdr,
		g.Type == TCPv4 && (p.Kind != packet.IPv4 || p.Proto != packet.ProtoTCP),
		g.Type == TCPv6 && (p.Kind != packet.IPv6 || p.Proto != packet.ProtoTCP),
		g.Type == UDP && p.Proto != packet.ProtoUDP:
		return drop.Malformed
	}
	g.CsumStart, g.CsumOffset, g.HdrLen = uint16(p.L4), off, uint16(p.L4+hdr)
	return drop.None
}

// validateCsum checks a wire frame whose checksum is left to us. It may be of
// a protocol that we do not look into.
func validateCsum(frame []byte, p *packet.Parsed, g *GSO) drop.Reason {
	if !g.NeedsCsum {
		return drop.None
	}
	start, at := int(g.CsumStart), int(g.CsumStart)+int(g.CsumOffset)
	if start < packet.EthernetLen || at+2 > len(frame) {
		return drop.Malformed
	}
	return drop.None
}

// l4HeaderLen returns the length of a TCP or UDP header and the offset of its
// checksum, 0 when there is none or it does not fit.
func l4HeaderLen(frame []byte, p *packet.Parsed) (hdr int, csum uint16) {
	if p.L4 == 0 {
		return 0, 0
	}
	switch p.Proto {
	case packet.ProtoTCP:
		n := int(frame[p.L4+12]>>4) * 4
		if n < 20 || p.L4+n > p.End {
			return 0, 0
		}
		return n, 16
	case packet.ProtoUDP:
		return 8, 6
	}
	return 0, 0
}

// WireFrames returns into how many wire frames a validated frame of frameLen
// bytes, padding not counted, is cut, and the length in bytes of the largest.
func WireFrames(frameLen int, g *GSO) (frames, largest int) {
	if g.Type == None {
		return 1, frameLen
	}
	payload := frameLen - int(g.HdrLen)
	size := int(g.Size)
	return (payload + size - 1) / size, int(g.HdrLen) + min(size, payload)
}

// Complete finishes the checksum of a validated wire frame that NeedsCsum, in
// place, and clears NeedsCsum.
func Complete(frame []byte, p *packet.Parsed, g *GSO) {
	start, at := int(g.CsumStart), int(g.CsumStart)+int(g.CsumOffset)
	end := len(frame)
	if (p.Kind == packet.IPv4 || p.Kind == packet.IPv6) && start < p.End && at+2 <= p.End {
		end = p.End // what follows is padding
	}
	// The field holds the pseudo-header's sum, so it takes part.
	sum := ^packet.Fold(packet.Sum(frame[start:end], 0))
	if sum == 0 && p.Proto == packet.ProtoUDP && start == p.L4 {
		sum = 0xffff
	}
	frame[at], frame[at+1] = byte(sum>>8), byte(sum)
	g.NeedsCsum = false
}

// SuperFromDatagram tells how a super-frame that a kernel peer sent whole
// through the tunnel, its checksum unfinished, is to be cut. mtu is the device's
// in bytes; segment, when not 0, is the size that came with the datagram, the
// only way to know a UDP super-frame's.
func SuperFromDatagram(frame []byte, p *packet.Parsed, mtu, segment int) (GSO, bool) {
	hdr, off := l4HeaderLen(frame, p)
	if hdr == 0 || p.Fragment || p.End != len(frame) { // a device would take padding for payload
		return GSO{}, false
	}
	room := mtu - (p.L4 + hdr - p.L3)
	g := GSO{NeedsCsum: true, HdrLen: uint16(p.L4 + hdr), CsumStart: uint16(p.L4), CsumOffset: off}
	known := segment > 0 && segment <= room
	if known {
		room = segment
	}
	switch {
	case p.Proto == packet.ProtoTCP && p.Kind == packet.IPv4:
		g.Type = TCPv4
	case p.Proto == packet.ProtoTCP:
		g.Type = TCPv6
	case known:
		g.Type = UDP
	default:
		return GSO{}, false
	}
	if room <= 0 || p.End <= p.L4+hdr {
		return GSO{}, false
	}
	g.Size = uint16(min(room, 0xffff))
	return g, true
}
