package fdb

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"vtepd/encap/packet"
)

// mac is a unicast MAC of number n, never zero.
func mac(n uint64) packet.MAC { return packet.MACFrom(0x020000000000 | n) }

var open = Limits{Max: 1 << 20, Share: 100, Ageing: 10 * time.Second}

// A step is one line of a spec: what is done to a table and what must come of
// it.
type step struct {
	do     string // learn, put, del, age, limits
	mac    uint64
	dest   Dest
	at     Tick
	state  State
	source Source
	limits Limits

	want Result // of learn
	n    int    // of age, or 1 for a del that found something
}

func TestTableSpec(t *testing.T) {
	type wants map[uint64]Entry
	specs := []struct {
		name   string
		limits Limits
		steps  []step
		want   wants
		stats  Stats
	}{
		{"unknown", open, nil, wants{}, Stats{}},
		{"learned", open, []step{{do: "learn", mac: 1, dest: 7, at: 3, want: NewEntry}},
			wants{1: {Dest: 7, Updated: 3}}, Stats{Entries: 1, Learned: 1}},
		{"refreshed", open, []step{
			{do: "learn", mac: 1, dest: 7, at: 3, want: NewEntry},
			{do: "learn", mac: 1, dest: 7, at: 9, want: Refreshed}},
			wants{1: {Dest: 7, Updated: 9}}, Stats{Entries: 1, Learned: 1}},
		{"refreshed in the same tick", open, []step{
			{do: "learn", mac: 1, dest: 7, at: 3, want: NewEntry},
			{do: "learn", mac: 1, dest: 7, at: 3, want: Refreshed}},
			wants{1: {Dest: 7, Updated: 3}}, Stats{Entries: 1, Learned: 1}},
		{"moved", open, []step{
			{do: "learn", mac: 1, dest: 7, at: 3, want: NewEntry},
			{do: "learn", mac: 1, dest: 8, at: 5, want: MovedEntry}},
			wants{1: {Dest: 8, Updated: 5}}, Stats{Entries: 1, Learned: 1, Moved: 1}},
		{"moved and back", open, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 1, dest: 8, want: MovedEntry},
			{do: "learn", mac: 1, dest: 7, at: 1, want: MovedEntry}},
			wants{1: {Dest: 7, Updated: 1}}, Stats{Entries: 1, Learned: 1, Moved: 2}},
		{"destination 0 and 1 are like any other", open, []step{
			{do: "learn", mac: 1, dest: 0, want: NewEntry},
			{do: "learn", mac: 2, dest: 1, want: NewEntry},
			{do: "learn", mac: 1, dest: 0, want: Refreshed},
			{do: "learn", mac: 2, dest: 1, want: Refreshed},
			{do: "learn", mac: 3, dest: 65535, want: NewEntry}},
			wants{1: {Dest: 0}, 2: {Dest: 1}, 3: {Dest: 65535}}, Stats{Entries: 3, Learned: 3}},
		{"aged at the limit, not before", open, []step{
			{do: "learn", mac: 1, dest: 7, at: 0, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, at: 1, want: NewEntry},
			{do: "age", at: 99, n: 0},
			{do: "age", at: 100, n: 1}},
			wants{2: {Dest: 7, Updated: 1}}, Stats{Entries: 1, Learned: 2, Aged: 1}},
		{"a refresh keeps it", open, []step{
			{do: "learn", mac: 1, dest: 7, at: 0, want: NewEntry},
			{do: "learn", mac: 1, dest: 7, at: 99, want: Refreshed},
			{do: "age", at: 198, n: 0}},
			wants{1: {Dest: 7, Updated: 99}}, Stats{Entries: 1, Learned: 1}},
		{"refreshed after now was read", open, []step{
			{do: "learn", mac: 1, dest: 7, at: 200, want: NewEntry},
			{do: "age", at: 199, n: 0}},
			wants{1: {Dest: 7, Updated: 200}}, Stats{Entries: 1, Learned: 1}},
		{"the clock wraps", open, []step{
			{do: "learn", mac: 1, dest: 7, at: tickMask, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, at: 1<<27 + 50, want: NewEntry},
			{do: "age", at: 1<<27 + 98, n: 0},
			{do: "age", at: 1<<27 + 99, n: 1}},
			wants{2: {Dest: 7, Updated: 50}}, Stats{Entries: 1, Learned: 2, Aged: 1}},
		{"ageing 0 is never", Limits{Max: 10, Share: 100}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "age", at: 1 << 26, n: 0}},
			wants{1: {Dest: 7}}, Stats{Entries: 1, Learned: 1}},
		{"what was put ages only when dynamic", open, []step{
			{do: "put", mac: 1, dest: 1, state: Dynamic, source: Operator},
			{do: "put", mac: 2, dest: 2, state: Static, source: Operator},
			{do: "put", mac: 3, dest: 3, state: Permanent, source: Config},
			{do: "age", at: 1000, n: 1}},
			wants{2: {Dest: 2, State: Static, Source: Operator}, 3: {Dest: 3, State: Permanent, Source: Config}},
			Stats{Entries: 2, Aged: 1}},
		{"static is never overridden", open, []step{
			{do: "put", mac: 1, dest: 7, state: Static, source: Operator, at: 4},
			{do: "learn", mac: 1, dest: 7, at: 9, want: StaticHere},
			{do: "learn", mac: 1, dest: 8, at: 9, want: Conflict}},
			wants{1: {Dest: 7, State: Static, Source: Operator, Updated: 4}}, Stats{Entries: 1}},
		{"permanent is never overridden", open, []step{
			{do: "put", mac: 1, dest: 7, state: Permanent, source: EVPN},
			{do: "learn", mac: 1, dest: 7, at: 9, want: StaticHere},
			{do: "learn", mac: 1, dest: 8, at: 9, want: Conflict}},
			wants{1: {Dest: 7, State: Permanent, Source: EVPN}}, Stats{Entries: 1}},
		{"static conflicts in a full table too", Limits{Max: 1, Share: 100}, []step{
			{do: "put", mac: 1, dest: 7, state: Static, source: Config},
			{do: "learn", mac: 2, dest: 7, want: NewEntry},
			{do: "learn", mac: 3, dest: 7, want: Full},
			{do: "learn", mac: 1, dest: 8, want: Conflict},
			{do: "learn", mac: 1, dest: 7, want: StaticHere}},
			wants{1: {Dest: 7, State: Static, Source: Config}, 2: {Dest: 7}}, Stats{Entries: 2, Learned: 1, Full: 1}},
		{"static replaces learned", open, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "put", mac: 1, dest: 9, state: Static, source: Operator, at: 2}},
			wants{1: {Dest: 9, State: Static, Source: Operator, Updated: 2}}, Stats{Entries: 1, Learned: 1}},
		{"an operator's dynamic entry follows the MAC", open, []step{
			{do: "put", mac: 1, dest: 7, source: Operator},
			{do: "learn", mac: 1, dest: 7, at: 1, want: Refreshed},
			{do: "learn", mac: 1, dest: 8, at: 2, want: MovedEntry}},
			wants{1: {Dest: 8, Source: Learned, Updated: 2}}, Stats{Entries: 1, Moved: 1}},
		{"deleted", open, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "put", mac: 2, dest: 7, state: Permanent, source: Config},
			{do: "del", mac: 1, n: 1}, {do: "del", mac: 2, n: 1}, {do: "del", mac: 2}, {do: "del", mac: 3}},
			wants{}, Stats{Learned: 1}},
		{"deleted is unknown until heard again", open, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "del", mac: 1, n: 1},
			{do: "learn", mac: 1, dest: 8, at: 3, want: NewEntry}},
			wants{1: {Dest: 8, Updated: 3}}, Stats{Entries: 1, Learned: 2}},
		{"max", Limits{Max: 2, Share: 100}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: NewEntry},
			{do: "learn", mac: 3, dest: 7, want: Full},
			{do: "learn", mac: 4, dest: 8, want: Full}, // shut: without the lock
			{do: "learn", mac: 1, dest: 7, at: 1, want: Refreshed},
			{do: "learn", mac: 2, dest: 8, at: 1, want: MovedEntry}},
			wants{1: {Dest: 7, Updated: 1}, 2: {Dest: 8, Updated: 1}},
			Stats{Entries: 2, Learned: 2, Moved: 1, Full: 2}},
		{"static does not count to max", Limits{Max: 1, Share: 100}, []step{
			{do: "put", mac: 1, dest: 7, state: Static, source: Config},
			{do: "put", mac: 2, dest: 7, state: Dynamic, source: Operator},
			{do: "learn", mac: 3, dest: 7, want: NewEntry},
			{do: "put", mac: 4, dest: 7, state: Permanent, source: Config}},
			wants{1: {Dest: 7, State: Static, Source: Config}, 2: {Dest: 7, Source: Operator}, 3: {Dest: 7},
				4: {Dest: 7, State: Permanent, Source: Config}}, Stats{Entries: 4, Learned: 1}},
		{"share", Limits{Max: 4, Share: 50}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: NewEntry},
			{do: "learn", mac: 3, dest: 7, want: Full},
			{do: "learn", mac: 3, dest: 8, want: NewEntry}, // one's share does not shut the rest out
			{do: "del", mac: 1, n: 1},
			{do: "learn", mac: 4, dest: 7, want: NewEntry}},
			wants{2: {Dest: 7}, 3: {Dest: 8}, 4: {Dest: 7}}, Stats{Entries: 3, Learned: 4, Full: 1}},
		{"share follows moves", Limits{Max: 4, Share: 50}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 8, want: MovedEntry},
			{do: "learn", mac: 3, dest: 7, want: NewEntry},
			{do: "learn", mac: 4, dest: 7, want: Full}},
			wants{1: {Dest: 7}, 2: {Dest: 8}, 3: {Dest: 7}}, Stats{Entries: 3, Learned: 3, Moved: 1, Full: 1}},
		{"a share is at least one", Limits{Max: 3, Share: 1}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: Full},
			{do: "learn", mac: 2, dest: 8, want: NewEntry}},
			wants{1: {Dest: 7}, 2: {Dest: 8}}, Stats{Entries: 2, Learned: 2, Full: 1}},
		{"shut opens by delete", Limits{Max: 1, Share: 100}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: Full},
			{do: "del", mac: 1, n: 1},
			{do: "learn", mac: 2, dest: 7, want: NewEntry}},
			wants{2: {Dest: 7}}, Stats{Entries: 1, Learned: 2, Full: 1}},
		{"shut opens by age", Limits{Max: 1, Share: 100, Ageing: time.Second}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: Full},
			{do: "age", at: 10, n: 1},
			{do: "learn", mac: 2, dest: 7, at: 11, want: NewEntry}},
			wants{2: {Dest: 7, Updated: 11}}, Stats{Entries: 1, Learned: 2, Aged: 1, Full: 1}},
		{"shut opens by limits", Limits{Max: 1, Share: 100}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: Full},
			{do: "limits", limits: Limits{Max: 2, Share: 100}},
			{do: "learn", mac: 2, dest: 7, want: NewEntry}},
			wants{1: {Dest: 7}, 2: {Dest: 7}}, Stats{Entries: 2, Learned: 2, Full: 1}},
		{"shut opens by put over learned", Limits{Max: 1, Share: 100}, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: Full},
			{do: "put", mac: 1, dest: 7, state: Static, source: Operator},
			{do: "learn", mac: 2, dest: 7, want: NewEntry}},
			wants{1: {Dest: 7, State: Static, Source: Operator}, 2: {Dest: 7}}, Stats{Entries: 2, Learned: 2, Full: 1}},
		{"smaller limits take nothing out", open, []step{
			{do: "learn", mac: 1, dest: 7, want: NewEntry},
			{do: "learn", mac: 2, dest: 7, want: NewEntry},
			{do: "limits", limits: Limits{Max: 1, Share: 100}},
			{do: "learn", mac: 3, dest: 7, want: Full},
			{do: "learn", mac: 1, dest: 7, at: 1, want: Refreshed},
			{do: "del", mac: 2, n: 1},
			{do: "learn", mac: 3, dest: 7, want: Full}},
			wants{1: {Dest: 7, Updated: 1}}, Stats{Entries: 1, Learned: 2, Full: 2}},
	}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			tab := New(spec.limits)
			for i, s := range spec.steps {
				switch s.do {
				case "learn":
					if got := tab.Learn(mac(s.mac), s.dest, s.at); got != s.want {
						t.Fatalf("step %d: Learn(%v, %d) = %v, want %v", i, mac(s.mac), s.dest, got, s.want)
					}
				case "put":
					tab.Put(Entry{MAC: mac(s.mac), Dest: s.dest, State: s.state, Source: s.source, Updated: s.at})
				case "del":
					before, had := tab.Get(mac(s.mac))
					got, ok := tab.Delete(mac(s.mac))
					if ok != (s.n == 1) || ok != had || got != before {
						t.Fatalf("step %d: Delete = %v, %v, had %v, %v", i, got, ok, before, had)
					}
				case "age":
					if got := tab.Age(s.at); got != s.n {
						t.Fatalf("step %d: Age(%d) = %d, want %d", i, s.at, got, s.n)
					}
				case "limits":
					tab.SetLimits(s.limits)
				}
			}
			for n, e := range spec.want {
				e.MAC = mac(n)
				if got, ok := tab.Get(e.MAC); !ok || got != e {
					t.Errorf("Get(%v) = %+v, %v, want %+v", e.MAC, got, ok, e)
				}
				if d, ok := tab.Lookup(e.MAC); !ok || d != e.Dest {
					t.Errorf("Lookup(%v) = %d, %v, want %d", e.MAC, d, ok, e.Dest)
				}
			}
			if got := tab.Stats(); got != spec.stats || tab.Len() != len(spec.want) {
				t.Errorf("Stats() = %+v, Len() = %d, want %+v, %d", got, tab.Len(), spec.stats, len(spec.want))
			}
			if _, ok := tab.Lookup(mac(99)); ok {
				t.Error("Lookup of a MAC that was never there says it is")
			}
		})
	}
}

