package daemon

import (
	"vtepd/route/bypass"
	"vtepd/route/path"
	"vtepd/vtep/underlay/tunnelgso"
)

// maxStrangers is how many of the VTEPs learned from the wire one look asks the
// kernel about, some 0.2 ms each. The others wait for the next look: strangers
// may come by the thousand, and a look holds the daemon's lock.
const maxStrangers = 256

// A look is one look at the host: what it asked once it does not ask again, so
// that all decisions of one look agree. One goroutine uses it.
type look struct {
	*path.Resolver
	findings
	news      bool // it is for remotes that came; what was found before holds
	strangers int  // how many more may be asked about
}

// findings are what is the same for all remotes.
type findings struct {
	rules   *bypass.Look    // read when first needed
	cutting map[string]bool // by interface: whether it cuts tunnel super-frames
	control map[hook]string // what traffic control does at a hook
}

// A hook is a direction of an interface.
type hook struct {
	ifIndex int
	in      bool
}

func newLook() (*look, error) {
	r, err := path.NewResolver()
	if err != nil {
		return nil, err
	}
	return &look{Resolver: r, findings: findings{cutting: make(map[string]bool), control: make(map[hook]string)}, strangers: maxStrangers}, nil
}

// newsLook makes a look at remotes that came since the last one, or went. It
// holds d.mu.
func (d *Daemon) newsLook() (*look, error) {
	l, err := newLook()
	if err == nil && d.found.cutting != nil {
		l.news, l.findings = true, d.found
	}
	return l, err
}

// reason says what in the kernel's output or input path would treat a flow, "" when
// nothing does.
func (l *look) reason(f bypass.Flow) string {
	if l.rules == nil {
		l.rules = bypass.NewLook()
	}
	return l.rules.Reason(f)
}

// controlled says what traffic control does to what leaves by an interface, or
// arrives by it, "" when nothing does.
func (l *look) controlled(ifIndex int, in bool) string {
	at := hook{ifIndex, in}
	why, known := l.control[at]
	if !known {
		why = bypass.Controlled(ifIndex, in)
		l.control[at] = why
	}
	return why
}

// cuts reports whether an interface cuts tunnel super-frames itself; one that
// cannot be asked does not.
func (l *look) cuts(device string) bool {
	cuts, known := l.cutting[device]
	if !known {
		cuts, _ = tunnelgso.Cuts(device) // an error says false, too
		l.cutting[device] = cuts
	}
	return cuts
}
