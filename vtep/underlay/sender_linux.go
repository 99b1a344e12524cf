package underlay

import (
	"math/rand/v2"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/vtep"
)

// The room of a sender. A train takes one message, or more where it is larger
// than one may be.
const (
	maxMessages = 128
	maxParts    = 512 // iovecs
)

// SenderOptions say how a [Sender] works.
type SenderOptions struct {
	// Segment lets the kernel cut messages into datagrams (UDP_SEGMENT).
	Segment bool
	// Worker is the index of the worker that uses the sender.
	Worker int
}

// A Sender queues trains and sends them with few system calls. It implements
// [vtep.Sender].
type Sender struct {
	segment bool // UDP_SEGMENT is in use
	worker  int
	id      uint16 // IPv4 ID of the next wire frame of a super-frame sent whole

	msgs  [maxMessages]message
	hdrs  [maxMessages]mmsghdr // what sendmmsg gets, per socket in turn
	order [maxMessages]int     // of hdrs, the index of each message
	n     int
	iovs  [maxParts]unix.Iovec
	parts [maxParts]part
	used  int // of iovs and parts
}

// A message is what one sendmsg sends: datagrams for one remote, with equal
// headers, from one socket.
type message struct {
	fd       int
	path     *path
	tos, ttl uint8
	segSize  int
	bytes    int
	segments int
	closed   bool // its last datagram is short: nothing may follow
	first    int  // of iovs and parts
	count    int
	sent     bool
	copied   *encap.Template // its headers when the kernel makes the copy, see sendCopies
	port     uint16          // its source port
	control  [controlSpace]byte
}

// A part is one train's share of a message.
type part struct {
	account       vtep.Account
	frames, bytes int
}

// NewSender makes a sender for one worker.
func NewSender(o SenderOptions) *Sender {
	return &Sender{segment: o.Segment, worker: o.Worker, id: uint16(rand.Uint32())}
}

// Send implements [vtep.Sender]. A message is filled up from one train to the
// next: what a super-frame is cut into is often a little more than one message
// holds, and each costs the kernel and the far side as much as a full one.
func (s *Sender) Send(t *vtep.Train) {
	p := t.Path.(*path)
	pl, i := p.socket(t.Entropy, t.DF)
	fd := pl.fds[i]
	copied := p.copied(t)
	// SO_NO_CHECK excludes UDP_SEGMENT (udp_send_skb).
	segment := s.segment && !pl.key.noCsum && copied == nil
	for b := t.Payload; len(b) > 0; {
		if s.used == maxParts {
			s.Flush()
		}
		n := 0
		if s.n > 0 && segment {
			n = s.msgs[s.n-1].room(t, p, fd, len(b))
		}
		if n == 0 {
			n = min(t.SegSize, len(b))
			m := s.begin(t, p, fd, n)
			m.copied, m.port = copied, pl.ports[i]
			if segment && n < len(b) {
				n = max(n, m.room(t, p, fd, len(b)))
			}
		}
		s.add(t, b[:n])
		b = b[n:]
	}
}

// begin starts a message of datagrams of segSize bytes.
func (s *Sender) begin(t *vtep.Train, p *path, fd, segSize int) *message {
	if s.n == maxMessages {
		s.Flush()
	}
	m := &s.msgs[s.n]
	s.n++
	m.fd, m.path, m.tos, m.ttl, m.segSize = fd, p, t.TOS, t.TTL, segSize
	m.bytes, m.segments, m.closed, m.first, m.count, m.sent = 0, 0, false, s.used, 0, false
	return m
}

// add appends datagrams to the last message.
func (s *Sender) add(t *vtep.Train, b []byte) {
	m := &s.msgs[s.n-1]
	segments := (len(b) + m.segSize - 1) / m.segSize
	s.iovs[s.used].Base = &b[0]
	s.iovs[s.used].SetLen(len(b))
	s.parts[s.used] = part{account: t.Account, frames: segments, bytes: len(b) - segments*encap.HeaderLen}
	s.used++
	m.count++
	m.bytes += len(b)
	m.segments += segments
	m.closed = len(b)%m.segSize != 0
}

// room returns how many of the next n bytes of a train may join the message:
// whole datagrams, or all that is left.
func (m *message) room(t *vtep.Train, p *path, fd, n int) int {
	if m.path != p || m.fd != fd || m.closed || m.copied != nil || m.tos != t.TOS || m.ttl != t.TTL {
		return 0
	}
	if t.SegSize != m.segSize {
		// One datagram, and if it is shorter the message ends with it.
		if n > t.SegSize || n > m.segSize || m.segments == maxSegments || m.bytes+n > maxMessage {
			return 0
		}
		return n
	}
	most := min(maxSegments-m.segments, (maxMessage-m.bytes)/m.segSize)
	return min(most*m.segSize, n)
}