func TestNames(t *testing.T) {
	for want, s := range map[string]State{"dynamic": Dynamic, "static": Static, "permanent": Permanent} {
		if s.String() != want {
			t.Errorf("State %d = %q, want %q", s, s, want)
		}
	}
	for want, s := range map[string]Source{"learned": Learned, "config": Config, "operator": Operator,
		"flannel": Flannel, "evpn": EVPN, "kube": Kube} {
		if s.String() != want {
			t.Errorf("Source %d = %q, want %q", s, s, want)
		}
	}
}

func TestDeleteIf(t *testing.T) {
	tab := New(open)
	for n := range uint64(100) {
		tab.Learn(mac(n), Dest(n%4), 0)
	}
	if n := tab.DeleteIf(func(e Entry) bool { return e.Dest == 1 }); n != 25 {
		t.Fatalf("DeleteIf = %d, want 25", n)
	}
	for n := range uint64(100) {
		if _, ok := tab.Lookup(mac(n)); ok == (n%4 == 1) {
			t.Errorf("Lookup(%v) = %v", mac(n), ok)
		}
	}
	if n := tab.DeleteIf(func(Entry) bool { return false }); n != 0 || tab.Len() != 75 {
		t.Errorf("DeleteIf = %d, Len() = %d", n, tab.Len())
	}
}

