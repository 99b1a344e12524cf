package offload

import (
	"bytes"
	"encoding/binary"

	"vtepd/encap/packet"
)

const (
	maxFlows  = 16    // flows of one burst that are joined at the same time
	maxPieces = 64    // wire frames in a super-frame (kernel: UDP_GRO_CNT_MAX)
	maxL3     = 65535 // bytes of an IP packet, super-frames included
)

// Emit is given each frame that a [Coalescer] lets go: its parts in order, what
// is left to do on it, and how many wire frames it holds. It must not keep the
// slices.
type Emit = func(gso GSO, pieces [][]byte, frames int)

// A Coalescer joins wire frames of one flow into super-frames. Frames of one
// flow leave in the order they came. It keeps the frames it was given until
// they are emitted, and edits the headers of the first of a super-frame in
// place. One goroutine uses it.
type Coalescer struct {
	caps Caps
	n    int             // flows that are held
	held [maxFlows]*flow // the first n in the order they began, behind them the free ones
	last *flow           // that the last Add was of; nil when that frame is not held
	one  [1][]byte
}

// NewCoalescer makes a Coalescer for devices with the given capabilities.
func NewCoalescer(caps Caps) *Coalescer {
	c := &Coalescer{caps: caps}
	flows := new([maxFlows]flow)
	for i := range flows {
		c.held[i] = &flows[i]
	}
	return c
}

// A flow is a super-frame in the making: the first wire frame whole, then the
// payloads of those that follow.
type flow struct {
	hash    uint16
	typ     Type
	p       packet.Parsed
	hdr     int    // bytes up to the payload
	size    int    // payload of the first frame
	l3      int    // bytes of the IP packet so far
	nextSeq uint32 // TCP
	lastID  uint16 // IPv4
	flags   uint8  // TCP flags of the last frame
	partial bool   // the first frame's checksum is unfinished
	closed  bool   // nothing more can follow
	count   int
	next    pattern
	pieces  [maxPieces][]byte
}

// Add gives the Coalescer a parsed frame and what is known of its checksum.
// What can not be joined is emitted at once, behind what its flow still holds.
func (c *Coalescer) Add(frame []byte, p *packet.Parsed, st packet.CsumState, emit Emit) {
	c.last = nil
	typ, hdr := c.kind(frame, p, st)
	if typ == None {
		c.pass(frame, p, st, emit)
		return
	}
	hash := p.FlowHash(frame)
	for i := range c.n {
		f := c.held[i]
		if f.hash != hash {
			continue
		}
		if f.append(frame, p, hdr, typ) {
			c.last = f
			return
		}
		c.release(i, emit)
		break
	}
	if c.n == maxFlows {
		c.release(0, emit)
	}
	c.last = c.held[c.n]
	c.last.begin(frame, p, hdr, typ, hash, st == packet.CsumPartial)
	c.n++
}

// Flush emits all that is held.
func (c *Coalescer) Flush(emit Emit) {
	for i := range c.n {
		c.held[i].emit(emit)
	}
	c.n, c.last = 0, nil
}

// release emits flow i and closes the gap, so that the order of beginnings is
// kept.
func (c *Coalescer) release(i int, emit Emit) {
	f := c.held[i]
	f.emit(emit)
	c.n--
	copy(c.held[i:c.n], c.held[i+1:])
	c.held[c.n] = f
}

// pass emits a frame that can not be joined.
func (c *Coalescer) pass(frame []byte, p *packet.Parsed, st packet.CsumState, emit Emit) {
	if p.Kind == packet.IPv4 || p.Kind == packet.IPv6 {
		if p.Fragment || p.L4 == 0 {
			c.Flush(emit) // its ports are unknown: it may be of any flow
		} else {
			hash := p.FlowHash(frame)
			for i := range c.n {
				if c.held[i].hash == hash {
					c.release(i, emit)
					break
				}
			}
		}
	}
	var g GSO
	if st == packet.CsumPartial {
		_, off := l4HeaderLen(frame, p)
		g = GSO{NeedsCsum: true, CsumStart: uint16(p.L4), CsumOffset: off}
		if off == 0 {
			g = GSO{} // a broken header: the host finds out
		}
	}
	c.one[0] = frame
	emit(g, c.one[:], 1)
}

// kind says as what a frame can be joined, None if not at all, and where its
// payload starts.
func (c *Coalescer) kind(frame []byte, p *packet.Parsed, st packet.CsumState) (Type, int) {
	if st != packet.CsumGood && st != packet.CsumPartial || p.Options || p.Fragment || badHeader(frame, p) {
		return None, 0
	}
	n, _ := l4HeaderLen(frame, p)
	hdr := p.L4 + n
	if n == 0 || p.End <= hdr || p.End != len(frame) {
		return None, 0
	}
	switch {
	case p.Proto == packet.ProtoUDP && c.caps.USO:
		if int(binary.BigEndian.Uint16(frame[p.L4+4:])) != p.End-p.L4 {
			return None, 0
		}
		return UDP, hdr
	case p.Proto != packet.ProtoTCP || !c.caps.TSO:
		return None, 0
	case frame[p.L4+13]&(tcpFIN|tcpSYN|tcpRST|tcpURG|tcpCWR) != 0:
		return None, 0
	case p.Kind == packet.IPv4:
		return TCPv4, hdr
	}
	return TCPv6, hdr
}

