package fdb

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vtepd/encap/packet"
)

// model is what a table is: a map, limits and some arithmetic.
type model struct {
	limits  Limits
	entries map[packet.MAC]Entry
	stats   Stats
}

func (m *model) learned(d int) (n int) {
	for _, e := range m.entries {
		if e.Source == Learned && (d < 0 || e.Dest == Dest(d)) {
			n++
		}
	}
	return n
}

func (m *model) learn(mac packet.MAC, d Dest, now Tick) Result {
	e, ok := m.entries[mac]
	switch {
	case ok && e.State != Dynamic && e.Dest == d:
		return StaticHere
	case ok && e.State != Dynamic:
		return Conflict
	case ok && e.Dest == d:
		e.Updated = now
		m.entries[mac] = e
		return Refreshed
	case ok:
		m.entries[mac] = Entry{MAC: mac, Dest: d, Updated: now}
		m.stats.Moved++
		return MovedEntry
	case m.learned(-1) >= m.limits.Max,
		m.limits.Share < 100 && m.learned(int(d)) >= max(1, m.limits.Max*m.limits.Share/100):
		m.stats.Full++
		return Full
	}
	m.entries[mac] = Entry{MAC: mac, Dest: d, Updated: now}
	m.stats.Learned++
	return NewEntry
}

func (m *model) age(now Tick) (n int) {
	ageing := Tick(m.limits.Ageing / TickLength)
	for mac, e := range m.entries {
		if ageing > 0 && e.State == Dynamic && now >= e.Updated && now-e.Updated >= ageing {
			delete(m.entries, mac)
			n++
		}
	}
	m.stats.Aged += uint64(n)
	return n
}

func TestModel(t *testing.T) {
	limits := rapid.Custom(func(t *rapid.T) Limits {
		return Limits{
			Max:    rapid.SampledFrom([]int{0, 1, 3, 10, 40, 1000}).Draw(t, "max"),
			Share:  rapid.SampledFrom([]int{0, 1, 34, 50, 99, 100}).Draw(t, "share"),
			Ageing: TickLength * rapid.SampledFrom([]time.Duration{0, 1, 5, 50}).Draw(t, "ageing"),
		}
	})
	macs := rapid.Map(rapid.Uint64Range(1, 90), mac)
	dests := rapid.Custom(func(t *rapid.T) Dest { return Dest(rapid.Uint16Range(0, 4).Draw(t, "dest")) })

	rapid.Check(t, func(t *rapid.T) {
		m := &model{limits: limits.Draw(t, "limits"), entries: map[packet.MAC]Entry{}}
		tab := New(m.limits)
		told := map[packet.MAC]Entry{}
		tab.SetNotify(func(c Change) {
			gone := c.Op == Deleted || c.Op == Aged
			if e, ok := tab.Get(c.Entry.MAC); ok == gone || ok && e != c.Entry {
				t.Fatalf("told %+v, while the table has %+v, %v", c, e, ok)
			}
			_, had := told[c.Entry.MAC]
			if had != (c.Op != Added) {
				t.Fatalf("told %+v, had %v", c, had)
			}
			if c.Op == Deleted || c.Op == Aged {
				delete(told, c.Entry.MAC)
			} else {
				told[c.Entry.MAC] = c.Entry
			}
		})
		var now Tick
		t.Repeat(map[string]func(*rapid.T){
			"learn": func(t *rapid.T) {
				mac, d := macs.Draw(t, "mac"), dests.Draw(t, "dest")
				if got, want := tab.Learn(mac, d, now), m.learn(mac, d, now); got != want {
					t.Fatalf("Learn(%v, %d) = %d, want %d", mac, d, got, want)
				}
			},
			"learn many": func(t *rapid.T) {
				first, n, d := rapid.Uint64Range(1, 90).Draw(t, "first"), rapid.Uint64Range(1, 90).Draw(t, "n"), dests.Draw(t, "dest")
				for i := range n {
					if got, want := tab.Learn(mac(first+i), d, now), m.learn(mac(first+i), d, now); got != want {
						t.Fatalf("Learn(%v, %d) = %d, want %d", mac(first+i), d, got, want)
					}
				}
			},
			"put": func(t *rapid.T) {
				e := Entry{MAC: macs.Draw(t, "mac"), Dest: dests.Draw(t, "dest"), Updated: now,
					State:  rapid.SampledFrom([]State{Dynamic, Static, Permanent}).Draw(t, "state"),
					Source: rapid.SampledFrom([]Source{Config, Operator, EVPN, Learned}).Draw(t, "source")}
				if e.Source == Learned {
					e.State = Dynamic
				}
				tab.Put(e)
				m.entries[e.MAC] = e
			},
			"delete": func(t *rapid.T) {
				mac := macs.Draw(t, "mac")
				want, had := m.entries[mac]
				delete(m.entries, mac)
				if got, ok := tab.Delete(mac); ok != had || got != want {
					t.Fatalf("Delete(%v) = %+v, %v, want %+v, %v", mac, got, ok, want, had)
				}
			},
			"delete if": func(t *rapid.T) {
				d := dests.Draw(t, "dest")
				gone := func(e Entry) bool { return e.Dest == d && e.State == Dynamic }
				want := len(m.entries)
				maps.DeleteFunc(m.entries, func(_ packet.MAC, e Entry) bool { return gone(e) })
				if got := tab.DeleteIf(gone); got != want-len(m.entries) {
					t.Fatalf("DeleteIf = %d, want %d", got, want-len(m.entries))
				}
			},
			"age": func(t *rapid.T) {
				if got, want := tab.Age(now), m.age(now); got != want {
					t.Fatalf("Age(%d) = %d, want %d", now, got, want)
				}
			},
			"time":   func(t *rapid.T) { now += Tick(rapid.Uint32Range(0, 20).Draw(t, "ticks")) },
			"limits": func(t *rapid.T) { m.limits = limits.Draw(t, "limits"); tab.SetLimits(m.limits) },
			"": func(t *rapid.T) {
				m.stats.Entries = uint64(len(m.entries))
				if got := tab.Stats(); got != m.stats || tab.Len() != len(m.entries) {
					t.Fatalf("Stats() = %+v, Len() = %d, want %+v", got, tab.Len(), m.stats)
				}
				if tab.learned != m.learned(-1) {
					t.Fatalf("%d learned entries, want %d", tab.learned, m.learned(-1))
				}
				for d := range 5 {
					if tab.behind[Dest(d)] != m.learned(d) {
						t.Fatalf("%d learned entries behind %d, want %d", tab.behind[Dest(d)], d, m.learned(d))
					}
				}
				ranged := map[packet.MAC]Entry{}
				tab.Range(func(e Entry) bool {
					if _, twice := ranged[e.MAC]; twice {
						t.Fatalf("%+v twice", e)
					}
					ranged[e.MAC] = e
					return true
				})
				if !maps.Equal(ranged, m.entries) {
					t.Fatalf("Range gives %v, want %v", ranged, m.entries)
				}
				for n := range uint64(90) {
					want, had := m.entries[mac(n)]
					d, ok := tab.Lookup(mac(n))
					e, got := tab.Get(mac(n))
					if ok != had || got != had || e != want || d != want.Dest {
						t.Fatalf("Lookup(%v) = %d, %v, Get = %+v, want %+v, %v", mac(n), d, ok, e, want, had)
					}
					if e := told[mac(n)]; e.Dest != want.Dest || e.State != want.State || e.Source != want.Source {
						t.Fatalf("told of %+v, is %+v", e, want)
					}
				}
			},
		})
	})
}
