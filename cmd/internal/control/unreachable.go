package control

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// An Unreachable error says that no daemon answers at the control socket.
type Unreachable struct {
	Path string
	Err  error
}

// Error says what to do about it.
func (e *Unreachable) Error() string {
	why := e.Err.Error()
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		why = "there is no such socket; start the daemon (vtepd run, or systemctl start vtepd) or name its socket with --control"
	case errors.Is(e.Err, fs.ErrPermission):
		why = "permission denied; be root or a member of the socket's group"
	case errors.Is(e.Err, syscall.ECONNREFUSED):
		why = "nobody answers; the daemon has ended and left the socket behind, start it again"
	case errors.Is(e.Err, syscall.ENOTSOCK), errors.Is(e.Err, syscall.EPROTOTYPE):
		why = "that is not the daemon's socket; name it with --control"
	}
	return fmt.Sprintf("vtepd is not reachable at %s: %s", e.Path, why)
}

// Unwrap returns what the system said.
func (e *Unreachable) Unwrap() error { return e.Err }
