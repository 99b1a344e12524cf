package offload

import (
	"encoding/binary"

	"vtepd/encap/packet"
)

// maxHeaders is the room for the headers of a frame that can be joined: two
// VLAN tags, IPv6, and TCP with all its options are 122 bytes.
const maxHeaders = 128

// A pattern is what the headers of the next full wire frame of a flow look
// like. It is made when it is first asked for.
type pattern struct {
	words  int // of mask and want; 0 before it is made
	mask   [maxHeaders / 8]uint64
	want   [maxHeaders / 8]uint64
	ip     uint64 // sum of the IPv4 header less ID and checksum
	pseudo uint64 // sum of the pseudo-header
}

// Follow does what Add does to a frame that is one more full wire frame of the
// flow that the last Add was of, and that completes nothing: it joins it and
// reports true. Such frames are most of bulk, and here their headers are
// compared with the first frame's in place of being parsed. Any other frame it
// leaves alone and reports false. The caller has made sure that a frame with
// the headers of the last one is accepted as that was.
func (c *Coalescer) Follow(frame []byte) bool {
	f := c.last
	if f == nil || f.closed || len(frame) != f.p.End || f.count == maxPieces || f.l3+f.size > maxL3 {
		return false
	}
	x := &f.next
	if x.words == 0 {
		f.expect()
	}
	if len(frame) < 8*x.words {
		return false
	}
	var diff uint64
	for i, m := range x.mask[:x.words] {
		diff |= binary.LittleEndian.Uint64(frame[8*i:])&m ^ x.want[i]
	}
	if diff != 0 || !f.inOrder(frame) || !x.good(frame, f) {
		return false
	}
	f.pieces[f.count] = frame[f.hdr:]
	f.count++
	f.l3 += f.size
	f.note(frame, &f.p)
	return true
}

// expect makes the pattern of the next frames: all that sameHeaders wants alike,
// and the length.
func (f *flow) expect() {
	var mask [maxHeaders]byte
	for i := range mask[:f.hdr] {
		mask[i] = 0xff
	}
	x, head, l3, l4 := &f.next, f.pieces[0], f.p.L3, f.p.L4
	if f.p.Kind == packet.IPv4 {
		clear(mask[l3+4 : l3+6])   // ID
		clear(mask[l3+10 : l3+12]) // checksum
		x.ip = packet.Sum(head[l3:l4], 0) + inverse(head[l3+4:]) + inverse(head[l3+10:])
	}
	if f.typ == UDP {
		clear(mask[l4+6 : l4+8])
	} else {
		clear(mask[l4+4 : l4+8]) // sequence number
		mask[l4+13] = ^uint8(tcpPSH)
		clear(mask[l4+16 : l4+18])
	}
	x.pseudo = f.p.PseudoSum(head)
	x.words = (f.hdr + 7) / 8
	for i := range x.words {
		x.mask[i] = binary.LittleEndian.Uint64(mask[8*i:])
		if len(head) >= 8*i+8 { // else no frame is long enough for the pattern
			x.want[i] = binary.LittleEndian.Uint64(head[8*i:]) & x.mask[i]
		}
	}
}

// inOrder reports whether a frame with the right headers is the next one.
func (f *flow) inOrder(frame []byte) bool {
	if f.p.Kind == packet.IPv4 && !f.p.DF && binary.BigEndian.Uint16(frame[f.p.L3+4:]) != f.lastID+1 {
		return false
	}
	return f.typ == UDP || binary.BigEndian.Uint32(frame[f.p.L4+4:]) == f.nextSeq
}

// good reports whether the checksums of a frame with the right headers are
// there, finished and right.
func (x *pattern) good(frame []byte, f *flow) bool {
	l3, l4 := f.p.L3, f.p.L4
	if f.p.Kind == packet.IPv4 {
		id, sum := binary.BigEndian.Uint16(frame[l3+4:]), binary.BigEndian.Uint16(frame[l3+10:])
		if packet.Fold(x.ip+uint64(id)+uint64(sum)) != 0xffff {
			return false
		}
	}
	at := l4 + 16
	if f.typ == UDP {
		at = l4 + 6
	}
	have := binary.BigEndian.Uint16(frame[at:])
	if have == packet.Fold(x.pseudo) || have == 0 && f.typ == UDP {
		return false
	}
	return packet.Fold(packet.Sum(frame[l4:], x.pseudo)) == 0xffff
}
