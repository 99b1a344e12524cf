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

// Queue returns queue i, to be used by one goroutine. It is the same, as a
// Port, each time.
func (d *Device) Queue(i int) vtep.Port {
	if d.packets {
		return packetQueue{d.queues[i]}
	}
	return d.queues[i]
}

// FD implements [vtep.Port].
func (q *queue) FD() int { return q.fd }

// Caps implements [vtep.Port].
func (q *queue) Caps() offload.Caps { return q.caps }

// Read implements [vtep.Port].
func (q *queue) Read(f *offload.Frame) error {
	f.Off = offload.Headroom
	return q.read(f)
}

// read reads what the kernel hands over to f.Off. The virtio_net_hdr lands in
// front of that, so that one read(2) does.
func (q *queue) read(f *offload.Frame) error {
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
func (q *queue) Write(gso offload.GSO, pieces [][]byte) error { return q.write(gso, pieces, 0) }

// write hands the kernel what stands in pieces behind the first skip bytes,
// which are in the first of them.
func (q *queue) write(gso offload.GSO, pieces [][]byte, skip int) error {
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
		q.set(n, p[skip:])
		n, skip = n+1, 0
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
