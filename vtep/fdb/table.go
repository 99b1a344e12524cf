package fdb

import (
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"vtepd/encap/packet"
)

const minSlots = 16

// A Table is the FDB of one segment. Lookup, LookupMulti and the refreshing
// Learn are lock-free; all methods may be called from any goroutine.
type Table struct {
	current atomic.Pointer[slots]
	multi   atomic.Pointer[map[packet.MAC][]Dest]

	mu      sync.Mutex // guards what follows and every change of the above
	limits  Limits
	entries int          // all
	learned int          // from the wire
	behind  map[Dest]int // learned entries a Dest
	stats   Stats
	notify  func(Change)

	full atomic.Uint64 // counted without the lock
	shut atomic.Bool   // full: learn nothing new until something goes or the limits change
}

// New makes an empty table.
func New(l Limits) *Table {
	t := &Table{limits: l, behind: make(map[Dest]int)}
	t.current.Store(newSlots(minSlots, rand.Uint64()))
	t.multi.Store(&map[packet.MAC][]Dest{})
	return t
}

// SetLimits replaces the limits. Entries above the new ones stay until they
// age.
func (t *Table) SetLimits(l Limits) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limits = l
	t.shut.Store(false)
}

// SetNotify has f called with each change but refreshes, once it is made, under
// the table's lock: f must be quick and must call nothing of the table but Get.
// nil ends it.
func (t *Table) SetNotify(f func(Change)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notify = f
}

// Lookup returns where a unicast MAC is.
func (t *Table) Lookup(mac packet.MAC) (Dest, bool) {
	s := t.current.Load()
	m := mac.Uint64()
	mask := len(s.words) - 1
	for i := s.home(m); ; i = (i + 1) & mask {
		w := s.words[i].Load()
		if w>>16 == m && w > tombstone {
			return Dest(w), true
		}
		if w == empty {
			return 0, false
		}
	}
}

// Learn notes that mac was heard from d. A refresh is one store of the time; a
// new or moved MAC takes the lock. Multicast and zero MACs must not get here.
func (t *Table) Learn(mac packet.MAC, d Dest, now Tick) Result {
	s, m := t.current.Load(), mac.Uint64()
	i := s.find(m)
	if i < 0 && t.shut.Load() {
		t.full.Add(1)
		return Full
	}
	if i >= 0 {
		if r, here := s.refresh(i, d, now); here {
			return r
		}
	}
	return t.learnSlow(m, d, now)
}

// Refresh notes that mac was heard from d, if that is where it is known to be,
// which it reports. Unlike Learn it changes nothing else.
func (t *Table) Refresh(mac packet.MAC, d Dest, now Tick) bool {
	s := t.current.Load()
	i := s.find(mac.Uint64())
	if i < 0 {
		return false
	}
	_, here := s.refresh(i, d, now)
	return here
}

func (t *Table) learnSlow(m uint64, d Dest, now Tick) Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.current.Load()
	i := s.find(m)
	if i < 0 {
		return t.learnNew(m, d, now)
	}
	e, _ := s.entry(i)
	switch {
	case e.State != Dynamic && e.Dest == d:
		return StaticHere
	case e.State != Dynamic:
		return Conflict
	case e.Dest == d:
		return Refreshed
	}
	if e.Source == Learned {
		t.behind[e.Dest]--
	} else {
		t.learned++ // an operator's dynamic entry becomes a learned one where the MAC really is
	}
	t.behind[d]++
	s.metas[i].Store(makeMeta(now, Dynamic, Learned))
	s.words[i].Store(m<<16 | uint64(d))
	t.stats.Moved++
	t.tell(Moved, i)
	return MovedEntry
}

func (t *Table) learnNew(m uint64, d Dest, now Tick) Result {
	if t.learned >= t.limits.Max {
		t.shut.Store(true)
		t.full.Add(1)
		return Full
	}
	if share := t.limits.Share; share < 100 && t.behind[d] >= max(1, t.limits.Max*share/100) {
		t.full.Add(1)
		return Full
	}
	t.learned++
	t.behind[d]++
	t.stats.Learned++
	t.add(m<<16|uint64(d), makeMeta(now, Dynamic, Learned))
	return NewEntry
}

// add inserts a MAC that is not there. It holds t.mu.
func (t *Table) add(word uint64, meta uint32) {
	s := t.current.Load()
	if (s.used+1)*4 > len(s.words)*3 {
		s = t.rebuild(s)
	}
	s.insert(word, meta)
	t.entries++
	t.tell(Added, s.find(word>>16))
}