func (f *flow) begin(frame []byte, p *packet.Parsed, hdr int, typ Type, hash uint16, partial bool) {
	f.hash, f.typ, f.p, f.hdr, f.size = hash, typ, *p, hdr, p.End-hdr
	f.l3, f.partial, f.closed, f.count, f.next.words = p.End-p.L3, partial, false, 1, 0
	f.pieces[0] = frame
	f.note(frame, p)
}

// note remembers what the next frame of the flow must follow on.
func (f *flow) note(frame []byte, p *packet.Parsed) {
	if p.Kind == packet.IPv4 {
		f.lastID = binary.BigEndian.Uint16(frame[p.L3+4:])
	}
	if f.typ != UDP {
		f.nextSeq = binary.BigEndian.Uint32(frame[p.L4+4:]) + uint32(p.End-f.hdr)
		f.flags = frame[p.L4+13]
		f.closed = f.closed || f.flags&tcpPSH != 0
	}
}

// append adds a frame to the flow if it follows on, and reports whether it
// did.
func (f *flow) append(frame []byte, p *packet.Parsed, hdr int, typ Type) bool {
	size := p.End - hdr
	if f.closed || typ != f.typ || hdr != f.hdr || p.L3 != f.p.L3 || p.L4 != f.p.L4 || size > f.size ||
		f.count == maxPieces || f.l3+size > maxL3 || !f.sameHeaders(frame, p) {
		return false
	}
	f.pieces[f.count] = frame[hdr:p.End]
	f.count++
	f.l3 += size
	f.closed = size < f.size
	f.note(frame, p)
	return true
}

// sameHeaders reports whether the headers of frame differ from the first
// frame's only where those of the next wire frame must (kernel:
// inet_gro_receive, tcp_gro_receive).
func (f *flow) sameHeaders(frame []byte, p *packet.Parsed) bool {
	head := f.pieces[0]
	if !bytes.Equal(head[:p.L3], frame[:p.L3]) {
		return false
	}
	a, b := head[p.L3:p.L4], frame[p.L3:p.L4]
	if p.Kind == packet.IPv4 {
		// All but total length, ID, checksum.
		if a[0] != b[0] || a[1] != b[1] || !bytes.Equal(a[6:10], b[6:10]) || !bytes.Equal(a[12:], b[12:]) {
			return false
		}
		// What must not be fragmented has no use for an ID (RFC 6864 §4.1).
		if id := binary.BigEndian.Uint16(b[4:]); !p.DF && id != f.lastID+1 {
			return false
		}
	} else if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:], b[6:]) {
		return false
	}
	a, b = head[p.L4:f.hdr], frame[p.L4:f.hdr]
	if f.typ == UDP {
		return bytes.Equal(a[:4], b[:4])
	}
	return bytes.Equal(a[:4], b[:4]) && binary.BigEndian.Uint32(b[4:]) == f.nextSeq &&
		bytes.Equal(a[8:13], b[8:13]) && a[13]&^tcpPSH == b[13]&^tcpPSH &&
		bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[18:], b[18:])
}

// emit lets the flow go, as the wire frame it is or as a super-frame.
func (f *flow) emit(emit Emit) {
	off := uint16(16)
	if f.typ == UDP {
		off = 6
	}
	g := GSO{CsumStart: uint16(f.p.L4), CsumOffset: off}
	if f.count == 1 {
		g.NeedsCsum = f.partial
		if !f.partial {
			g = GSO{}
		}
		emit(g, f.pieces[:1], 1)
		return
	}
	g.Type, g.NeedsCsum, g.Size, g.HdrLen = f.typ, true, uint16(f.size), uint16(f.hdr)
	f.rewrite()
	emit(g, f.pieces[:f.count], f.count)
}

// rewrite makes the first frame's headers those of the super-frame.
func (f *flow) rewrite() {
	head, p := f.pieces[0], &f.p
	ip, l4 := head[p.L3:], head[p.L4:]
	if p.Kind == packet.IPv4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(f.l3))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^packet.Fold(packet.Sum(ip[:p.L4-p.L3], 0)))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(f.l3-40))
	}
	p.End = p.L3 + f.l3
	sum := packet.Fold(p.PseudoSum(head))
	if f.typ == UDP {
		binary.BigEndian.PutUint16(l4[4:], uint16(p.End-p.L4))
		binary.BigEndian.PutUint16(l4[6:], sum)
		return
	}
	l4[13] |= f.flags & tcpPSH
	binary.BigEndian.PutUint16(l4[16:], sum)
}
