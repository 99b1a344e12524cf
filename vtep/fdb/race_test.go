package fdb

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vtepd/encap/packet"
)

// Workers learn and look up while another goroutine ages, control puts and
// deletes, and people look. Nobody may ever see a MAC behind a destination that
// it was never behind, and what nobody touches must be found throughout.
func TestConcurrent(t *testing.T) {
	const fixed, moving = 500, 3000
	tab := New(Limits{Max: 2 * moving, Share: 100, Ageing: 2 * TickLength})
	for n := range uint64(fixed) {
		tab.Put(Entry{MAC: mac(n), Dest: Dest(n), State: Permanent, Source: Config})
	}
	group := packet.MACFrom(0x01005e000001)
	tab.PutMulti(group, []Dest{1})
	tab.SetNotify(func(c Change) {
		if n := c.Entry.MAC.Uint64() & 0xffffff; c.Entry.Dest>>2 != Dest(n)>>2 && n >= fixed {
			t.Errorf("told %+v", c)
		}
	})

	// A MAC of number n is only ever behind a Dest that shares all but its two
	// lowest bits.
	var now atomic.Uint32
	var stop atomic.Bool
	var workers, rest sync.WaitGroup
	for w := range uint64(4) {
		workers.Go(func() {
			for i := uint64(0); i < 60_000; i++ {
				n := fixed + (i*(2*w+1)*7919+w)%moving
				if i%5 == 0 {
					n = i % fixed
					if r := tab.Learn(mac(n), Dest(n), Tick(now.Load())); r != StaticHere {
						t.Errorf("Learn of the fixed %d = %d", n, r)
						return
					}
				} else {
					tab.Learn(mac(n), Dest(n&^3)|Dest(i>>9&3), Tick(now.Load()))
				}
				if d, ok := tab.Lookup(mac(n)); ok && d>>2 != Dest(n)>>2 {
					t.Errorf("Lookup(%d) = %d", n, d)
					return
				}
				if d, ok := tab.Lookup(mac(i % fixed)); !ok || d != Dest(i%fixed) {
					t.Errorf("Lookup of the fixed %d = %d, %v", i%fixed, d, ok)
					return
				}
				if d := tab.LookupMulti(group); len(d) == 0 {
					t.Error("LookupMulti lost its entry")
					return
				}
			}
		})
	}
	loop := func(f func(i uint64)) {
		rest.Go(func() {
			for i := uint64(0); !stop.Load(); i++ {
				f(i)
				time.Sleep(50 * time.Microsecond)
			}
		})
	}
	loop(func(uint64) { tab.Age(Tick(now.Add(1))) })
	loop(func(i uint64) { tab.Delete(mac(fixed + i*31%moving)) })
	loop(func(i uint64) {
		tab.DeleteIf(func(e Entry) bool { return e.State == Dynamic && e.Dest&63 == Dest(i&63) })
	})
	loop(func(i uint64) { tab.PutMulti(group, []Dest{Dest(i), 2}) })
	loop(func(i uint64) { tab.SetLimits(Limits{Max: int(1000 + i%3*moving), Share: 100, Ageing: 2 * TickLength}) })
	loop(func(uint64) {
		n := 0
		tab.Range(func(e Entry) bool {
			if e.State == Permanent {
				n++
			}
			return true
		})
		if n != fixed {
			t.Errorf("Range saw %d of %d fixed entries", n, fixed)
		}
		tab.Stats()
		tab.Get(mac(fixed))
	})
	workers.Wait()
	stop.Store(true)
	rest.Wait()

	// All agree in the end.
	n, behind := 0, map[Dest]int{}
	tab.Range(func(e Entry) bool {
		n++
		if e.Source == Learned {
			behind[e.Dest]++
		}
		return true
	})
	if n != tab.Len() || n-fixed != tab.learned {
		t.Errorf("%d entries, Len() = %d, %d learned", n, tab.Len(), tab.learned)
	}
	for d, n := range behind {
		if tab.behind[d] != n {
			t.Errorf("%d entries behind %d, counted %d", n, d, tab.behind[d])
		}
	}
	s := tab.Stats()
	if int(s.Entries) != n || s.Learned == 0 || s.Moved == 0 || s.Aged == 0 {
		t.Errorf("%+v", s)
	}
}

// Learners meet on the same MACs: each is new once.
func TestConcurrentNew(t *testing.T) {
	tab := New(open)
	var fresh atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := range uint64(20_000) {
				if tab.Learn(mac(n), 7, 0) == NewEntry {
					fresh.Add(1)
				}
				if _, ok := tab.Lookup(mac(n)); !ok {
					t.Errorf("%d is learned and not found", n)
					return
				}
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 20_000 || tab.Len() != 20_000 {
		t.Errorf("%d new, Len() = %d", fresh.Load(), tab.Len())
	}
}