// Places of deleted entries are used again, and a table that has shrunk gives
// its memory back.
func TestRebuild(t *testing.T) {
	tab := New(open)
	for n := range uint64(100_000) {
		tab.Learn(mac(n), Dest(n), 0)
		if n >= 100 {
			tab.Delete(mac(n - 100))
		}
		if size := len(tab.current.Load().words); size > 1024 {
			t.Fatalf("%d places for 100 entries after %d", size, n)
		}
	}
	for n := range uint64(100_000) {
		d, ok := tab.Lookup(mac(n))
		if ok != (n >= 99_900) || ok && d != Dest(n) {
			t.Fatalf("Lookup(%d) = %d, %v", n, d, ok)
		}
	}
	for n := range uint64(50_000) {
		tab.Learn(mac(n), 1, 0)
	}
	large := len(tab.current.Load().words)
	if large > 50_000*4 {
		t.Errorf("%d places for 50,000 entries: more than 4 an entry", large)
	}
	tab.Age(1000)
	if size := len(tab.current.Load().words); size != minSlots || tab.Len() != 0 {
		t.Errorf("%d places for %d entries, had %d", size, tab.Len(), large)
	}
}

func TestGrowsByDoubling(t *testing.T) {
	tab := New(open)
	last := minSlots
	for n := range uint64(100_000) {
		tab.Learn(mac(n), 1, 0)
		if size := len(tab.current.Load().words); size != last && size != 2*last {
			t.Fatalf("entry %d: from %d to %d places", n, last, size)
		} else {
			last = size
		}
	}
}

