package fastpath

import (
	"vtepd/encap/packet"
	"vtepd/vtep"
)

// Changed is told that the FDB of a segment has something else for a MAC now,
// under the FDB's lock. It does not wait for other methods: a worker calls it
// when it learns a MAC, before it delivers the frame that it learned from, so
// that whoever answers that frame finds the MAC on the fast path.
func (m *Mirror) Changed(seg *vtep.Segment, mac packet.MAC) {
	if s := (*m.published.Load())[seg]; s != nil {
		m.sync(s, mac)
	}
}

// sync brings the maps in step with the FDB for one MAC. Several goroutines may
// do so at a time: who wrote last looks once more whether that still holds.
func (m *Mirror) sync(s *mirrored, mac packet.MAC) {
	key := macKey{Device: s.device, MAC: mac}
	for {
		index, ok := m.behind(s, mac)
		if ok {
			// One that finds no room is left to user space.
			_ = m.k.in.MACs.Put(&key, &macValue{Remote: index})
		} else {
			_ = m.k.in.MACs.Delete(&key) // it may not be there
		}
		if again, still := m.behind(s, mac); again == index && still == ok {
			return
		}
	}
}

// behind returns the index of the remote that a MAC is behind, if that takes
// the fast path.
func (m *Mirror) behind(s *mirrored, mac packet.MAC) (index uint32, ok bool) {
	if (*m.published.Load())[s.seg] != s {
		return 0, false
	}
	e, ok := s.seg.FDB().Get(mac)
	if !ok {
		return 0, false
	}
	index, ok = (*s.indexes.Load())[s.seg.RemoteAt(e.Dest)]
	return index, ok
}

// resync brings the MACs in step that the maps have of a device behind a remote
// for which f is true.
func (m *Mirror) resync(s *mirrored, f func(remote uint32) bool) {
	var stale []packet.MAC
	m.eachMAC(func(k *macKey, v *macValue) {
		if k.Device == s.device && f(v.Remote) {
			stale = append(stale, k.MAC)
		}
	})
	for _, mac := range stale {
		m.sync(s, mac)
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
