package daemon

import (
	"vtepd/route/bypass"
	"vtepd/route/path"
)

// A look is one look at the host: what it asked once it does not ask again, so
// that all decisions of one look agree. One goroutine uses it.
type look struct {
	*path.Resolver
	rules *bypass.Look // read when first needed
}

func newLook() (*look, error) {
	r, err := path.NewResolver()
	if err != nil {
		return nil, err
	}
	return &look{Resolver: r}, nil
}

// reason says what in the kernel's output path would treat a flow, "" when
// nothing does.
func (l *look) reason(f bypass.Flow) string {
	if l.rules == nil {
		l.rules = bypass.NewLook()
	}
	return l.rules.Reason(f)
}