func TestMulti(t *testing.T) {
	tab := New(open)
	a, b := packet.MACFrom(0x01005e000001), packet.MACFrom(0x333300000001)
	if got := tab.LookupMulti(a); got != nil {
		t.Errorf("LookupMulti of nothing = %v", got)
	}
	dests := []Dest{3, 1, 2}
	tab.PutMulti(a, dests)
	tab.PutMulti(b, []Dest{9})
	dests[0] = 77 // the table keeps its own
	seen := tab.LookupMulti(a)
	if !slices.Equal(seen, []Dest{3, 1, 2}) || !slices.Equal(tab.LookupMulti(b), []Dest{9}) {
		t.Errorf("LookupMulti = %v, %v", seen, tab.LookupMulti(b))
	}
	tab.PutMulti(a, []Dest{4})
	if !slices.Equal(tab.LookupMulti(a), []Dest{4}) || !slices.Equal(seen, []Dest{3, 1, 2}) {
		t.Errorf("after a change: %v, and who looked before has %v", tab.LookupMulti(a), seen)
	}
	tab.PutMulti(a, nil)
	if tab.LookupMulti(a) != nil || tab.LookupMulti(b) == nil || tab.Len() != 0 {
		t.Errorf("after a delete: %v, %v, Len %d", tab.LookupMulti(a), tab.LookupMulti(b), tab.Len())
	}
	tab.PutMulti(a, []Dest{}) // of what is not there
	if tab.LookupMulti(a) != nil {
		t.Error("an empty list is an entry")
	}
}

