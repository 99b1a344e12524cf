package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPath is where the daemon's control socket is when nobody says
// otherwise.
const DefaultPath = "/run/vtepd/vtepd.sock"

// socketMode lets the owner and the group connect, which takes write
// permission.
const socketMode = 0o660

// maxPath is what sun_path of struct sockaddr_un holds, less the final zero
// (unix(7)).
const maxPath = 107

// A SocketInUse error says that a process answers at the control socket.
type SocketInUse struct {
	Path string
	PID  int // 0 if unknown
}

// Error implements error.
func (e *SocketInUse) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", e.PID)); err == nil && len(name) > 1 {
			who = fmt.Sprintf("process %d (%s)", e.PID, name[:len(name)-1])
		}
	}
	return fmt.Sprintf("control socket %s: %s already serves it; give this daemon another one with --control", e.Path, who)
}

// A socket is a listening unix socket and the file that stands for it.
type socket struct {
	net.Listener
	path    string
	file    os.FileInfo
	madeDir string // the folder we made for it, empty if it was there

	closeOnce sync.Once
	closeErr  error
}

// listen opens the control socket at path. A socket file that nobody answers
// is replaced.
func listen(path string) (*socket, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("control socket %s: a socket's path has at most %d bytes", path, maxPath)
	}
	s := &socket{path: path}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err == nil {
		s.madeDir = dir
	} else if !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		s.removeDir()
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		s.removeDir()
		return nil, err
	}
	if err := s.bind(); err != nil {
		s.removeDir()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return s, nil
}

// bind makes the socket. Its mode is never wider than socketMode: bind(2)
// takes the mode of the inode behind the descriptor, less the umask
// (net/unix/af_unix.c, unix_bind_bsd).
func (s *socket) bind() error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, chmodErr)
	}}
	l, err := config.Listen(context.Background(), "unix", s.path)
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // Close looks first whose it is
	s.Listener = l
	if err = os.Chmod(s.path, socketMode); err == nil { // what the umask took
		s.file, err = os.Lstat(s.path)
	}
	if err != nil {
		return errors.Join(err, l.Close(), os.Remove(s.path))
	}
	return nil
}

// chgrp gives the socket to a group by name.
func (s *socket) chgrp(group string) error {
	g, err := user.LookupGroup(group)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("group %s: %w", group, err)
	}
	return os.Lchown(s.path, -1, gid)
}

// Close stops listening and removes the socket's file if it is still ours, and
// the folder if we made it and it is empty.
func (s *socket) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *socket) close() error {
	err := s.Listener.Close()
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.file) {
		err = errors.Join(err, os.Remove(s.path))
	}
	s.removeDir()
	return err
}

// removeDir fails when others use the folder, which is as it should be.
func (s *socket) removeDir() {
	if s.madeDir != "" {
		_ = os.Remove(s.madeDir)
	}
}

// lockDir keeps two daemons that start at the same moment from replacing each
// other's socket: looking and replacing are one step under the folder's lock.
func lockDir(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(2 * time.Second)
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { d.Close() }, nil // closing gives the lock back
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			d.Close()
			return nil, fmt.Errorf("%s: another daemon is starting: %w", dir, err)
		}
		time.Sleep(10 * time.Millisecond) // flock has no timeout of its own
	}
}

// removeStale removes a socket file at path that nobody answers.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("control socket %s: there is something that is not a socket; move it away or give another path with --control", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		pid := peerPID(conn.(*net.UnixConn))
		_ = conn.Close() // nothing was sent
		return &SocketInUse{Path: path, PID: pid}
	}
	if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, os.ErrNotExist) {
		// Alive but busy (EAGAIN), or not ours to judge (EACCES).
		return fmt.Errorf("control socket %s: cannot tell whether a daemon serves it: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// peerPID returns the process that made the socket listen (unix(7),
// SO_PEERCRED), 0 if it cannot be seen from here.
func peerPID(c *net.UnixConn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
