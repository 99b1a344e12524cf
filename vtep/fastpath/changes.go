package fastpath

import (
	"sync"

	"vtepd/encap/packet"
	"vtepd/vtep"
)

// A change is a MAC whose FDB entry is another now.
type change struct {
	seg *vtep.Segment
	mac packet.MAC
}

// changes collects what changed until somebody carries it out. Each MAC is in
// it once, so it is bounded by the size of the FDBs.
type changes struct {
	wake chan struct{} // holds one request

	mu      sync.Mutex
	macs    map[change]struct{}
	watched map[*vtep.Segment]struct{}
}

// watch says whether changes of a segment count.
func (c *changes) watch(seg *vtep.Segment, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watched == nil {
		c.watched = make(map[*vtep.Segment]struct{})
	}
	if on {
		c.watched[seg] = struct{}{}
	} else {
		delete(c.watched, seg)
	}
}

func (c *changes) add(seg *vtep.Segment, mac packet.MAC) {
	c.mu.Lock()
	_, on := c.watched[seg]
	if on {
		c.macs[change{seg, mac}] = struct{}{}
	}
	c.mu.Unlock()
	if !on {
		return
	}
	select {
	case c.wake <- struct{}{}:
	default: // asked for already
	}
}

// take returns what changed since the last time.
func (c *changes) take() []change {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]change, 0, len(c.macs))
	for ch := range c.macs {
		out = append(out, ch)
	}
	clear(c.macs)
	return out
}
