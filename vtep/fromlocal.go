package vtep

import (
	"errors"
	"syscall"

	"vtepd/encap"
	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// burstFrames bounds how many frames one worker takes from a device before it
// looks at the others.
const burstFrames = 64

// fromLocal takes a burst of frames from the device of a and sends them into
// the tunnel. It returns how many it took and whether they were bulk, that is,
// held super-frames. The frames live in w.reads until the flush at its end.
func (w *Worker) fromLocal(a *attachment) (n int, bulk bool, err error) {
	f := &w.frame
	for n < burstFrames {
		if len(w.reads)-w.readOff < offload.Headroom+offload.MaxFrame {
			w.flush()
			w.readOff = 0
		}
		f.Buf = w.reads[w.readOff:]
		if err = a.port.Read(f); err != nil {
			break
		}
		n++
		bulk = bulk || f.GSO.Type != offload.None
		w.inPlace = false
		if r := w.frameFromLocal(a, f); r != drop.None {
			a.stats.dropsTx[r].Add(1)
		}
		// What is gone, or was copied into w.sends, leaves its memory, which is in
		// the processor's cache, to the next frame.
		if !w.unsent {
			w.readOff = 0
		} else if w.inPlace {
			w.readOff += (f.Off + f.Len + 63) &^ 63
		}
	}
	w.flush()
	w.readOff = 0
	if errors.Is(err, ErrAgain) {
		err = nil
	}
	return n, bulk, err
}

// frameFromLocal forwards one frame or super-frame. The reason it returns is
// for the frame as a whole; what happens to single copies is counted where it
// happens.
func (w *Worker) frameFromLocal(a *attachment, f *offload.Frame) drop.Reason {
	opts, p := w.options(a), &w.parsed
	b := f.Bytes()
	if !p.Parse(b) {
		return drop.Truncated
	}
	if p.Tags > 0 && !opts.PassVLAN {
		return w.dropFrames(a, f, drop.InnerVLAN)
	}
	if p.HeaderCut(b) {
		return w.dropFrames(a, f, drop.Truncated)
	}
	e := &w.out
	*e = encapsulation{frame: f, frames: 1, largest: f.Len}
	if f.GSO.Type != offload.None || f.GSO.NeedsCsum {
		if r := offload.Validate(b, p, &f.GSO); r != drop.None {
			return r
		}
		e.frames, e.largest = offload.WireFrames(f.Len, &f.GSO)
	}
	if a.routed {
		return w.route(a, opts, e)
	}
	if opts.Suppress && w.suppress(a, b, p) {
		a.stats.suppressed.Add(1)
		return drop.None
	}
	if !p.Dst.IsMulticast() {
		if d, ok := a.seg.table.Lookup(p.Dst); ok {
			if r := a.seg.RemoteAt(d); r != nil {
				w.prepare(e, opts, b, p)
				w.sendTo(a, r, e)
				return drop.None
			}
		}
	}
	return w.flood(a, opts, e)
}

// flood sends a copy of a frame to each VTEP that a BUM frame goes to: those
// of a multicast entry, else all of the flood list (head-end replication or a
// group).
func (w *Worker) flood(a *attachment, opts *Options, e *encapsulation) drop.Reason {
	b, p := e.frame.Bytes(), &w.parsed
	if p.Dst.IsMulticast() {
		if dests := a.seg.table.LookupMulti(p.Dst); len(dests) > 0 {
			w.prepare(e, opts, b, p)
			e.copies = len(dests)
			reason := drop.NoRemote
			for _, d := range dests {
				if r := a.seg.RemoteAt(d); r != nil && !opts.isLocal(r.vtep.Addr) {
					w.sendTo(a, r, e)
					reason = drop.None
				}
			}
			if reason != drop.None {
				reason = w.dropFrames(a, e.frame, reason)
			}
			return reason
		}
	}
	list := *a.seg.floodList.Load()
	if len(list) == 0 {
		return w.dropFrames(a, e.frame, drop.NoRemote)
	}
	w.prepare(e, opts, b, p)
	e.copies = len(list)
	for _, r := range list {
		w.sendTo(a, r, e)
	}
	return drop.None
}

// dropFrames counts the wire frames of f, all but the one that the caller
// counts, and returns r.
func (w *Worker) dropFrames(a *attachment, f *offload.Frame, r drop.Reason) drop.Reason {
	if f.GSO.Type == offload.None || offload.Validate(f.Bytes(), &w.parsed, &f.GSO) != drop.None {
		return r
	}
	n, _ := offload.WireFrames(f.Len, &f.GSO)
	a.stats.dropsTx[r].Add(uint64(n - 1))
	return r
}

// An encapsulation is a frame on its way to one or more remotes: cut and
// wrapped once per VNI, whatever the number of copies.
type encapsulation struct {
	frame    *offload.Frame
	frames   int // wire frames
	largest  int // bytes of the largest of them
	copies   int // remotes that it goes to, where they are many
	entropy  uint16
	tos, ttl uint8
	df       bool
	noTTL    bool // to be inherited, and the frame has none
	told     bool // the sender knows that the frame was too big

	header  encap.Header
	payload []byte // wrapped in header; nil before the first copy
	segSize int
}

// prepare computes what all copies share.
func (w *Worker) prepare(e *encapsulation, opts *Options, b []byte, p *packet.Parsed) {
	e.entropy = p.FlowHash(b)
	ip := p.Kind == packet.IPv4 || p.Kind == packet.IPv6
	base := opts.TOS
	if opts.TOSInherit {
		base = 0
		if ip {
			base = p.TOS
		}
	}
	e.tos = packet.OuterTOS(p, base)
	e.ttl = opts.TTL
	if opts.TTLInherit {
		e.ttl = 0
		if ip {
			e.ttl = p.TTL
		}
		e.noTTL = e.ttl == 0
	}
	e.df = opts.DF == DFSet || opts.DF == DFInherit && (p.Kind == packet.IPv6 || p.DF)
}

// sendTo queues one copy for r.
func (w *Worker) sendTo(a *attachment, r *Remote, e *encapsulation) {
	if limit := r.FrameLimit(); e.largest > limit {
		a.stats.dropsTx[drop.Oversize].Add(uint64(e.frames))
		if !e.told {
			e.told = true
			w.tooBig(a, e.frame.Bytes(), &w.parsed, limit)
		}
		return
	}
	t, path := &w.train, r.path.Load()
	if path == nil { // we lost our address of its family
		r.stats[w.index].Sent(e.frames, 0, syscall.EADDRNOTAVAIL)
		return
	}
	t.Path = *path
	t.Entropy, t.TOS, t.TTL, t.DF, t.Copies = e.entropy, e.tos, e.ttl, e.df, e.copies
	if e.noTTL && r.isGroup() {
		t.TTL = defaultTTL
	}
	t.Account = &r.stats[w.index]
	if w.sendWhole(a, t, e.frame) {
		return
	}
	if e.payload == nil || e.header != r.header {
		if reason := w.wrap(e, r.header); reason != drop.None {
			a.stats.dropsTx[reason].Add(uint64(e.frames))
			return
		}
	}
	t.Payload, t.SegSize = e.payload, e.segSize
	w.unsent = true
	w.sender.Send(t)
}

// sendWhole sends a super-frame uncut where the path takes it. It reports
// whether the frame is gone.
func (w *Worker) sendWhole(a *attachment, t *Train, f *offload.Frame) bool {
	if f.GSO.Type == offload.None || !f.GSO.NeedsCsum {
		return false
	}
	errno := w.sender.SendWhole(t, f, w.parsed.L3)
	switch errno {
	case 0:
		w.unsent = false // it went behind all that was queued
		return true
	case ErrCut:
	default:
		a.stats.events[OffloadRefused].Add(1)
	}
	return false
}

// defaultTTL goes to a group where there is no TTL to inherit: the kernel's
// device asks the route then, which says 64, and a socket's 1 would end at the
// first router (vxlan_xmit_one, IPDEFTTL).
const defaultTTL = 64

// wrap puts header in front of every wire frame of e. A wire frame gets it in
// place, the first time; super-frames and further VNIs are written to w.sends.
func (w *Worker) wrap(e *encapsulation, header encap.Header) drop.Reason {
	f, p := e.frame, &w.parsed
	first := e.payload == nil
	e.header = header
	if f.GSO.Type == offload.None {
		if first {
			if f.GSO.NeedsCsum {
				offload.Complete(f.Bytes(), p, &f.GSO)
			}
			e.payload = f.WithHeader(encap.HeaderLen)
			copy(e.payload, header[:])
			w.inPlace = true
		} else {
			out := w.sendRoom(encap.HeaderLen + f.Len)
			copy(out, header[:])
			copy(out[encap.HeaderLen:], f.Bytes())
			e.payload = w.sent(out, encap.HeaderLen+f.Len)
		}
		e.segSize = len(e.payload)
		return drop.None
	}
	out := w.sendRoom(f.Len + e.frames*(int(f.GSO.HdrLen)+encap.HeaderLen))
	n, seg, frames := w.splitter.Split(out, header[:], f.Bytes(), p, &f.GSO)
	if n == 0 {
		if !f.GSO.NeedsCsum && p.L4Checksum(f.Bytes()) == packet.CsumBad {
			return drop.BadChecksum
		}
		return drop.Malformed
	}
	e.payload, e.segSize, e.frames = w.sent(out, n), seg, frames
	return drop.None
}

// sendRoom returns n free bytes or more of the send arena, or what it has at
// most. It flushes when enough is queued, or the rest of the arena is too small.
func (w *Worker) sendRoom(n int) []byte {
	if w.sendOff >= sendBurst || len(w.sends)-w.sendOff < n {
		w.flush()
	}
	return w.sends[w.sendOff:]
}

// sent claims the first n bytes of room until the next flush.
func (w *Worker) sent(room []byte, n int) []byte {
	w.sendOff += n
	return room[:n:n]
}

// flush sends what is queued; after it both arenas may be written again.
func (w *Worker) flush() {
	w.sender.Flush()
	w.sendOff, w.unsent = 0, false
}
