package underlay

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"vtepd/vtep"
)

// How many datagrams or trains one recvmmsg takes, each of up to 64 KiB. The
// memory is touched only as far as datagrams fill it.
const (
	batchUnicast = 32
	batchGroup   = 8
)

// controlSpace holds what receiving asks for: packet information (40 bytes at
// most), TOS and segment size (24 each), and room to spare.
const controlSpace = 128

// mmsghdr is struct mmsghdr (include/linux/socket.h).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// A Receiver is one receive socket. It implements [vtep.Receiver].
type Receiver struct {
	fd       int
	msgs     []mmsghdr
	iovs     []unix.Iovec
	names    []unix.RawSockaddrInet6 // large enough for either family
	controls [][controlSpace]byte
	arena    *vtep.Arena
	buffers  []byte // of the arena, one a datagram
}

func newReceiver(fd, batch int) *Receiver {
	r := &Receiver{fd: fd, msgs: make([]mmsghdr, batch), iovs: make([]unix.Iovec, batch),
		names: make([]unix.RawSockaddrInet6, batch), controls: make([][controlSpace]byte, batch),
		arena: vtep.NewArena(batch * maxDatagram)}
	r.buffers = r.arena.Bytes()
	for i := range r.msgs {
		r.iovs[i].Base = &r.buffers[i*maxDatagram]
		r.iovs[i].SetLen(maxDatagram)
		h := &r.msgs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
	}
	return r
}

// FD implements [vtep.Receiver].
func (r *Receiver) FD() int { return r.fd }

// Receive implements [vtep.Receiver]. A datagram cut short by the kernel
// cannot be: the buffers are as large as IP allows.
func (r *Receiver) Receive(ds []vtep.Datagram) (int, error) {
	n := min(len(ds), len(r.msgs))
	for i := range r.msgs[:n] {
		h := &r.msgs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlSpace)
	}
	got, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.msgs[0])),
		uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		// An error of the socket belongs to a datagram that is gone; it is
		// cleared by reading it.
		return 0, vtep.ErrAgain
	}
	for i := range ds[:got] {
		m := &r.msgs[i]
		d := &ds[i]
		at := i * maxDatagram
		*d = vtep.Datagram{Payload: r.buffers[at : at+int(m.len) : at+int(m.len)], Src: source(&r.names[i])}
		readControl(d, r.controls[i][:min(int(m.hdr.Controllen), controlSpace)])
	}
	return int(got), nil
}

// source reads the address that the kernel wrote.
func source(sa *unix.RawSockaddrInet6) netip.AddrPort {
	switch sa.Family {
	case unix.AF_INET:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), swap(v4.Port))
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), swap(sa.Port))
	}
	return netip.AddrPort{}
}

// swap turns a port as it stands in a sockaddr into a number.
func swap(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// Drops returns how many datagrams the kernel dropped at the socket: no room,
// or a wrong outer checksum.
func (r *Receiver) Drops() uint64 {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(r.fd), unix.SOL_SOCKET, soMemInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[skMemInfoDrops])
}

// Close implements [vtep.Receiver]. Calling it again does nothing.
func (r *Receiver) Close() error {
	if r.fd < 0 {
		return nil
	}
	err := unix.Close(r.fd)
	r.fd = -1
	if errors.Is(err, unix.EINTR) { // closed all the same (close(2))
		err = nil
	}
	r.buffers = nil
	return errors.Join(err, r.arena.Free())
}
