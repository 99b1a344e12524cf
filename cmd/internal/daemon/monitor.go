package daemon

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/route"
	"vtepd/vtep/fdb"
)

// A monitor tells those who watch what changed. Events may come under the
// locks of the daemon or of an FDB, so nothing here waits.
type monitor struct {
	watching atomic.Int32 // how many there are; read without the lock

	mu       sync.Mutex // held for an event, too: they come one at a time
	watchers map[*watcher]struct{}
}

type watcher struct {
	kinds []api.Kind
	emit  func(api.Event)
}

func newMonitor() *monitor { return &monitor{watchers: make(map[*watcher]struct{})} }

// Watch implements [api.Backend].
func (d *Daemon) Watch(kinds []api.Kind, emit func(api.Event)) (func(), error) {
	m, w := d.monitor, &watcher{kinds: kinds, emit: emit}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[w] = struct{}{}
	m.watching.Add(1)
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, w)
		m.watching.Add(-1)
	}), nil
}

func (m *monitor) publish(e api.Event) {
	e.Time = time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	for w := range m.watchers {
		if slices.Contains(w.kinds, e.Kind) {
			w.emit(e)
		}
	}
}

// notifier tells monitors what happens in the FDB of s.
func (d *Daemon) notifier(s *segment) func(fdb.Change) {
	return func(c fdb.Change) {
		if d.fast != nil {
			d.fast.mirror.Changed(s.engine, c.Entry.MAC)
		}
		if d.monitor.watching.Load() == 0 {
			return
		}
		e := d.unicastEntry(s, c.Entry)
		action := api.Deleted
		switch c.Op {
		case fdb.Added:
			action = api.Added
		case fdb.Moved:
			action = api.Changed
		}
		d.monitor.publish(api.Event{Kind: api.KindFDB, Action: action, FDB: &e})
	}
}

// delta tells monitors of a change of the route table. Unicast MACs they hear
// of from the FDB.
func (m *monitor) delta(s *segment, d route.Delta) {
	if m.watching.Load() == 0 {
		return
	}
	ev := api.Event{Action: [...]api.Action{route.Added: api.Added, route.Replaced: api.Changed, route.Removed: api.Deleted}[d.Op]}
	switch d.Entry.Key.Kind {
	case route.RemoteVTEP:
		r := s.remote(d.Entry)
		ev.Kind, ev.Remote = api.KindRemote, &r
	case route.MAC:
		if !d.Entry.Key.MAC.IsMulticast() {
			return
		}
		e := s.listEntry(d.Entry)
		ev.Kind, ev.FDB = api.KindFDB, &e
	case route.Neighbor:
		n := s.neighbour(d.Entry)
		ev.Kind, ev.Neigh = api.KindNeigh, &n
	case route.Prefix:
		r := s.route(d.Entry)
		ev.Kind, ev.Route = api.KindRoute, &r
	}
	m.publish(ev)
}
