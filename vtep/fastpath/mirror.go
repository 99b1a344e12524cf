package fastpath

import (
	"context"
	"errors"
	"sync"
	"time"

	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// A Mirror keeps the programs' maps equal to the segments that take the fast
// path, and brings back what the programs saw. All methods may be called from
// any goroutine.
type Mirror struct {
	k   *Kernel
	now func() fdb.Tick

	mu       sync.Mutex // held for every change of the maps
	segments map[*vtep.Segment]*mirrored
	places   map[uint32]*place // by index
	free     []uint32          // indexes that had a remote and have none
	used     uint32            // indexes that ever had one
	checked  uint32            // when the MACs heard were looked at last

	dirty changes
}

// A mirrored segment.
type mirrored struct {
	seg     *vtep.Segment
	device  uint32
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
	return &Mirror{k: k, now: now, segments: make(map[*vtep.Segment]*mirrored), places: make(map[uint32]*place),
		dirty: changes{macs: make(map[change]struct{}), wake: make(chan struct{}, 1)}}
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
	s := m.segments[seg]
	if s != nil && s.device != uint32(device) {
		m.drop(s)
		s = nil
	}
	if s == nil {
		if len(remotes) == 0 {
			return nil
		}
		s = &mirrored{seg: seg, device: uint32(device), remotes: make(map[*vtep.Remote]*place)}
		m.segments[seg] = s
		m.dirty.watch(seg, true)
	}
	for r, p := range s.remotes {
		if _, stays := remotes[r]; !stays {
			m.forget(s, p)
		}
	}
	var errs []error
	fresh := false
	for r, spec := range remotes {
		is, err := m.put(s, r, &spec)
		errs = append(errs, err)
		fresh = fresh || is
	}
	if fresh {
		seg.FDB().Range(func(e fdb.Entry) bool {
			m.mac(s, e.MAC)
			return true
		})
	}
	if len(s.remotes) == 0 {
		m.drop(s)
	}
	return errors.Join(errs...)
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
		m.forget(s, p)
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
		m.forget(s, p)
		return false, err
	}
	return fresh, nil
}

// place gives a remote an index, nil when there is none left.
func (m *Mirror) place(s *mirrored, r *vtep.Remote) *place {
	p := &place{seg: s.seg, remote: r}
	if n := len(m.free); n > 0 {
		p.index, m.free = m.free[n-1], m.free[:n-1]
	} else if m.used < MaxRemotes {
		p.index = m.used
		m.used++
	} else {
		return nil
	}
	p.seen, _ = m.k.traffic(p.index) // counted for the one before
	s.remotes[r], m.places[p.index] = p, p
	return p
}

// forget takes a remote out, and the MACs behind it.
func (m *Mirror) forget(s *mirrored, p *place) {
	var index uint32 // another remote may have become the one that is heard
	if m.k.in.Peers.Lookup(&p.peer, &index) == nil && index == p.index {
		_ = m.k.in.Peers.Delete(&p.peer)
	}
	_ = m.k.in.Remotes.Put(p.index, &remoteValue{})
	m.tally(p)
	delete(s.remotes, p.remote)
	delete(m.places, p.index)
	m.forgetMACs(func(k *macKey, v *macValue) bool { return v.Remote == p.index })
	m.free = append(m.free, p.index)
}

// drop takes a segment out.
func (m *Mirror) drop(s *mirrored) {
	m.dirty.watch(s.seg, false)
	for _, p := range s.remotes {
		m.forget(s, p)
	}
	delete(m.segments, s.seg)
}

// mac brings the entry of one MAC in step with the FDB.
func (m *Mirror) mac(s *mirrored, mac packet.MAC) {
	key := macKey{Device: s.device, MAC: mac}
	if e, ok := s.seg.FDB().Get(mac); ok {
		if r := s.seg.RemoteAt(e.Dest); r != nil {
			if p := s.remotes[r]; p != nil {
				// One that finds no room is left to user space.
				_ = m.k.in.MACs.Put(&key, &macValue{Remote: p.index})
				return
			}
		}
	}
	_ = m.k.in.MACs.Delete(&key)
}

// forgetMACs takes out the MACs for which f is true.
func (m *Mirror) forgetMACs(f func(*macKey, *macValue) bool) {
	var gone []macKey
	m.eachMAC(func(k *macKey, v *macValue) {
		if f(k, v) {
			gone = append(gone, *k)
		}
	})
	for i := range gone {
		_ = m.k.in.MACs.Delete(&gone[i])
	}
}

// eachMAC calls f with each MAC. Those that come or go meanwhile may be missed.
func (m *Mirror) eachMAC(f func(*macKey, *macValue)) {
	var k macKey
	var v macValue
	for it := m.k.in.MACs.Iterate(); it.Next(&k, &v); {
		f(&k, &v)
	}
}

// Changed is told that the FDB of a segment has something else for a MAC now.
// It never waits, and may be called under the FDB's lock.
func (m *Mirror) Changed(seg *vtep.Segment, mac packet.MAC) { m.dirty.add(seg, mac) }

// lookPeriod is how often the time that MACs were heard is brought back to the
// FDB: often enough for the shortest ageing that [config] takes.
const lookPeriod = time.Second

// Run carries out what Changed is told, and tells the FDBs what was heard, until
// ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	t := time.NewTicker(lookPeriod)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.dirty.wake:
			m.carryOut()
		case <-t.C:
			m.Tally()
		}
	}
}

// carryOut brings the maps in step with what changed.
func (m *Mirror) carryOut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.dirty.take() {
		if s := m.segments[c.seg]; s != nil {
			m.mac(s, c.mac)
		}
	}
}

// Keep takes out the segments for which f is false.
func (m *Mirror) Keep(f func(*vtep.Segment) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for seg, s := range m.segments {
		if !f(seg) {
			m.drop(s)
		}
	}
}

// Close takes everything out. The Kernel stays its owner's.
func (m *Mirror) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.segments {
		m.drop(s)
	}
}
