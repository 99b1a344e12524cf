package vtep

import (
	"sync/atomic"

	"vtepd/vtep/fdb"
)

// places holds the remotes of a segment by [fdb.Dest]. Readers take no lock;
// one writer at a time, under the segment's lock, puts remotes in place: a copy
// for each VTEP that is learned would cost more than its datagram.
type places struct {
	slots atomic.Pointer[[]atomic.Pointer[Remote]]
	used  int // places that ever held a remote; the writer's
}

// at returns the remote at d, nil if there is none.
func (p *places) at(d fdb.Dest) *Remote {
	if slots := p.slots.Load(); slots != nil && int(d) < len(*slots) {
		return (*slots)[d].Load()
	}
	return nil
}

// all returns the remotes in order of their places.
func (p *places) all() []*Remote {
	slots := p.slots.Load()
	if slots == nil {
		return nil
	}
	out := make([]*Remote, 0, len(*slots))
	for i := range *slots {
		if r := (*slots)[i].Load(); r != nil {
			out = append(out, r)
		}
	}
	return out
}

// put places r, or nothing, at d.
func (p *places) put(d fdb.Dest, r *Remote) {
	old := p.slots.Load()
	if old == nil {
		old = new([]atomic.Pointer[Remote])
	}
	if int(d) >= len(*old) {
		slots := make([]atomic.Pointer[Remote], max(4, 2*len(*old), int(d)+1))
		for i := range *old {
			slots[i].Store((*old)[i].Load())
		}
		old = &slots
		defer p.slots.Store(old)
	}
	(*old)[d].Store(r)
	p.used = max(p.used, int(d)+1)
}
