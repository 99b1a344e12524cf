package route_test

import (
	"testing"

	"vtepd/route"
)

func woken(s *route.Subscription) bool {
	select {
	case <-s.Changed():
		return true
	default:
		return false
	}
}

// TestSubscription is the life of a subscriber who keeps three changed keys.
func TestSubscription(t *testing.T) {
	table, es := route.NewTable(route.Flannel), nets(10)
	table.Apply(add(route.Flannel, es[:2]...))
	s := table.Subscribe(3, route.Prefix)
	other := table.Subscribe(3, route.Neighbor)
	defer other.Close()
	if !woken(other) || len(other.Next().Deltas) != 0 {
		t.Error("the first update of who wants other kinds is not empty")
	}
	for _, c := range []struct {
		name   string
		do     func()
		woken  bool
		resync bool
		deltas int
	}{
		{"the first update is all there is", func() {}, true, true, 2},
		{"nothing happened", func() {}, false, false, 0},
		{"other kinds do not count", func() { table.Apply(add(route.Config, at(vtepA), member(vtepB))) }, false, false, 0},
		{"what is said again is no news", func() { table.Apply(add(route.Flannel, es[:2]...)) }, false, false, 0},
		{"three changes", func() { table.Apply(add(route.Flannel, es[2:5]...)) }, true, false, 3},
		{"what came and went is nothing", func() {
			table.Apply(add(route.Flannel, es[5]))
			table.Apply(del(route.Flannel, es[5]))
		}, true, false, 0},
		{"many changes of one key are one", func() {
			for range 5 {
				table.Apply(add(route.Operator, es[0]))
				table.Apply(del(route.Operator, es[0]))
			}
			table.Apply(add(route.Operator, es[0]))
		}, true, false, 1},
		{"four changes are too many", func() { table.Apply(add(route.Flannel, es[5:9]...)) }, true, true, 9},
		{"after a resync changes are changes again", func() { table.Apply(del(route.Flannel, es[8])) }, true, false, 1},
	} {
		c.do()
		if got := woken(s); got != c.woken {
			t.Errorf("%s: woken %v", c.name, got)
		}
		if u := s.Next(); u.Resync != c.resync || len(u.Deltas) != c.deltas {
			t.Errorf("%s: resync %v with %d deltas, want %v with %d", c.name, u.Resync, len(u.Deltas), c.resync, c.deltas)
		}
	}
	s.Close()
	table.Apply(route.Batch{Source: route.Flannel, Snapshot: true})
	if woken(s) || woken(other) {
		t.Error("woken after the end, or for other kinds")
	}
}
