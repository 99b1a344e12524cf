package vtep

import (
	"errors"

	"golang.org/x/sys/unix"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
)

// coalescing joins wire frames on their way into devices of one kind. Each
// worker has one for each set of capabilities it meets.
type coalescing struct {
	co   *offload.Coalescer
	emit func(offload.GSO, [][]byte, int) // made once: a method value allocates
}

func (w *Worker) coalescing(caps offload.Caps) *coalescing {
	c := w.coalescers[caps]
	if c == nil {
		c = &coalescing{co: offload.NewCoalescer(caps), emit: w.emit}
		w.coalescers[caps] = c
	}
	return c
}

// deliver hands one accepted frame to the device of a, now or, where it can
// still be joined with the next ones, at deliverQueued. It returns how many wire
// frames and bytes it holds.
func (w *Worker) deliver(a *attachment, d *Datagram, frame []byte) (frames, bytes int) {
	if w.queued != a {
		w.deliverQueued()
		w.queued = a
	}
	p, mtu := &w.parsed, w.from.opts.DeviceMTU
	if (d.SegSize > 0 || len(frame) > mtu+14+4*int(p.Tags)) && p.CsumIsPartial(frame) {
		if gso, ok := offload.SuperFromDatagram(frame, p, mtu, d.SegSize); ok {
			w.deliverQueued()
			w.queued = a
			w.deliverSuper(a, frame, gso)
			frames, _ := offload.WireFrames(len(frame), &gso)
			return frames, len(frame) + (frames-1)*int(gso.HdrLen)
		}
	}
	if a.vnet {
		a.co.co.Add(frame, p, p.L4Checksum(frame), a.co.emit)
		w.joining = a.co.co
		return 1, len(frame)
	}
	if p.CsumIsPartial(frame) && p.CompleteChecksum(frame) {
		a.stats.events[ChecksumCompleted].Add(1)
	}
	w.pieces[0] = frame
	w.write(a, offload.GSO{}, w.pieces[:1], 1)
	return 1, len(frame)
}

// deliverQueued writes what the coalescer still holds.
func (w *Worker) deliverQueued() {
	if a := w.queued; a != nil && a.vnet {
		a.co.co.Flush(a.co.emit)
	}
	w.queued = nil
}

// emit writes what the coalescer made of the frames of w.queued.
func (w *Worker) emit(gso offload.GSO, pieces [][]byte, frames int) {
	w.write(w.queued, gso, pieces, frames)
}

// deliverSuper delivers a whole tunnel super-frame: as it is to a device that
// takes it, else cut to the device's MTU.
func (w *Worker) deliverSuper(a *attachment, frame []byte, gso offload.GSO) {
	w.pieces[0] = frame
	caps := a.port.Caps()
	frames, _ := offload.WireFrames(len(frame), &gso)
	if takes := caps.TSO && gso.Type != offload.UDP || caps.USO && gso.Type == offload.UDP; takes {
		w.write(a, gso, w.pieces[:1], frames)
		return
	}
	a.stats.events[SuperFrameSplit].Add(1)
	w.writeCut(a, frame, gso, frames)
}

// write hands a frame to the device and counts it. A super-frame that the
// device refuses is cut and written again.
func (w *Worker) write(a *attachment, gso offload.GSO, pieces [][]byte, frames int) {
	err := a.port.Write(gso, pieces)
	if err == nil {
		bytes := (frames - 1) * int(gso.HdrLen)
		for _, p := range pieces {
			bytes += len(p)
		}
		a.stats.rx.add(frames, bytes)
		return
	}
	if gso.Type != offload.None && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO)) {
		a.stats.events[OffloadRefused].Add(1)
		whole := w.sendRoom(offload.MaxFrame)[:0]
		for _, p := range pieces {
			whole = append(whole, p...)
		}
		w.sendOff += len(whole)
		w.writeCut(a, whole, gso, frames)
		w.sendOff = 0
		return
	}
	a.stats.dropsRx[drop.WriteFailed].Add(uint64(frames))
}

// writeCut cuts a super-frame and writes its wire frames one by one. frames is
// how many they are.
func (w *Worker) writeCut(a *attachment, frame []byte, gso offload.GSO, frames int) {
	p := &w.cut
	if !p.Parse(frame) || offload.Validate(frame, p, &gso) != drop.None {
		a.stats.dropsRx[drop.BadChecksum].Add(uint64(frames))
		return
	}
	out := w.sends[w.sendOff:]
	n, seg, _ := w.splitter.Split(out, nil, frame, p, &gso)
	if n == 0 {
		a.stats.dropsRx[drop.WriteFailed].Add(uint64(frames))
		return
	}
	for rest := out[:n]; len(rest) > 0; {
		size := min(seg, len(rest))
		w.pieces[0] = rest[:size]
		w.write(a, offload.GSO{}, w.pieces[:1], 1)
		rest = rest[size:]
	}
}