func TestNotify(t *testing.T) {
	tab := New(Limits{Max: 2, Share: 100, Ageing: time.Second})
	var got []Change
	tab.SetNotify(func(c Change) { got = append(got, c) })
	expect := func(what string, want ...Change) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s tells %+v, want %+v", what, got, want)
		}
		got = nil
	}
	m := mac(1)
	tab.Learn(m, 7, 1)
	expect("new", Change{Added, Entry{MAC: m, Dest: 7, Updated: 1}})
	tab.Learn(m, 7, 2)
	expect("refresh")
	tab.Learn(m, 8, 3)
	expect("move", Change{Moved, Entry{MAC: m, Dest: 8, Updated: 3}})
	tab.Put(Entry{MAC: m, Dest: 9, State: Static, Source: Operator, Updated: 4})
	expect("put", Change{Deleted, Entry{MAC: m, Dest: 8, Updated: 3}},
		Change{Added, Entry{MAC: m, Dest: 9, State: Static, Source: Operator, Updated: 4}})
	tab.Learn(m, 1, 5)
	expect("conflict")
	tab.Delete(m)
	expect("delete", Change{Deleted, Entry{MAC: m, Dest: 9, State: Static, Source: Operator, Updated: 4}})
	tab.Learn(m, 7, 6)
	tab.Learn(mac(2), 7, 7)
	got = nil
	tab.Learn(mac(3), 7, 7)
	expect("full")
	tab.Age(16)
	expect("age", Change{Aged, Entry{MAC: m, Dest: 7, Updated: 6}})
	tab.DeleteIf(func(Entry) bool { return true })
	expect("delete if", Change{Deleted, Entry{MAC: mac(2), Dest: 7, Updated: 7}})
	tab.SetNotify(nil)
	tab.Learn(m, 7, 8)
	expect("nobody")
}

