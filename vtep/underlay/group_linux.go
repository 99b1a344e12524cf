package underlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// A GroupSpec says how a multicast group is received.
type GroupSpec struct {
	Group   netip.Addr
	Port    uint16
	IfIndex int    // interface the group is joined on
	Device  string // bound to this interface; empty for any
	GRO     bool
}

// ListenGroup opens the one socket of a group: bound to the group, so that it
// gets nothing else, and joined on one interface. More sockets would each get a
// copy of every datagram (tried on 6.18).
func ListenGroup(s GroupSpec) (*Receiver, error) {
	ifi, err := net.InterfaceByIndex(s.IfIndex)
	if err != nil {
		return nil, fmt.Errorf("group %v: interface %d: %w", s.Group, s.IfIndex, err)
	}
	fd, err := socket(s.Group)
	if err != nil {
		return nil, fmt.Errorf("group %v: %w", s.Group, err)
	}
	o := options{fd: fd}
	// Other VTEPs of this host may be in the group as well.
	o.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	o.receiving(s.Group, s.GRO)
	if s.Group.Is4() {
		o.set(unix.IPPROTO_IP, ipMulticastAll, 0)
	} else {
		o.set(unix.IPPROTO_IPV6, ipv6MulticastAll, 0)
	}
	o.device(s.Device)
	addr := netip.AddrPortFrom(s.Group, s.Port)
	o.do("bind", func() error { return bindGroup(fd, addr, s.IfIndex) })
	o.do("join on "+ifi.Name, func() error {
		return withConn(fd, func(c net.PacketConn) error { return join(c, s.Group, ifi) })
	})
	if errors.Is(o.err, unix.EADDRINUSE) {
		o.err = &PortInUse{Addr: addr, Holder: holder(addr)}
	}
	if o.err != nil {
		return nil, errors.Join(fmt.Errorf("group %v: %w", s.Group, o.err), unix.Close(fd))
	}
	return newReceiver(fd, batchGroup), nil
}

func bindGroup(fd int, a netip.AddrPort, ifIndex int) error {
	sa := sockaddr(a)
	if v6, ok := sa.(*unix.SockaddrInet6); ok && a.Addr().IsLinkLocalMulticast() {
		v6.ZoneId = uint32(ifIndex)
	}
	return unix.Bind(fd, sa)
}

func join(c net.PacketConn, group netip.Addr, ifi *net.Interface) error {
	g := &net.UDPAddr{IP: group.AsSlice()}
	if group.Is4() {
		return ipv4.NewPacketConn(c).JoinGroup(ifi, g)
	}
	return ipv6.NewPacketConn(c).JoinGroup(ifi, g)
}

// dropAll attaches a filter that takes nothing: for sockets that only send.
func dropAll(fd int, v6 bool) error {
	filter, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		return err
	}
	return withConn(fd, func(c net.PacketConn) error {
		if v6 {
			return ipv6.NewPacketConn(c).SetBPF(filter)
		}
		return ipv4.NewPacketConn(c).SetBPF(filter)
	})
}

// withConn lends a descriptor to code that wants a net.PacketConn, which is a
// duplicate in Go's poller until f returns.
func withConn(fd int, f func(net.PacketConn) error) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(dup), "udp")
	c, err := net.FilePacketConn(file)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(f(c), c.Close(), file.Close())
}