// Flush implements [vtep.Sender]: one sendmmsg a socket, in the order of each
// socket's messages. A flow has one socket, so its order is kept.
func (s *Sender) Flush() {
	for i := range s.n {
		m := &s.msgs[i]
		if m.copied != nil {
			s.sendCopies(i)
		}
		if !m.sent {
			s.sendSocket(i, m.fd)
		}
	}
	s.n, s.used = 0, 0
}

// sendSocket sends the messages from index from on that belong to one socket,
// up to the next that goes another way.
func (s *Sender) sendSocket(from, fd int) {
	n := 0
	for i := from; i < s.n; i++ {
		m := &s.msgs[i]
		if m.fd == fd && m.copied != nil {
			break
		}
		if m.fd == fd && !m.sent {
			m.sent = true
			s.fill(&s.hdrs[n].hdr, m)
			s.order[n] = i
			n++
		}
	}
	for i := 0; i < n; {
		done, errno := sendmmsg(fd, s.hdrs[i:n])
		for range done {
			s.account(&s.msgs[s.order[i]], 0)
			i++
		}
		if errno != 0 && i < n {
			s.failed(&s.msgs[s.order[i]], errno)
			i++
		}
	}
}

// fill writes a message as the kernel reads it.
func (s *Sender) fill(h *unix.Msghdr, m *message) {
	*h = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&m.path.name)), Namelen: m.path.nameLen, Iov: &s.iovs[m.first]}
	h.SetIovlen(m.count)
	segment := 0
	if m.segments > 1 { // only when it really cuts: some paths refuse it otherwise
		segment = m.segSize
	}
	c := append(m.control[:0], m.path.control...)
	c = appendHeaders(c, m.path.v6, m.ttl, m.tos, segment)
	h.Control = &m.control[0]
	h.SetControllen(len(c))
}

// account tells the trains of a message what became of them.
func (s *Sender) account(m *message, errno syscall.Errno) {
	for _, p := range s.parts[m.first : m.first+m.count] {
		p.account.Sent(p.frames, p.bytes, errno)
	}
}

// failed deals with a message that the kernel refused. One to be cut may go
// datagram by datagram: then UDP_SEGMENT is what the kernel does not want on
// this path (EIO, EINVAL), and is not used any more.
func (s *Sender) failed(m *message, errno syscall.Errno) {
	if m.segments == 1 || errno != unix.EIO && errno != unix.EINVAL && errno != unix.EMSGSIZE {
		s.account(m, errno)
		return
	}
	works := false
	for i := m.first; i < m.first+m.count; i++ {
		works = s.sendSingly(m, i) || works
	}
	if works {
		s.segment = false
	}
}

// sendSingly sends the datagrams of one part one by one and reports whether
// any went.
func (s *Sender) sendSingly(m *message, part int) (works bool) {
	b := unsafe.Slice(s.iovs[part].Base, int(s.iovs[part].Len))
	var iov [1]unix.Iovec
	var h [1]mmsghdr
	for len(b) > 0 {
		n := min(m.segSize, len(b))
		iov[0].Base = &b[0]
		iov[0].SetLen(n)
		h[0].hdr = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&m.path.name)), Namelen: m.path.nameLen, Iov: &iov[0]}
		h[0].hdr.SetIovlen(1)
		c := appendHeaders(append(m.control[:0], m.path.control...), m.path.v6, m.ttl, m.tos, 0)
		h[0].hdr.Control = &m.control[0]
		h[0].hdr.SetControllen(len(c))
		_, errno := sendmmsg(m.fd, h[:])
		s.parts[part].account.Sent(1, n-encap.HeaderLen, errno)
		works = works || errno == 0
		b = b[n:]
	}
	return works
}

// waitSend is how long a worker waits for room in a socket's buffer, in
// milliseconds; then the datagram is dropped, as a full device queue would.
const waitSend = 2

// sendmmsg sends messages and returns how many went, and the error that
// stopped it.
func sendmmsg(fd int, hdrs []mmsghdr) (int, syscall.Errno) {
	waited := false
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs[0])),
			uintptr(len(hdrs)), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			return int(n), 0
		case errno == unix.EINTR:
		case errno == unix.EAGAIN && !waited:
			waited = true
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(fds, waitSend) // the next try tells
		case errno == unix.EAGAIN:
			return 0, unix.ENOBUFS
		default:
			return 0, errno
		}
	}
}

// Segments reports whether UDP_SEGMENT is in use. Any goroutine may call it
// only while no worker uses the sender.
func (s *Sender) Segments() bool { return s.segment }

// Close implements [vtep.Sender]. The sockets belong to the pools.
func (s *Sender) Close() error { return nil }
