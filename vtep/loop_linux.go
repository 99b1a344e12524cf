package vtep

import (
	"errors"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// open makes the descriptors the worker waits with.
func (w *Worker) open() (err error) {
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if w.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return err
	}
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, w.event,
		&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(w.event)})
}

func (w *Worker) close() error {
	return errors.Join(unix.Close(w.epoll), unix.Close(w.event), w.sender.Close(), w.arena.Free())
}

// wake interrupts the worker's wait. Any goroutine may call it.
func (w *Worker) wake() {
	one := [8]byte{7: 1}
	// It fails only when the counter is full, and then the wait ends anyway.
	_, _ = unix.Write(w.event, one[:])
}

// bulkPause is how long after bulk a worker does not spin.
const bulkPause = 20 * time.Millisecond

// run is the worker's thread: wait, serve what is ready, and poll on for a
// moment after small bursts, since a wake-up costs more than most frames
// (measured: it decides the latency).
func (w *Worker) run() {
	runtime.LockOSThread()
	var spinUntil, lastBulk time.Time
	for !w.stop.Load() {
		n := w.poll(spinUntil, !lastBulk.IsZero())
		if n == 0 {
			continue
		}
		v, work, bulk := w.current.Load(), 0, false
		for i := range w.events[:n] {
			fd := w.events[i].Fd
			if fd == int32(w.event) {
				w.interrupted()
				v = w.current.Load()
				continue
			}
			if s, ok := v.byFD[fd]; ok {
				got, b := w.step(v, s)
				work, bulk = work+got, bulk || b
			}
		}
		switch {
		case bulk:
			spinUntil, lastBulk = time.Time{}, time.Now()
		case work > 0:
			// The small frames between bulk are its acknowledgements: the
			// processor is needed elsewhere.
			if now := time.Now(); now.Sub(lastBulk) > bulkPause {
				spinUntil, lastBulk = now.Add(w.engine.cfg.Spin), time.Time{}
			}
		}
	}
}

// poll returns the number of sources that are ready. Until the given time it
// only looks and yields the processor; after it, it sleeps. In bulk it yields
// once before that: whoever fills the queues runs on, and a wake-up is saved.
func (w *Worker) poll(spinUntil time.Time, bulk bool) int {
	if !spinUntil.IsZero() && time.Now().Before(spinUntil) {
		n := epollPoll(w.epoll, w.events[:])
		if n == 0 {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
		return n
	}
	// A look first: under load it saves telling Go's scheduler of the wait.
	if n := epollPoll(w.epoll, w.events[:]); n > 0 {
		return n
	}
	if bulk {
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if n := epollPoll(w.epoll, w.events[:]); n > 0 {
			return n
		}
	}
	n, err := unix.EpollWait(w.epoll, w.events[:], -1)
	if err != nil { // EINTR
		return 0
	}
	return n
}

// epollPoll looks without waiting, and so without leaving Go's scheduler.
func epollPoll(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// interrupted takes up the newest view.
func (w *Worker) interrupted() {
	var count [8]byte
	_, _ = unix.Read(w.event, count[:]) // non-blocking; only its side effect matters
	if v := w.next.Swap(nil); v != nil {
		w.adopt(v)
	}
}
