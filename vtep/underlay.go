package vtep

import (
	"net/netip"
	"syscall"

	"vtepd/encap"
	"vtepd/encap/offload"
)

// ErrAgain is returned by reads of a [Port] or a [Receiver] that have nothing
// waiting.
const ErrAgain = syscall.EAGAIN

// ErrCut is returned by [Sender.SendWhole] for paths that take no super-frames.
const ErrCut = syscall.EOPNOTSUPP

// A Datagram is what a [Receiver] hands up: one UDP payload, or a train of
// them that the kernel joined (UDP_GRO).
type Datagram struct {
	// Payload starts with a VXLAN header. It belongs to the Receiver and is
	// valid until its next Receive. The worker may write to it.
	Payload []byte
	// SegSize, when not 0, says that Payload holds several datagrams of SegSize
	// bytes each, the last of which may be shorter, with equal outer headers.
	// It may also be the inner segment size of a tunnel super-frame that a
	// local sender never cut: the two look alike to a socket (see isTunnelSuper).
	SegSize int
	// Src is the outer source address (never 4in6-mapped) and port.
	Src netip.AddrPort
	// TOS is the outer TOS or traffic class byte.
	TOS uint8
	// IfIndex is the interface the datagram arrived by, 0 if unknown.
	IfIndex int32
}

// A Receiver is one receive socket of one worker. All its methods are called
// by that worker's goroutine only, but Close, which is called after the worker
// has let go of it.
type Receiver interface {
	// FD is the descriptor to wait on, or -1 if it is stepped by hand (tests).
	FD() int
	// Receive fills ds with waiting datagrams and returns how many. It never
	// blocks: with nothing waiting it returns 0 and ErrAgain. Errors that
	// concern one peer are swallowed and retried.
	Receive(ds []Datagram) (int, error)
	// Close closes the socket.
	Close() error
}

// A Path is how datagrams reach one remote: compiled once by the underlay,
// immutable, shared by all workers, opaque to the engine.
type Path interface {
	// Remote is the outer destination.
	Remote() netip.AddrPort
	// Header is the VXLAN header of every datagram to it.
	Header() encap.Header
}

// A Train is one or more datagrams for one remote with equal outer headers.
type Train struct {
	// Path says where to.
	Path Path
	// Payload holds the datagrams back to back, each from its VXLAN header to
	// the end of the inner frame. It stays valid and unchanged until the Flush
	// that follows.
	Payload []byte
	// SegSize is the size of every datagram but the last, which may be shorter.
	// It is len(Payload) for a train of one.
	SegSize int
	// Entropy is the hash of the inner flow that the source port is made of.
	Entropy uint16
	// TOS and TTL are the outer bytes; TTL 0 leaves it to the kernel (for a
	// group: 1).
	TOS, TTL uint8
	// DF asks for the outer Don't Fragment bit (IPv4).
	DF bool
	// Copies is how many remotes, at most, the frame in Payload goes to, one
	// train after the other; 0 and 1 say that it goes to this one only.
	Copies int
	// Account is told what became of the train. It is the engine's own.
	Account Account
}

// An Account is told what became of the wire frames of a train, in one or more
// parts: errno 0 when the kernel took them, the error otherwise. bytes are inner
// ones. It is called by the worker's goroutine inside Send or Flush.
type Account interface {
	Sent(frames, bytes int, errno syscall.Errno)
}

// A Sender queues trains and sends them. Each worker has one; all its methods
// are called by that worker's goroutine only.
type Sender interface {
	// Send queues a train, in order. When the queue is full it flushes first.
	// Trains of one flow never overtake one another.
	Send(t *Train)
	// SendWhole sends a super-frame as it is, under the outer headers that t
	// asks for and behind all that was queued; t.Payload and t.SegSize are not
	// looked at. l3 is where the frame's IP header starts; its checksum must be
	// unfinished (NeedsCsum), and what Validate fills in must be true. The
	// headers are written into the frame's headroom, the frame stays as it is.
	// It returns 0 when the frame is gone, ErrCut when the path takes wire frames
	// only, and what the kernel said otherwise: then the caller cuts the frame.
	SendWhole(t *Train, f *offload.Frame, l3 int) syscall.Errno
	// Flush sends what is queued and tells each train's Account. It returns
	// with the queue empty whatever happened.
	Flush()
	// Close gives back what the sender owns.
	Close() error
}

// A Dialer compiles Paths. It may be called from any goroutine, also by a
// worker that learns a new VTEP, so it makes no system calls that wait.
type Dialer interface {
	Path(remote netip.AddrPort, vni uint32) (Path, error)
}