// Each entry is told once however often the table is rebuilt under it.
func TestNotifyAcrossRebuilds(t *testing.T) {
	tab := New(open)
	known := map[packet.MAC]Dest{}
	tab.SetNotify(func(c Change) {
		switch _, had := known[c.Entry.MAC]; {
		case c.Op == Added && !had:
			known[c.Entry.MAC] = c.Entry.Dest
		case c.Op == Deleted && had:
			delete(known, c.Entry.MAC)
		default:
			t.Fatalf("%+v, had %v", c, had)
		}
	})
	for n := range uint64(5000) {
		tab.Learn(mac(n), Dest(n), 0)
		if n%3 == 0 {
			tab.Delete(mac(n / 2))
		}
	}
	n := 0
	tab.Range(func(e Entry) bool {
		n++
		return known[e.MAC] == e.Dest
	})
	if n != len(known) || n != tab.Len() {
		t.Errorf("%d entries, told %d, Len() = %d", n, len(known), tab.Len())
	}
}

func TestRange(t *testing.T) {
	tab := New(open)
	for n := range uint64(1000) {
		tab.Learn(mac(n), Dest(n), 0)
	}
	seen := 0
	tab.Range(func(Entry) bool { seen++; return seen < 10 })
	if seen != 10 {
		t.Errorf("Range went on to %d after false", seen)
	}
	// The callback may change the table; what stays throughout is seen once.
	count := make(map[packet.MAC]int)
	next := uint64(10_000)
	tab.Range(func(e Entry) bool {
		if e.Dest != Dest(e.MAC.Uint64()) {
			t.Fatalf("%+v", e)
		}
		count[e.MAC]++
		tab.Delete(mac(uint64(e.Dest) ^ 1))
		tab.Learn(mac(next), Dest(next), 0)
		next++
		return true
	})
	for m, n := range count {
		if n != 1 {
			t.Errorf("%v seen %d times", m, n)
		}
	}
	tab.Range(func(e Entry) bool {
		if n := e.MAC.Uint64() & 0xffff; n < 1000 && count[e.MAC] != 1 {
			t.Errorf("%v is there and was seen %d times", e.MAC, count[e.MAC])
		}
		return true
	})
}

