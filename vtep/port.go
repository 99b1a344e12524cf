package vtep

import "vtepd/encap/offload"

// A Port is one queue of a segment's device, as one worker uses it. All its
// methods are called by that worker's goroutine only, but Close, which is
// called after the worker has let go of the port.
type Port interface {
	// FD is the descriptor to wait on for frames, or -1 if the port is
	// stepped by hand (tests).
	FD() int
	// Read reads one frame into f.Buf, sets f.Off, f.Len and f.GSO, and leaves
	// at least [offload.Headroom] bytes free in front of it. f.Buf has room for
	// Headroom + [offload.MaxFrame] bytes or more and belongs to the caller
	// throughout. It never blocks: with nothing to read it returns ErrAgain.
	// Any other error means that the device is gone or broken. The device of a
	// routed segment has no Ethernet headers: its port puts one in front of each
	// packet, with the EtherType and no addresses, and takes it away in Write, so
	// that all else is the same.
	Read(f *offload.Frame) error
	// Write hands one frame to the host, gathered from pieces in order; the
	// pieces together are the whole Ethernet frame. gso says what is left to
	// do on it and must be within Caps. The bytes are not kept. An error means
	// that this frame was not taken: EINVAL or EIO for what the kernel refused
	// to parse, ENOBUFS or EAGAIN when it had no room, EBADFD when the device is
	// gone.
	Write(gso offload.GSO, pieces [][]byte) error
	// Caps says what Write takes. It does not change.
	Caps() offload.Caps
	// Close gives the queue back.
	Close() error
}
