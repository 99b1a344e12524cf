package fastpath

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// A Mirror keeps the programs' maps equal to the segments that take the fast
// path, and brings back what the programs saw. All methods may be called from
// any goroutine.
type Mirror struct {
	k   *Kernel
	now func() fdb.Tick

	// What Changed reads, without the lock.
	published atomic.Pointer[map[*vtep.Segment]*mirrored]

	mu      sync.Mutex        // guards what follows and every change of the above
	places  map[uint32]*place // by index
	free    []uint32          // indexes that had a remote and have none, longest first
	used    uint32            // indexes that ever had one
	checked uint32            // when the MACs heard were looked at last
}

// A mirrored segment.
type mirrored struct {
	seg     *vtep.Segment
	device  uint32
	indexes atomic.Pointer[map[*vtep.Remote]uint32] // a copy of what remotes says, for Changed
	remotes map[*vtep.Remote]*place
}

// A place is one remote's index in the maps.
type place struct {
	index  uint32
	seg    *vtep.Segment
	remote *vtep.Remote
	value  remoteValue
	peer   peerKey
	seen   trafficValue // what was counted already
}

// NewMirror makes a mirror that holds nothing. now is the time of the FDBs.
func NewMirror(k *Kernel, now func() fdb.Tick) *Mirror {
	m := &Mirror{k: k, now: now, places: make(map[uint32]*place)}
	m.published.Store(&map[*vtep.Segment]*mirrored{})
	return m
}

// ErrFull is returned when more than [MaxRemotes] remotes should take the fast
// path.
var ErrFull = errors.New("fastpath: too many remotes for the fast path")

// Set says which remotes of a segment take the fast path, and how; device is
// the interface index of the segment's device. None takes the segment out.
// Those that an error is about do not take it.
func (m *Mirror) Set(seg *vtep.Segment, device int, remotes map[*vtep.Remote]Remote) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := (*m.published.Load())[seg]
	if s != nil && s.device != uint32(device) {
		m.drop(s)
		s = nil
	}
	if s == nil {
		if len(remotes) == 0 {
			return nil
		}
		s = &mirrored{seg: seg, device: uint32(device), remotes: make(map[*vtep.Remote]*place)}
		s.publish()
		m.publish(seg, s)
	}
	var gone []*place
	for r, p := range s.remotes {
		if _, stays := remotes[r]; !stays {
			gone = append(gone, p)
		}
	}
	m.forget(s, gone)
	var errs []error
	fresh := false
	for r, spec := range remotes {
		is, err := m.put(s, r, &spec)
		errs = append(errs, err)
		fresh = fresh || is
	}
	if fresh {
		s.publish()
		seg.FDB().Range(func(e fdb.Entry) bool {
			m.sync(s, e.MAC)
			return true
		})
	}
	if len(s.remotes) == 0 {
		m.drop(s)
	}
	return errors.Join(errs...)
}

// publish tells Changed of a segment, or with nil that it is out.
func (m *Mirror) publish(seg *vtep.Segment, s *mirrored) {
	next := maps.Clone(*m.published.Load())
	if next[seg] = s; s == nil {
		delete(next, seg)
	}
	m.published.Store(&next)
}

// publish tells Changed of the segment's remotes.
func (s *mirrored) publish() {
	next := make(map[*vtep.Remote]uint32, len(s.remotes))
	for r, p := range s.remotes {
		next[r] = p.index
	}
	s.indexes.Store(&next)
}

// put writes a remote into the maps. It reports whether it was not there.
func (m *Mirror) put(s *mirrored, r *vtep.Remote, spec *Remote) (fresh bool, err error) {
	value, peer, err := spec.value(int(s.device))
	if err != nil {
		return false, err
	}
	p := s.remotes[r]
	if p != nil && p.value == value && p.peer == peer {
		return false, nil
	}
	if p != nil && p.peer != peer {
		m.forget(s, []*place{p})
		p = nil
	}
	if p == nil {
		if p = m.place(s, r); p == nil {
			return false, ErrFull
		}
		fresh = true
	}
	p.value, p.peer = value, peer
	err = m.k.in.Remotes.Put(p.index, &value)
	if peer != (peerKey{}) {
		err = errors.Join(err, m.k.in.Peers.Put(&peer, p.index))
	}
	if err != nil {
		m.forget(s, []*place{p})
		return false, err
	}
	return fresh, nil
}

// place gives a remote an index, nil when there is none left.
func (m *Mirror) place(s *mirrored, r *vtep.Remote) *place {
	p := &place{seg: s.seg, remote: r}
	if m.used < MaxRemotes {
		p.index = m.used
		m.used++
	} else if len(m.free) > 0 {
		p.index, m.free = m.free[0], m.free[1:]
	} else {
		return nil
	}
	p.seen, _ = m.k.traffic(p.index) // counted for the one before
	s.remotes[r], m.places[p.index] = p, p
	return p
}

// forget takes remotes of a segment out, and the MACs behind them.
func (m *Mirror) forget(s *mirrored, gone []*place) {
	if len(gone) == 0 {
		return
	}
	was := make(map[uint32]bool, len(gone))
	for _, p := range gone {
		was[p.index] = true
		delete(s.remotes, p.remote)
	}
	s.publish()
	for _, p := range gone {
		var index uint32 // another remote may have become the one that is heard
		if m.k.in.Peers.Lookup(&p.peer, &index) == nil && index == p.index {
			_ = m.k.in.Peers.Delete(&p.peer)
		}
		_ = m.k.in.Remotes.Put(p.index, &remoteValue{})
		m.tally(p)
		delete(m.places, p.index)
		m.free = append(m.free, p.index)
	}
	m.resync(s, func(remote uint32) bool { return was[remote] })
}

// drop takes a segment out.
func (m *Mirror) drop(s *mirrored) {
	m.publish(s.seg, nil)
	var all []*place
	for _, p := range s.remotes {
		all = append(all, p)
	}
	m.forget(s, all)
	m.resync(s, func(uint32) bool { return true })
}

// lookPeriod is how often the time that MACs were heard is brought back to the
// FDB: an ageing of some seconds should still be about that.
const lookPeriod = time.Second

// Run tells the FDBs what was heard, until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	t := time.NewTicker(lookPeriod)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			m.Tally()
		}
	}
}

// Keep takes out the segments for which f is false.
func (m *Mirror) Keep(f func(*vtep.Segment) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for seg, s := range *m.published.Load() {
		if !f(seg) {
			m.drop(s)
		}
	}
}
