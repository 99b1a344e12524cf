package daemon

import (
	"sync"
	"sync/atomic"
	"testing"

	"vtepd/cmd/internal/api"
)

// TestEventsComeOneAtATime has the FDBs of several segments tell of changes at
// the same moment, each under its own lock: whoever watches is promised
// one event at a time ([api.Backend]).
func TestEventsComeOneAtATime(t *testing.T) {
	d := &Daemon{monitor: newMonitor()}
	var inside, events atomic.Int32
	stop, err := d.Watch([]api.Kind{api.KindFDB}, func(api.Event) {
		if inside.Add(1) != 1 {
			t.Error("an event came while another was told")
		}
		events.Add(1)
		inside.Add(-1)
	})
	must(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20000 {
				d.monitor.publish(api.Event{Kind: api.KindFDB})
			}
		})
	}
	wg.Wait()
	stop()
	d.monitor.publish(api.Event{Kind: api.KindFDB})
	if n := events.Load(); n != 4*20000 {
		t.Errorf("%d events", n)
	}
}
