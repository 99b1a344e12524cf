package tap

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
	"vtepd/vtep"
)

// maxPieces bounds the parts of a frame: those of a coalesced super-frame and
// the virtio_net_hdr.
const maxPieces = 64 + 1

// A queue is one queue of a device. It implements [vtep.Port].
type queue struct {
	fd   int
	caps offload.Caps
	hdr  [offload.HdrLen]byte
	iov  [maxPieces]unix.Iovec
}

// Queue returns queue i, to be used by one goroutine.
func (d *Device) Queue(i int) vtep.Port { return d.queues[i] }

// FD implements [vtep.Port].
func (q *queue) FD() int { return q.fd }

// Caps implements [vtep.Port].
func (q *queue) Caps() offload.Caps { return q.caps }

// Read implements [vtep.Port]. The virtio_net_hdr lands at the end of the
// headroom, so that one read(2) does.
func (q *queue) Read(f *offload.Frame) error {
	f.Off = offload.Headroom
	f.GSO = offload.GSO{}
	at := f.Off
	if q.caps.VNetHdr {
		at -= offload.HdrLen
	}
	b := f.Buf[at:]
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(q.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		if errno == unix.EINTR {
			errno = vtep.ErrAgain
		}
		return errno
	}
	if !q.caps.VNetHdr {
		f.Len = int(n)
		return nil
	}
	f.Len = max(0, int(n)-offload.HdrLen)
	if err := f.GSO.Decode(b[:n]); err != nil {
		f.Len = 0 // counted as truncated; the kernel never does this
	}
	return nil
}

// Write implements [vtep.Port].
func (q *queue) Write(gso offload.GSO, pieces [][]byte) error {
	n := 0
	if q.caps.VNetHdr {
		gso.Encode(q.hdr[:])
		q.set(0, q.hdr[:])
		n = 1
	}
	if n+len(pieces) > len(q.iov) {
		return unix.EINVAL
	}
	for _, p := range pieces {
		q.set(n, p)
		n++
	}
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(q.fd), uintptr(unsafe.Pointer(&q.iov[0])), uintptr(n))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

func (q *queue) set(i int, b []byte) {
	q.iov[i].Base = unsafe.SliceData(b)
	q.iov[i].SetLen(len(b))
}

// Close implements [vtep.Port]. Calling it again does nothing.
func (q *queue) Close() error {
	if q.fd < 0 {
		return nil
	}
	err := unix.Close(q.fd)
	q.fd = -1
	return err
}
