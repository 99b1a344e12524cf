package vtep

import (
	"net/netip"

	"vtepd/encap"
	"vtepd/encap/drop"
	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

// An origin is what was found out about the source of the last datagram. The
// next one mostly has the same.
type origin struct {
	a       *attachment
	src     netip.Addr
	ifIndex int32
	opts    *Options
	remote  *Remote // nil when it is neither known nor learned
	reason  drop.Reason
}

// toLocal takes a burst of datagrams from a socket and writes what is in them
// into the devices. It returns how many it took and whether they were bulk:
// trains or super-frames.
func (w *Worker) toLocal(v *view, s *socket) (n int, bulk bool) {
	now := w.clock.now()
	// Options and remotes may have changed since the last burst.
	w.from = origin{}
	for n < receiveBatch {
		want := receiveBatch - n
		if s.bulk {
			want = min(want, bulkBatch)
		}
		got, err := s.recv.Receive(w.datagrams[:want])
		if err != nil {
			break
		}
		s.bulk = w.datagramsToLocal(v, s, got, now)
		bulk = bulk || s.bulk
		n += got
		if got < want {
			break
		}
	}
	return n, bulk
}

// datagramsToLocal delivers the first n of w.datagrams. It reports whether
// there was bulk among them.
func (w *Worker) datagramsToLocal(v *view, s *socket, n int, now tick) (bulk bool) {
	for i := range w.datagrams[:n] {
		d := &w.datagrams[i]
		bulk = bulk || len(d.Payload) > bulkBytes
		if isTunnelSuper(d) {
			w.datagramToLocal(v, s, d, d.Payload, now)
			continue
		}
		segment := d.SegSize
		if segment <= 0 {
			segment = len(d.Payload)
		}
		d.SegSize = 0 // from here on it is that of a super-frame
		if len(d.Payload) == 0 {
			w.datagramToLocal(v, s, d, nil, now)
		}
		for rest := d.Payload; len(rest) > 0; {
			size := min(segment, len(rest))
			w.joining = nil
			w.datagramToLocal(v, s, d, rest[:size:size], now)
			rest = w.join(rest[:size], rest[size:])
		}
	}
	// The payloads are the receiver's again at its next Receive.
	w.deliverQueued()
	return bulk
}

// join takes the datagrams of a train that are joined with the one before them
// without another look: where that was accepted and is held to be joined, one
// with the same headers would be too. It returns the rest of the train.
func (w *Worker) join(before, rest []byte) []byte {
	if w.joining == nil {
		return rest
	}
	n, size := 0, len(before)
	header := encap.Header(before)
	for len(rest) >= size && encap.Header(rest) == header && w.joining.Follow(rest[encap.HeaderLen:size:size]) {
		rest = rest[size:]
		n++
	}
	if r := w.from.remote; r != nil && n > 0 {
		r.stats[w.index].rx.add(n, n*(size-encap.HeaderLen))
	}
	return rest
}

// bulkBytes tells trains and super-frames from single frames.
const bulkBytes = 16 << 10

// datagramToLocal takes one datagram to its device, in the kernel's order of
// checks (drivers/net/vxlan/vxlan_core.c, vxlan_rcv).
func (w *Worker) datagramToLocal(v *view, s *socket, d *Datagram, b []byte, now tick) {
	vni, ok := encap.ParseHeader(b)
	if !ok {
		w.unowned[drop.InvalidHeader].Add(1)
		return
	}
	a := w.from.a
	if a == nil || a.seg.vni != vni {
		if a = s.vnis[vni]; a == nil {
			w.unowned[drop.VNINotFound].Add(1)
			return
		}
	}
	o := &w.from
	if o.a != a || o.src != d.Src.Addr() || o.ifIndex != d.IfIndex {
		w.origin(v, a, d)
	}
	if o.reason != drop.None {
		a.stats.dropsRx[o.reason].Add(1)
		return
	}
	if r := w.frameToLocal(a, d, b[encap.HeaderLen:], now); r != drop.None {
		a.stats.dropsRx[r].Add(1)
	}
}

// origin finds out whether a source may send to the segment of a, and which
// remote it is.
func (w *Worker) origin(v *view, a *attachment, d *Datagram) {
	src, opts := d.Src.Addr(), a.seg.opts.Load()
	o := origin{a: a, src: src, ifIndex: d.IfIndex, opts: opts}
	switch {
	case v.own[d.IfIndex], opts.IfIndex != 0 && d.IfIndex != 0 && opts.IfIndex != d.IfIndex:
		o.reason = drop.WrongInterface
	case opts.isMartian(src):
		o.reason = drop.MartianSource
	default:
		o.remote = a.seg.sources.Load().lookup(src)
		if !opts.accepts(src, o.remote) {
			o.reason = drop.SourceNotAccepted
		}
	}
	w.from = o
}

// frameToLocal checks, learns from and delivers one inner frame.
func (w *Worker) frameToLocal(a *attachment, d *Datagram, frame []byte, now tick) drop.Reason {
	p, opts := &w.parsed, w.from.opts
	if !p.Parse(frame) {
		return drop.Truncated
	}
	switch {
	case p.Src == opts.MAC:
		return drop.LocalMAC
	case p.Src.IsMulticast() || p.Src.IsZero():
		return drop.MACInvalidSource
	case p.Tags > 0 && !opts.PassVLAN:
		return drop.InnerVLAN
	}
	if a.routed {
		if r := unroutable(p, opts, frame); r != drop.None {
			return r
		}
		frame = frame[:p.End] // a device of packets would take padding for payload
	} else if opts.Learning {
		if r := w.learn(a, p.Src, now); r != drop.None {
			return r
		}
	}
	if p.HeaderCut(frame) {
		return drop.Truncated
	}
	if d.TOS&3 != 0 {
		if !p.MergeECN(frame, d.TOS) {
			return drop.ECN
		}
	}
	frames, bytes := w.deliver(a, d, frame)
	if r := w.from.remote; r != nil {
		r.stats[w.index].rx.add(frames, bytes)
	}
	return drop.None
}

// learn places mac behind the source of the datagram. A static entry is never
// overridden, and a frame that contradicts one is dropped; whoever has the same
// address on another port or VNI does not contradict it (vxlan_snoop).
func (w *Worker) learn(a *attachment, mac packet.MAC, now tick) drop.Reason {
	o := &w.from
	if o.remote == nil {
		if o.remote = a.seg.learnRemote(o.src); o.remote == nil {
			a.stats.events[RemotesFull].Add(1)
			return w.contradicts(a, mac)
		}
	}
	if a.seg.table.Learn(mac, o.remote.dest, now) == fdb.Conflict {
		return w.contradicts(a, mac)
	}
	return drop.None
}

// contradicts reports EntryExists when a static entry has mac elsewhere.
func (w *Worker) contradicts(a *attachment, mac packet.MAC) drop.Reason {
	e, ok := a.seg.table.Get(mac)
	if !ok || e.State == fdb.Dynamic {
		return drop.None
	}
	if r := a.seg.RemoteAt(e.Dest); r != nil && r.vtep.Addr == w.from.src {
		return drop.None
	}
	return drop.EntryExists
}

// isTunnelSuper tells a tunnel super-frame that a local sender never cut from
// a train of datagrams. A socket gets both with a segment size; but in the
// super-frame one inner IP packet fills all of the payload.
func isTunnelSuper(d *Datagram) bool {
	const l3 = encap.HeaderLen + 14
	b := d.Payload
	if d.SegSize <= 0 || d.SegSize >= len(b) || len(b) < l3+40 {
		return false
	}
	switch uint16(b[l3-2])<<8 | uint16(b[l3-1]) {
	case 0x0800:
		return b[l3]>>4 == 4 && l3+(int(b[l3+2])<<8|int(b[l3+3])) == len(b)
	case 0x86dd:
		return b[l3]>>4 == 6 && l3+40+(int(b[l3+4])<<8|int(b[l3+5])) == len(b)
	}
	return false
}
