// Package claim lets one process a network namespace own what is written into
// the kernel under a fixed name: the routes of a protocol number, a table of
// nftables. Two daemons would otherwise undo each other's work for ever.
//
// A claim is a unix socket in the abstract namespace (unix(7)), which belongs to
// the network namespace and goes with its process, however that ends.
package claim

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// A Held error says that another process has the claim.
type Held struct {
	Name string
	PID  int
}

// Error implements error.
func (e *Held) Error() string {
	return fmt.Sprintf("the %s of this network namespace belong to another vtepd (pid %d)", e.Name, e.PID)
}

// A Claim is held until Release.
type Claim struct {
	l *net.UnixListener // nil when a stranger sits on the name
}

// Take claims name in the network namespace of the calling thread. A *[Held]
// error says that somebody else has it. Any user may bind any abstract name:
// a holder who is neither root nor our own user has no say and is passed over.
func Take(name string) (*Claim, error) {
	addr := &net.UnixAddr{Name: "@vtepd/" + name, Net: "unix"}
	for range 3 {
		l, err := net.ListenUnix("unix", addr)
		if err == nil {
			go answer(l)
			return &Claim{l: l}, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("claim to %s: %w", name, err)
		}
		cred, err := holder(addr)
		if errors.Is(err, unix.EAGAIN) {
			return &Claim{}, nil // a holder of ours answers at once
		}
		if err != nil {
			continue // it has gone since
		}
		if cred.Uid != 0 && cred.Uid != uint32(os.Geteuid()) {
			return &Claim{}, nil
		}
		return nil, &Held{Name: name, PID: int(cred.Pid)}
	}
	return nil, fmt.Errorf("claim to %s: its holder does not answer", name)
}

// answer takes what others ask off the queue, until the claim is released. That
// they could connect is all they want to know.
func answer(l *net.UnixListener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

// holder asks the kernel who listens at addr.
func holder(addr *net.UnixAddr) (*unix.Ucred, error) {
	c, err := net.DialUnix("unix", nil, addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // nothing was written
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return cred, errors.Join(err, failed)
}

// Release gives the claim up. It may be called on a nil Claim.
func (c *Claim) Release() {
	if c != nil && c.l != nil {
		_ = c.l.Close() // there is nothing to flush
		c.l = nil
	}
}
