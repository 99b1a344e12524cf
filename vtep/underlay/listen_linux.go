package underlay

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A Spec says what the receive sockets of one address and port are like.
type Spec struct {
	Addr    netip.AddrPort // ours, or the wildcard
	Device  string         // bound to this interface; empty for any
	Workers int            // sockets, one each
	// ZeroCsum6 accepts datagrams without checksum over IPv6.
	ZeroCsum6 bool
	// GRO lets the kernel join datagrams of one flow.
	GRO bool
	// Join says that this process has sockets on the address and port already,
	// so that finding them is no error.
	Join bool
}

// Listen opens one socket a worker, among which the kernel spreads flows by
// their outer addresses and ports. The error is a [*PortInUse] if somebody else
// holds the port.
func Listen(s Spec) (_ []*Receiver, err error) {
	var out []*Receiver
	defer func() {
		if err != nil {
			for _, r := range out {
				err = errors.Join(err, r.Close())
			}
		}
	}()
	for i := range s.Workers {
		// The first one is bound alone: with SO_REUSEPORT it would share the
		// port with another daemon of the same user instead of finding it.
		share := i > 0 || s.Join
		r, err := listenOne(s, share)
		if errors.Is(err, unix.EADDRINUSE) {
			return out, &PortInUse{Addr: s.Addr, Holder: holder(s.Addr)}
		}
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			return out, fmt.Errorf("listen on %v: this host does not have that address", s.Addr)
		}
		if err != nil {
			return out, fmt.Errorf("listen on %v: %w", s.Addr, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func listenOne(s Spec, share bool) (*Receiver, error) {
	fd, err := socket(s.Addr.Addr())
	if err != nil {
		return nil, err
	}
	o := options{fd: fd}
	if share {
		o.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	o.receiving(s.Addr.Addr(), s.GRO)
	if s.Addr.Addr().Is6() && s.ZeroCsum6 {
		o.set(unix.IPPROTO_UDP, udpNoCheck6Rx, 1)
	}
	o.device(s.Device)
	o.do("bind", func() error { return unix.Bind(fd, sockaddr(s.Addr)) })
	if !share {
		o.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if o.err != nil {
		return nil, errors.Join(o.err, unix.Close(fd))
	}
	return newReceiver(fd, batchUnicast), nil
}

// socket makes a UDP socket of a's family.
func socket(a netip.Addr) (int, error) {
	family := unix.AF_INET
	if a.Is6() {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// options sets socket options and remembers the first error.
type options struct {
	fd  int
	err error
}

func (o *options) do(what string, f func() error) {
	if o.err == nil {
		if err := f(); err != nil {
			o.err = fmt.Errorf("%s: %w", what, err)
		}
	}
}

func (o *options) set(level, option, value int) {
	o.do(fmt.Sprintf("socket option %d/%d", level, option), func() error {
		return unix.SetsockoptInt(o.fd, level, option, value)
	})
}

// device binds the socket to an interface.
func (o *options) device(name string) {
	if name != "" {
		o.do("bind to interface "+name, func() error { return unix.BindToDevice(o.fd, name) })
	}
}

// buffer asks for a socket buffer, beyond the system's limit where we may.
func (o *options) buffer(force, plain, bytes int) {
	if o.err != nil || unix.SetsockoptInt(o.fd, unix.SOL_SOCKET, force, bytes) == nil {
		return
	}
	o.set(unix.SOL_SOCKET, plain, bytes)
}

// receiving asks for what each datagram is to bring along.
func (o *options) receiving(a netip.Addr, gro bool) {
	if a.Is4() {
		o.set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		o.set(unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	} else {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
	}
	o.buffer(unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer)
	if gro {
		o.set(unix.IPPROTO_UDP, udpGRO, 1)
	}
}