// rebuild copies the entries to a table where they fill at most three eighths,
// and publishes it. Readers of the old one see what was there. A refresh that
// falls between is lost; the next frame makes up for it.
func (t *Table) rebuild(old *slots) *slots {
	size := minSlots
	for t.entries*8 > size*3 {
		size *= 2
	}
	s := newSlots(size, old.seed)
	for i := range old.words {
		if w := old.words[i].Load(); w > tombstone {
			s.insert(w, old.metas[i].Load())
		}
	}
	t.current.Store(s)
	return s
}

// remove takes slot i out. It holds t.mu.
func (t *Table) remove(i int, op Op) Entry {
	s := t.current.Load()
	e, _ := s.entry(i)
	s.words[i].Store(tombstone)
	t.entries--
	if e.Source == Learned {
		t.learned--
		if t.behind[e.Dest]--; t.behind[e.Dest] <= 0 {
			delete(t.behind, e.Dest)
		}
		t.shut.Store(false)
	}
	if t.notify != nil { // now that Get finds it gone
		t.notify(Change{Op: op, Entry: e})
	}
	return e
}

func (t *Table) tell(op Op, i int) {
	if t.notify != nil {
		e, _ := t.current.Load().entry(i)
		t.notify(Change{Op: op, Entry: e})
	}
}

// Put makes e the entry of its unicast MAC, whatever was there.
func (t *Table) Put(e Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := e.MAC.Uint64()
	if i := t.current.Load().find(m); i >= 0 {
		t.remove(i, Deleted)
	}
	if e.Source == Learned {
		t.learned++
		t.behind[e.Dest]++
	}
	t.add(m<<16|uint64(e.Dest), makeMeta(e.Updated, e.State, e.Source))
}

// Delete takes the entry of mac out and returns it.
func (t *Table) Delete(mac packet.MAC) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := t.current.Load().find(mac.Uint64())
	if i < 0 {
		return Entry{}, false
	}
	return t.remove(i, Deleted), true
}

// DeleteIf takes out the entries for which f is true and returns how many.
func (t *Table) DeleteIf(f func(Entry) bool) int { return t.sweep(Deleted, f) }

// Age takes out the dynamic entries that were not heard for too long, and
// returns how many.
func (t *Table) Age(now Tick) int {
	t.mu.Lock()
	ageing := Tick(t.limits.Ageing / TickLength)
	t.mu.Unlock()
	if ageing == 0 {
		return 0
	}
	n := t.sweep(Aged, func(e Entry) bool {
		// A worker may have refreshed it since now was read.
		age := (now - e.Updated) & tickMask
		return e.State == Dynamic && age >= ageing && age < tickMask/2
	})
	t.mu.Lock()
	t.stats.Aged += uint64(n)
	t.mu.Unlock()
	return n
}

func (t *Table) sweep(op Op, f func(Entry) bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, n := t.current.Load(), 0
	for i := range s.words {
		if e, ok := s.entry(i); ok && f(e) {
			t.remove(i, op)
			n++
		}
	}
	if n > 0 && (t.entries+1)*16 < len(s.words) && len(s.words) > minSlots {
		t.rebuild(s)
	}
	return n
}

// Get returns the entry of a unicast MAC.
func (t *Table) Get(mac packet.MAC) (Entry, bool) {
	s := t.current.Load()
	if i := s.find(mac.Uint64()); i >= 0 {
		return s.entry(i)
	}
	return Entry{}, false
}

// Range calls f with each unicast entry until it returns false. Entries that
// come or go meanwhile may be seen or not. It holds no lock.
func (t *Table) Range(f func(Entry) bool) {
	s := t.current.Load()
	for i := range s.words {
		if e, ok := s.entry(i); ok && !f(e) {
			return
		}
	}
}

// Len returns the number of unicast entries.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.entries
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Entries, s.Full = uint64(t.entries), t.full.Load()
	return s
}

// PutMulti places a multicast MAC behind several destinations; none takes it
// out.
func (t *Table) PutMulti(mac packet.MAC, d []Dest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := maps.Clone(*t.multi.Load())
	if len(d) == 0 {
		delete(next, mac)
	} else {
		next[mac] = append([]Dest(nil), d...)
	}
	t.multi.Store(&next)
}

// LookupMulti returns the destinations of a multicast MAC, nil if it has none
// of its own. The slice must not be changed.
func (t *Table) LookupMulti(mac packet.MAC) []Dest {
	m := *t.multi.Load()
	if len(m) == 0 {
		return nil
	}
	return m[mac]
}
