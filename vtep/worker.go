package vtep

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

const (
	// readArena holds the frames of a burst until they are sent: some
	// super-frames, or all of a burst of wire frames.
	readArena = 1 << 20
	// sendArena holds the wire frames cut from super-frames until they are
	// sent.
	sendArena = 1 << 20
	// sendBurst is how many bytes of it are filled before they are sent, about
	// one full super-frame: the far side begins with it while the next one is
	// cut, and it is in the processor's cache when the kernel copies it.
	sendBurst = 60 << 10
	// receiveBatch is how many datagrams or trains are taken from a socket at
	// a time.
	receiveBatch = 64
	// bulkBatch is how many while they are trains and super-frames: no more
	// than the processor's cache holds until they are written to a device.
	bulkBatch = 8
)

// A Worker is one thread of the data path. It owns all it reaches but what the
// segments share through atomic snapshots.
type Worker struct {
	index    int
	engine   *Engine
	sender   Sender
	clock    clock
	splitter offload.Splitter
	parsed   packet.Parsed
	frame    offload.Frame
	out      encapsulation
	train    Train
	arena    *Arena // of reads and sends
	reads    []byte // frames read from devices; the first readOff bytes are in use
	readOff  int
	sends    []byte // frames cut or copied for sending; the first sendOff bytes are in use
	sendOff  int
	inPlace  bool // the frame last read waits in reads to be sent
	unsent   bool // the sender has trains queued, whose bytes are in reads and sends

	datagrams [receiveBatch]Datagram
	from      origin
	queued    *attachment        // whose frames the coalescer holds
	joining   *offload.Coalescer // that was given the last datagram; nil when none was
	cut       packet.Parsed      // of a super-frame that is cut on the way to a device
	pieces    [1][]byte
	answer    [1514 + 8]byte
	unowned   [drop.Count]atomic.Uint64

	coalescers map[offload.Caps]*coalescing

	current atomic.Pointer[view] // what the worker serves
	next    atomic.Pointer[view] // what it shall serve
	stop    atomic.Bool
	epoll   int
	event   int // eventfd that interrupts the wait
	events  [64]unix.EpollEvent
}

func newWorker(i int, s Sender, e *Engine) *Worker {
	w := &Worker{index: i, engine: e, sender: s, clock: e.clock, epoll: -1, event: -1,
		arena:      NewArena(readArena + sendArena),
		coalescers: make(map[offload.Caps]*coalescing)}
	w.reads, w.sends = w.arena.Bytes()[:readArena], w.arena.Bytes()[readArena:]
	w.current.Store(&view{})
	return w
}

func (w *Worker) options(a *attachment) *Options { return a.seg.opts.Load() }

// adopt starts to serve v: waits on what is new, and no longer on what is
// gone.
func (w *Worker) adopt(v *view) {
	old := w.current.Load()
	for fd := range old.byFD {
		if _, stays := v.byFD[fd]; !stays {
			// An error means that the descriptor is gone already.
			_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(fd), nil)
		}
	}
	for fd, s := range v.byFD {
		if s.device != nil && s.device.broken {
			delete(v.byFD, fd)
			continue
		}
		if o, was := old.byFD[fd]; was && o.device == s.device && s.device != nil {
			continue
		}
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}
		err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, int(fd), &ev)
		if err != nil && !errors.Is(err, unix.EEXIST) && s.device != nil {
			w.deviceFailed(v, s.device, err)
		}
	}
	for _, a := range v.attachments {
		a.co = w.coalescing(a.port.Caps())
	}
	w.from = origin{}
	w.current.Store(v)
	if v.adopted != nil {
		v.adopted <- struct{}{}
	}
}

// deviceFailed stops waiting on a device that does not work any more, so that
// it cannot keep the worker busy, and tells the engine's owner.
func (w *Worker) deviceFailed(v *view, a *attachment, err error) {
	if a.broken {
		return
	}
	a.broken = true
	_ = unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, a.fd, nil) // gone already, perhaps
	delete(v.byFD, int32(a.fd))
	w.engine.cfg.DeviceFailed(a.seg, err)
}

// step serves one source that has something to read.
func (w *Worker) step(v *view, s source) (n int, bulk bool) {
	if s.device != nil {
		n, bulk, err := w.fromLocal(s.device)
		if err != nil {
			w.deviceFailed(v, s.device, err)
		}
		return n, bulk
	}
	return w.toLocal(v, s.socket)
}
