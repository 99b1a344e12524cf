package route

import (
	"maps"
	"slices"
	"sync"
)

// A Table keeps what every source says and knows which of it is in force: of
// each group of keys (a prefix, a MAC, an address, a member of a flood list)
// what the best source says. What a source said stays until it says otherwise.
// Its methods may be called from any goroutine.
type Table struct {
	mu     sync.Mutex
	ranks  *ranks
	spaces map[space]map[subject]group
	subs   map[*Subscription]struct{} // to what is elsewhere
	locals map[*Subscription]struct{} // to what is here
	heard  int                        // MACs and addresses of Here
}

// NewTable makes an empty table. Operator and configuration rank above the
// control planes, which rank in the order they are given, the best first.
func NewTable(planes ...Source) *Table {
	return &Table{ranks: newRanks(planes), spaces: make(map[space]map[subject]group),
		subs: make(map[*Subscription]struct{}), locals: make(map[*Subscription]struct{})}
}

// Apply takes a batch in and returns what changed of the best entries that are
// behind VTEPs: removals, then the rest in the order of the batch.
//
// Who carries the deltas out himself, as the daemon does for the data path,
// orders his calls by a lock of his own that he holds until they are carried
// out. Everybody else takes a [Table.Subscribe].
func (t *Table) Apply(b Batch) []Delta {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.apply(b)
}

func (t *Table) apply(b Batch) []Delta {
	e := edit{t: t, before: make(map[place]group)}
	for _, k := range t.removals(b) {
		e.remove(b.Source, k)
	}
	for _, entry := range b.Add {
		entry.Source = b.Source
		e.put(entry)
	}
	return e.finish()
}

// removals returns the keys that a batch takes out.
func (t *Table) removals(b Batch) []Key {
	if !b.Snapshot {
		return b.Remove
	}
	repeated := make(map[Key]struct{}, len(b.Add))
	for _, e := range b.Add {
		repeated[e.Key] = struct{}{}
	}
	return t.keysOf(b.Source, func(k Key) bool {
		_, ok := repeated[k]
		return !ok
	})
}

// keysOf returns those keys of a source for which want is true.
func (t *Table) keysOf(s Source, want func(Key) bool) []Key {
	var out []Key
	for _, groups := range t.spaces {
		for _, g := range groups {
			for i := range g {
				if g[i].Source == s && want(g[i].Key) {
					out = append(out, g[i].Key)
				}
			}
		}
	}
	return out
}

// RemoveVNI takes out what a source says of one segment, and returns what
// changed like [Table.Apply].
func (t *Table) RemoveVNI(s Source, vni uint32) []Delta {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.apply(Batch{Source: s, Remove: t.keysOf(s, func(k Key) bool { return k.VNI == vni })})
}

// group returns what all sources say of what a key is about. It holds t.mu.
func (t *Table) group(k Key) group {
	return t.spaces[k.space()][k.subject()]
}

// in returns the entry of a key.
func (g group) in(k Key) (Entry, bool) {
	for i := range g {
		if g[i].Key == k {
			return g[i], true
		}
	}
	return Entry{}, false
}

// Get returns the best entry of a key.
func (t *Table) Get(k Key) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.group(k).elsewhere().in(k)
}

// Group returns the best entries of what the key is about, in the order of
// their VTEPs: all that hold a prefix or a multicast MAC.
func (t *Table) Group(k Key) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.group(k).elsewhere())
}

// Has reports whether a source has an entry of a key, in force or not.
func (t *Table) Has(s Source, k Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, ok := t.ranks.find(t.group(k), s, k)
	return ok
}

// Select returns the best entries of the keys for which want is true, in no
// order but that the entries of one group follow each other. want is called
// under the table's lock.
func (t *Table) Select(want func(Key) bool) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []Entry
	for sp := range t.spaces {
		out = t.list(out, sp, group.elsewhere, want)
	}
	return out
}

// Segment returns the best entries of one segment of the given kinds, of all
// kinds when there are none, in the order of [Table.Select]. It does not look
// at other segments and kinds.
func (t *Table) Segment(vni uint32, kinds ...Kind) []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(kinds) == 0 {
		kinds = []Kind{RemoteVTEP, MAC, Neighbor, Prefix}
	}
	var out []Entry
	for _, kind := range kinds {
		out = t.list(out, space{vni, kind}, group.elsewhere, func(Key) bool { return true })
	}
	return out
}

// list appends the entries of a space that view shows. It holds t.mu.
func (t *Table) list(out []Entry, sp space, view func(group) group, want func(Key) bool) []Entry {
	for _, g := range t.spaces[sp] {
		for _, e := range view(g) {
			if want(e.Key) {
				out = append(out, e)
			}
		}
	}
	return out
}

// A place is where a table keeps a group.
type place struct {
	space
	subject
}

// An edit is one batch on its way into a table: it remembers what each group
// was before.
type edit struct {
	t      *Table
	order  []place // of groups, as they were first touched
	before map[place]group
}

// touch returns a group to be changed, a copy the first time.
func (e *edit) touch(p place) group {
	g := e.t.spaces[p.space][p.subject]
	if _, ok := e.before[p]; ok {
		return g
	}
	e.before[p] = g
	e.order = append(e.order, p)
	return slices.Clone(g)
}

func (e *edit) remove(s Source, k Key) {
	p := place{k.space(), k.subject()}
	if i, ok := e.t.ranks.find(e.t.group(k), s, k); ok {
		e.store(p, slices.Delete(e.touch(p), i, i+1))
	}
}

func (e *edit) put(entry Entry) {
	k := entry.Key
	p, g := place{k.space(), k.subject()}, e.t.group(k)
	i, ok := e.t.ranks.find(g, entry.Source, k)
	switch {
	case !ok:
		e.store(p, slices.Insert(e.touch(p), i, entry))
	case g[i] != entry:
		g = e.touch(p)
		g[i] = entry
		e.store(p, g)
	}
}

// store puts a group in its place, or takes it away when nothing is left.
func (e *edit) store(p place, g group) {
	groups := e.t.spaces[p.space]
	switch {
	case len(g) > 0 && groups == nil:
		e.t.spaces[p.space] = map[subject]group{p.subject: g}
	case len(g) > 0:
		groups[p.subject] = g
	default:
		delete(groups, p.subject)
		if len(groups) == 0 {
			delete(e.t.spaces, p.space)
		}
	}
}

// finish settles the touched groups, tells subscribers and returns the deltas.
func (e *edit) finish() []Delta {
	var gone, came, left, arrived []Delta
	for _, p := range e.order {
		before, now := e.before[p], e.t.spaces[p.space][p.subject]
		if settled := now.settle(); len(settled) != len(now) {
			now = settled
			e.store(p, now)
		}
		if p.kind != Prefix {
			e.t.heard += now.count(Here) - before.count(Here)
		}
		gone, came = diff(gone, came, before.elsewhere(), now.elsewhere())
		left, arrived = diff(left, arrived, before.here(), now.here())
	}
	gone = append(gone, came...)
	tell(maps.Keys(e.t.subs), gone)
	tell(maps.Keys(e.t.locals), append(left, arrived...))
	return gone
}

func (g group) count(s Source) (n int) {
	for i := range g {
		if g[i].Source == s {
			n++
		}
	}
	return n
}
