package route

import "iter"

// An Update is what a subscriber has to do to be up to date: after a Resync
// the deltas are all entries, each Added, and what is not among them is gone;
// else they are what changed since the last update.
type Update struct {
	Resync bool
	Deltas []Delta
}

// A Subscription follows the best entries of a table at the subscriber's own
// pace. Changes of one key while he is busy become one, what came and went
// nothing; when more keys changed than he keeps, he gets all entries anew. So
// a slow subscriber costs a bounded amount of memory and delays nobody.
// Its methods are for one goroutine.
type Subscription struct {
	t     *Table
	set   map[*Subscription]struct{} // of t, where the subscription is in
	view  func(group) group
	kinds [Prefix + 1]bool
	limit int
	wake  chan struct{}

	lost  bool          // the next update is a resync
	since map[Key]Delta // what changed since the last update: the first delta of each key
	order []Key         // in the order of their first change
}

// Subscribe follows the best entries that are behind VTEPs, of the given
// kinds, of all when there are none. limit is how many changed keys are kept
// for the subscriber; with 0 every update is a resync, for those who compare
// all that is wanted with all that is. The first update is a resync.
// [Subscription.Close] ends it.
func (t *Table) Subscribe(limit int, kinds ...Kind) *Subscription {
	return t.subscribe(t.subs, group.elsewhere, make(chan struct{}, 1), limit, kinds)
}

func (t *Table) subscribe(set map[*Subscription]struct{}, view func(group) group, wake chan struct{}, limit int, kinds []Kind) *Subscription {
	s := &Subscription{t: t, set: set, view: view, limit: limit, wake: wake, lost: true, since: make(map[Key]Delta)}
	for k := range s.kinds {
		s.kinds[k] = len(kinds) == 0
	}
	for _, k := range kinds {
		s.kinds[k] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	set[s] = struct{}{}
	s.ring()
	return s
}

// Changed holds a value when there may be an update.
func (s *Subscription) Changed() <-chan struct{} { return s.wake }

// Next returns what changed since the last call, which may be nothing. It does
// not wait.
func (s *Subscription) Next() Update {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	u := Update{Resync: s.lost}
	if s.lost {
		u.Deltas = s.all()
		s.lost = s.limit <= 0
	} else {
		u.Deltas = s.changes()
	}
	clear(s.since)
	s.order = s.order[:0]
	return u
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	delete(s.set, s)
}

// all returns every entry as new. It holds the table's lock.
func (s *Subscription) all() (out []Delta) {
	for sp, groups := range s.t.spaces {
		if !s.kinds[sp.kind] {
			continue
		}
		for _, g := range groups {
			for _, e := range s.view(g) {
				out = append(out, Delta{Op: Added, Entry: e})
			}
		}
	}
	return out
}

// changes compares what the subscriber knows of each changed key with what is
// in force now. It holds the table's lock.
func (s *Subscription) changes() []Delta {
	var gone, came []Delta
	for _, k := range s.order {
		var before, now group
		if d := s.since[k]; d.Op != Added {
			before = group{d.Old}
		}
		if e, ok := s.view(s.t.group(k)).in(k); ok {
			now = group{e}
		}
		gone, came = diff(gone, came, before, now)
	}
	return append(gone, came...)
}

// tell notes deltas for those subscribers who want them. It holds the table's
// lock.
func tell(subs iter.Seq[*Subscription], deltas []Delta) {
	if len(deltas) == 0 {
		return
	}
	for s := range subs {
		s.note(deltas)
	}
}

func (s *Subscription) note(deltas []Delta) {
	news := false
	for _, d := range deltas {
		k := d.Entry.Key
		if !s.kinds[k.Kind] {
			continue
		}
		news = true
		if _, ok := s.since[k]; ok || s.lost {
			continue
		}
		if len(s.order) >= s.limit {
			s.lost, s.order, s.since = true, nil, make(map[Key]Delta)
			continue
		}
		s.since[k] = d
		s.order = append(s.order, k)
	}
	if news {
		s.ring()
	}
}

func (s *Subscription) ring() {
	select {
	case s.wake <- struct{}{}:
	default: // one is there already
	}
}