func TestNoAllocations(t *testing.T) {
	tab := New(open)
	for n := range uint64(1000) {
		tab.Learn(mac(n), 1, 0)
	}
	tab.PutMulti(packet.MACFrom(0x01005e000001), []Dest{1, 2})
	tab.Put(Entry{MAC: mac(5000), Dest: 1, State: Static, Source: Config})
	full := New(Limits{Max: 0, Share: 100})
	var now Tick
	for name, f := range map[string]func(){
		"Lookup hit":      func() { tab.Lookup(mac(7)) },
		"Lookup miss":     func() { tab.Lookup(mac(7777)) },
		"LookupMulti":     func() { tab.LookupMulti(packet.MACFrom(0x01005e000001)) },
		"Get":             func() { tab.Get(mac(7)) },
		"Learn refresh":   func() { now++; tab.Learn(mac(7), 1, now) },
		"Learn same tick": func() { tab.Learn(mac(8), 1, 0) },
		"Learn static":    func() { tab.Learn(mac(5000), 1, now) },
		"Learn conflict":  func() { tab.Learn(mac(5000), 2, now) },
		"Learn move":      func() { now++; tab.Learn(mac(9), Dest(now&1), now) },
		"Learn full":      func() { full.Learn(mac(9), 1, 0) },
	} {
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

const million = 1_000_000

func TestMillionEntriesFit(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab := New(Limits{Max: million, Share: 100, Ageing: time.Second})
	for n := range uint64(million) {
		if r := tab.Learn(mac(n), Dest(n), 0); r != NewEntry {
			t.Fatalf("Learn %d = %v", n, r)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%.1f MB in %d places", float64(used)/1e6, len(tab.current.Load().words))
	if used > 48e6 {
		t.Errorf("%d bytes for a million entries, want under 48 MB", used)
	}
	if r := tab.Learn(mac(million), 1, 0); r != Full {
		t.Errorf("one more = %v", r)
	}
	for n := range uint64(million) {
		if d, ok := tab.Lookup(mac(n)); !ok || d != Dest(n) {
			t.Fatalf("Lookup(%d) = %d, %v", n, d, ok)
		}
		if _, ok := tab.Lookup(mac(n + million)); ok {
			t.Fatalf("Lookup(%d) found something", n+million)
		}
	}
	if n := tab.Age(100); n != million || tab.Len() != 0 {
		t.Errorf("Age = %d, Len() = %d", n, tab.Len())
	}
}

func filled(b *testing.B, n uint64) *Table {
	b.Helper()
	tab := New(Limits{Max: 1 << 30, Share: 100, Ageing: time.Second})
	for i := range n {
		tab.Learn(mac(i), Dest(i), 0)
	}
	b.ReportAllocs()
	return tab
}

func BenchmarkLookupHit(b *testing.B) {
	for _, n := range []uint64{1000, million} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tab := filled(b, n)
			for i := uint64(0); b.Loop(); i++ {
				tab.Lookup(mac(i * 7919 % n))
			}
		})
	}
}

func BenchmarkLookupHitParallel(b *testing.B) {
	tab := filled(b, 10_000)
	b.RunParallel(func(pb *testing.PB) {
		for i := uint64(0); pb.Next(); i++ {
			tab.Lookup(mac(i * 7919 % 10_000))
		}
	})
}

func BenchmarkLookupMiss(b *testing.B) {
	tab := filled(b, million)
	for i := uint64(0); b.Loop(); i++ {
		tab.Lookup(mac(million + i*7919%million))
	}
}

func BenchmarkLearnRefresh(b *testing.B) {
	tab := filled(b, million)
	for i := uint64(0); b.Loop(); i++ {
		n := i * 7919 % million
		tab.Learn(mac(n), Dest(n), Tick(i))
	}
}

func BenchmarkLearnNew(b *testing.B) {
	tab := filled(b, 0)
	for i := uint64(0); b.Loop(); i++ {
		tab.Learn(mac(i), 1, 0)
	}
}

// BenchmarkAge1M looks at a million entries and finds none too old.
func BenchmarkAge1M(b *testing.B) {
	tab := filled(b, million)
	for b.Loop() {
		if tab.Age(5) != 0 {
			b.Fatal("aged")
		}
	}
}

// TestRefresh: hearing a MAC where it is known keeps it; anything else changes
// nothing.
func TestRefresh(t *testing.T) {
	table := New(Limits{Max: 10, Share: 100})
	known, static := packet.MAC{2, 0, 0, 0, 0, 1}, packet.MAC{2, 0, 0, 0, 0, 2}
	table.Learn(known, 1, 100)
	table.Put(Entry{MAC: static, Dest: 1, State: Permanent, Updated: 100})
	for _, c := range []struct {
		name    string
		mac     packet.MAC
		dest    Dest
		here    bool
		updated Tick
	}{
		{"where it is", known, 1, true, 200},
		{"elsewhere", known, 2, false, 200},
		{"one that does not age", static, 1, true, 100},
		{"unknown", packet.MAC{2, 0, 0, 0, 0, 3}, 1, false, 0},
	} {
		if here := table.Refresh(c.mac, c.dest, 200); here != c.here {
			t.Errorf("%s: %v", c.name, here)
		}
		if e, _ := table.Get(c.mac); e.Updated != c.updated {
			t.Errorf("%s: heard at %d, want %d", c.name, e.Updated, c.updated)
		}
	}
	if n := table.Len(); n != 2 {
		t.Errorf("%d entries", n)
	}
}
