package load

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many datagrams one system call of the flood moves.
const batch = 64

// mmsghdr is struct mmsghdr (include/linux/socket.h).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// messages are datagram buffers for sendmmsg and recvmmsg.
type messages struct {
	hdrs []mmsghdr
	iovs []unix.Iovec
	data []byte
}

// newMessages makes batch buffers of size bytes each.
func newMessages(size int) *messages {
	m := &messages{hdrs: make([]mmsghdr, batch), iovs: make([]unix.Iovec, batch), data: make([]byte, batch*size)}
	for i := range m.hdrs {
		m.iovs[i].Base = &m.data[i*size]
		m.iovs[i].SetLen(size)
		m.hdrs[i].hdr.Iov = &m.iovs[i]
		m.hdrs[i].hdr.SetIovlen(1)
	}
	return m
}

// spareThreads is how many of our threads are inside raw system calls at most,
// with room for the rest of the program.
const spareThreads = 4

// enoughThreads lets Go run that many threads beside its own. The calls of this
// package that decide a figure are raw: around others Go's monitor wakes every
// 20 µs to see whether a thread is stuck, on the processors that are measured.
func enoughThreads() { runtime.GOMAXPROCS(runtime.NumCPU() + spareThreads) }

// transfer reads or writes one datagram on a blocking socket, by a raw system
// call.
func transfer(trap uintptr, fd int, b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// call makes the system call once and returns how many datagrams it moved.
func (m *messages) call(trap uintptr, fd int, flags uintptr) (int, error) {
	n, _, errno := unix.RawSyscall6(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.hdrs[0])), uintptr(len(m.hdrs)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// send sends all of them on a connected socket. Datagrams that find a queue
// full are lost, as any sender's are.
func (m *messages) send(fd int) (int, error) {
	n, err := m.call(unix.SYS_SENDMMSG, fd, 0)
	if fleeting(err) {
		return 0, nil
	}
	return n, err
}

// receive waits for one and takes those that are there, and returns how many
// of them have the given size.
func (m *messages) receive(fd, size int) (int, error) {
	n, err := m.call(unix.SYS_RECVMMSG, fd, unix.MSG_WAITFORONE)
	if err != nil {
		if fleeting(err) {
			return 0, nil
		}
		return 0, err
	}
	good := 0
	for i := range n {
		if int(m.hdrs[i].n) == size {
			good++
		}
	}
	return good, nil
}

// fleeting reports whether an error says nothing about the next call.
func fleeting(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	switch errno {
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ECONNREFUSED:
		return true
	default:
		return false
	}
}
