package daemon

import (
	"vtepd/route/bypass"
	"vtepd/route/path"
	"vtepd/vtep/underlay/tunnelgso"
)

// A look is one look at the host: what it asked once it does not ask again, so
// that all decisions of one look agree. One goroutine uses it.
type look struct {
	*path.Resolver
	rules   *bypass.Look    // read when first needed
	cutting map[string]bool // by interface: whether it cuts tunnel super-frames
}

func newLook() (*look, error) {
	r, err := path.NewResolver()
	if err != nil {
		return nil, err
	}
	return &look{Resolver: r, cutting: make(map[string]bool)}, nil
}

// reason says what in the kernel's output path would treat a flow, "" when
// nothing does.
func (l *look) reason(f bypass.Flow) string {
	if l.rules == nil {
		l.rules = bypass.NewLook()
	}
	return l.rules.Reason(f)
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
