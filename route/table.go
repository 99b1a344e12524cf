package route

import "sync"

// A Table keeps what every source says and knows the best entry of each key.
// Its methods may be called from any goroutine.
type Table struct {
	mu      sync.Mutex
	sources [sourceCount]map[Key]Entry
}

// NewTable makes an empty table.
func NewTable() *Table {
	t := new(Table)
	for s := range t.sources {
		t.sources[s] = make(map[Key]Entry)
	}
	return t
}

// Apply takes a batch in and returns what changed of the best entries, in the
// order of the batch: removals first, so that what is replaced by something
// under another key makes room.
func (t *Table) Apply(b Batch) []Delta {
	t.mu.Lock()
	defer t.mu.Unlock()
	set := t.sources[b.Source]
	var deltas []Delta
	for _, k := range t.removals(b) {
		before, had := t.best(k)
		if _, ok := set[k]; !ok || !had {
			continue
		}
		delete(set, k)
		deltas = t.compare(deltas, k, before, true)
	}
	for _, e := range b.Add {
		e.Source = b.Source
		before, had := t.best(e.Key)
		set[e.Key] = e
		deltas = t.compare(deltas, e.Key, before, had)
	}
	return deltas
}

// removals returns the keys that a batch takes out.
func (t *Table) removals(b Batch) []Key {
	if !b.Snapshot {
		return b.Remove
	}
	repeated := make(map[Key]bool, len(b.Add))
	for _, e := range b.Add {
		repeated[e.Key] = true
	}
	var gone []Key
	for k := range t.sources[b.Source] {
		if !repeated[k] {
			gone = append(gone, k)
		}
	}
	return gone
}

// compare appends the delta from the best entry before to the one now.
func (t *Table) compare(deltas []Delta, k Key, before Entry, had bool) []Delta {
	now, has := t.best(k)
	switch {
	case had && !has:
		return append(deltas, Delta{Op: Removed, Entry: before})
	case !had && has:
		return append(deltas, Delta{Op: Added, Entry: now})
	case had && now != before:
		return append(deltas, Delta{Op: Replaced, Entry: now})
	}
	return deltas
}

// best returns the entry of the best source that has one. It holds t.mu.
func (t *Table) best(k Key) (Entry, bool) {
	for s := len(t.sources) - 1; s >= 0; s-- {
		if e, ok := t.sources[s][k]; ok {
			return e, true
		}
	}
	return Entry{}, false
}

// Get returns the best entry of a key.
func (t *Table) Get(k Key) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.best(k)
}

// Has reports whether a source has an entry of a key.
func (t *Table) Has(s Source, k Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.sources[s][k]
	return ok
}

// Select returns the best entries of the keys for which want is true, in no
// order.
func (t *Table) Select(want func(Key) bool) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Entry
	for s := len(t.sources) - 1; s >= 0; s-- {
		for k, e := range t.sources[s] {
			if !want(k) {
				continue
			}
			if b, _ := t.best(k); b.Source == Source(s) {
				out = append(out, e)
			}
		}
	}
	return out
}

// RemoveVNI forgets all that any source said of a segment that is gone.
func (t *Table) RemoveVNI(vni uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, set := range t.sources {
		for k := range set {
			if k.VNI == vni {
				delete(set, k)
			}
		}
	}
}
