package vtep

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"vtepd/encap/drop"
)

// Config says how an [Engine] works.
type Config struct {
	// Senders are the workers' senders, one each: their number is the number
	// of workers. The engine closes them.
	Senders []Sender
	// Spin is how long a worker polls after a burst that was not bulk before
	// it sleeps. It yields the processor at every turn.
	Spin time.Duration
	// DeviceFailed is told when a device stopped working, once a device and
	// worker. It is called by a worker, so it must not wait.
	DeviceFailed func(*Segment, error)
}

// An Engine runs the workers.
type Engine struct {
	cfg     Config
	clock   clock
	workers []*Worker
	wg      sync.WaitGroup

	mu      sync.Mutex // held by Update, Settle and Close
	set     atomic.Pointer[Set]
	running bool
}

// ErrClosed is returned by [Engine.Update] after Close.
var ErrClosed = errors.New("engine is closed")

// NewEngine makes an engine that serves nothing yet.
func NewEngine(cfg Config) *Engine {
	if cfg.DeviceFailed == nil {
		cfg.DeviceFailed = func(*Segment, error) {}
	}
	e := &Engine{cfg: cfg, clock: clock{start: time.Now()}}
	e.set.Store(&Set{})
	for i, s := range cfg.Senders {
		e.workers = append(e.workers, newWorker(i, s, e))
	}
	return e
}

// Workers returns the number of workers: the length of every [Device].Ports
// and [Listener].Receivers.
func (e *Engine) Workers() int { return len(e.workers) }

// Now returns the FDB's time, for entries that control puts there.
func (e *Engine) Now() tick { return e.clock.now() }

// Start starts the workers and the sweeping of FDBs.
func (e *Engine) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		if err := w.open(); err != nil {
			return fmt.Errorf("worker %d: %w", w.index, err)
		}
	}
	e.running = true
	for _, w := range e.workers {
		e.wg.Go(w.run)
	}
	return nil
}

// Update makes the workers serve set. When it returns none of them uses what
// only the set before had, so that its ports and receivers can be closed.
func (e *Engine) Update(set *Set) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.update(set)
}

// update is Update; it holds e.mu.
func (e *Engine) update(set *Set) error {
	for _, d := range set.Devices {
		if len(d.Ports) != len(e.workers) {
			return fmt.Errorf("segment %d has %d queues for %d workers", d.Segment.vni, len(d.Ports), len(e.workers))
		}
	}
	if !e.running {
		return ErrClosed
	}
	e.set.Store(set)
	adopted := make(chan struct{}, len(e.workers))
	for _, w := range e.workers {
		w.next.Store(newView(set, w.index, w.current.Load(), adopted))
		w.wake()
	}
	for range e.workers {
		<-adopted
	}
	return nil
}

// Settle returns when no worker uses any more what it read of a segment before
// the call: a path that was replaced, say.
func (e *Engine) Settle() {
	e.mu.Lock() // before the look at the set: no other may come between
	defer e.mu.Unlock()
	_ = e.update(e.set.Load()) // it fails when no worker runs
}

// Run sweeps the FDBs of the segments served, once a second, until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			now := e.clock.now()
			for _, d := range e.set.Load().Devices {
				d.Segment.Sweep(now)
			}
		}
	}
}

// Unowned returns how many datagrams no segment owns were dropped, by reason.
func (e *Engine) Unowned() [drop.Count]uint64 {
	var sum [drop.Count]uint64
	for _, w := range e.workers {
		for i := range sum {
			sum[i] += w.unowned[i].Load()
		}
	}
	return sum
}

// Close stops the workers and closes their senders. Ports and receivers stay
// their owner's to close.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running {
		return nil
	}
	e.running = false
	var errs []error
	for _, w := range e.workers {
		w.stop.Store(true)
		w.wake()
	}
	e.wg.Wait()
	for _, w := range e.workers {
		errs = append(errs, w.close())
	}
	return errors.Join(errs...)
}
