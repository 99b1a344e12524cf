package flannel

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// A Level says how much an [Event] matters.
type Level uint8

// The levels.
const (
	Info Level = iota
	Warn
	Error
)

// An Event is something that happened, for a log.
type Event struct {
	Level Level
	Key   string // of the lease it is about, "" for none
	Text  string
}

// A Status is how a Source is.
type Status struct {
	Connected bool      // the store answered the last question
	Since     time.Time // when Connected became what it is
	LastError string    // of the store; it stays when it is over
	Revision  int64     // of the store, the last that is known

	Network       *Network // in force; nil before it is known
	ConfigProblem string   // why what stands in the store is not in force
	Lease         *Lease   // nil before it is acquired
	LeaseProblem  string   // why there is none, or why it was not renewed

	Peers      int // leases of others in force
	RefusedNow int // leases of others that are not in force
	Refused    map[Reason]uint64
	Refusals   []string // of the leases that are refused now, the first hundred
	Renewals   uint64
	Races      uint64 // acquisitions that somebody else was faster at
	Lost       uint64 // times that our lease was gone
	Relists    uint64 // times that the store was read anew
}

// A Lease is ours.
type Lease struct {
	Key      string
	Subnet   Subnet
	Value    string
	Reserved bool
	Expires  time.Time // zero for a reservation
	Missing  bool      // it is not in the store at this moment
	Foreign  bool      // somebody else's value stands under its key
}

const (
	maxRefusals = 100 // that are shown
	maxLines    = 20  // of refusals that are told at a time
	maxWords    = 100 // lines that are told at once, and one more
	wordEvery   = 2 * time.Second
)

// Status returns how the source is. Any goroutine may call it.
func (s *Source) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Refused = maps.Clone(st.Refused)
	st.Refusals = slices.Clone(st.Refusals)
	return st
}

func (s *Source) count(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// tell says something, unless very much was said: who writes to the store must
// not fill our log. It is called from Run's goroutine.
func (s *Source) tell(level Level, key, format string, args ...any) {
	if s.o.Say == nil {
		return
	}
	now := time.Now()
	s.words = min(s.words+int(now.Sub(s.refilled)/wordEvery), maxWords)
	s.refilled = now.Add(-now.Sub(s.refilled) % wordEvery)
	if s.words == 0 {
		s.swallowed++
		return
	}
	s.words--
	if s.swallowed > 0 {
		s.o.Say(Event{Warn, "", fmt.Sprintf("%d lines like the last ones were left out", s.swallowed)})
		s.swallowed = 0
	}
	s.o.Say(Event{level, printable(key), fmt.Sprintf(format, args...)})
}

// printable keeps a foreign key to a line.
func printable(key string) string {
	if q := quote(key); q != `"`+key+`"` {
		return q
	}
	return key
}

// offline notes that the store does not answer.
func (s *Source) offline(err error) {
	text := brief(err)
	s.mu.Lock()
	first := s.status.Since.IsZero() || s.status.Connected
	news := text != s.status.LastError
	s.status.LastError = text
	if first {
		s.status.Connected, s.status.Since = false, time.Now()
	}
	s.mu.Unlock()
	if first || news && !s.joined {
		s.tell(Warn, "", "the store cannot be followed, the last state stays in force: %s", text)
	}
}

// online notes that it answers.
func (s *Source) online(revision int64) {
	s.mu.Lock()
	first := !s.status.Connected
	again := first && !s.status.Since.IsZero()
	if first {
		s.status.Connected, s.status.Since = true, time.Now()
	}
	s.status.Revision = revision
	s.mu.Unlock()
	if again {
		s.tell(Info, "", "the store answers again")
	}
}

// lease shows our lease as it is.
func (s *Source) lease() {
	o := s.own
	l := &Lease{Key: o.key, Subnet: o.subnet, Value: string(o.value), Reserved: o.reserved,
		Expires: o.expires, Missing: o.seen == 0, Foreign: o.foreign}
	s.count(func(st *Status) { st.Lease = l })
}

func (s *Source) leaseFine() { s.count(func(st *Status) { st.LeaseProblem = "" }) }

// leaseProblem tells a problem with our lease once.
func (s *Source) leaseProblem(err error, what string) {
	text := what + ": " + brief(err)
	news := false
	s.count(func(st *Status) { news, st.LeaseProblem = st.LeaseProblem != text, text })
	if news {
		s.tell(Error, "", "%s", text)
	}
}

// news tells the refusals since the last time, a line each, and not without end.
func (s *Source) news() {
	all := s.book.news
	for _, n := range all[:min(len(all), maxLines)] {
		s.tell(Warn, n.key, "lease refused: %s", n.refusal.Text)
	}
	if n := len(all) - maxLines + s.book.untold; n > 0 && len(all) >= maxLines {
		s.tell(Warn, "", "%d more leases are refused; `vtepctl lease show` counts them", n)
	}
	s.book.news, s.book.untold = nil, 0
	if len(all) > 0 {
		s.peers()
	}
}

// peers shows what became of the leases of the others.
func (s *Source) peers() {
	b := s.book
	var refusals []string
	if b.stale {
		for _, key := range least(maps.Keys(b.refused), maxRefusals) {
			refusals = append(refusals, printable(key)+": "+b.refused[key].refused.Text)
		}
	}
	s.count(func(st *Status) {
		st.Peers, st.RefusedNow = len(b.peers)-len(b.refused), len(b.refused)
		if b.stale {
			b.stale, st.Refusals = false, refusals
		}
		for r, n := range b.counts {
			st.Refused[r] = n
		}
	})
}

// least returns the first n of all in their order, without sorting the others.
func least(all iter.Seq[string], n int) []string {
	var out []string
	for s := range all {
		if len(out) == n && s >= out[n-1] {
			continue
		}
		i, _ := slices.BinarySearch(out, s)
		if out = slices.Insert(out, i, s); len(out) > n {
			out = out[:n]
		}
	}
	return out
}
