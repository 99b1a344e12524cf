package path

import (
	"context"
	"time"
)

// Rest is how long to rest after a look that was busy reading and comparing for
// a time, so that a storm of changes costs a fifth of one processor: four times
// as long, as long as that is not felt. On a host with a million routes, where a
// look takes seconds, it is half of one.
func Rest(busy time.Duration) time.Duration {
	const unfelt = 250 * time.Millisecond
	return min(4*busy, max(unfelt, busy))
}

// Keep calls look at once, whenever something that a [Watcher] tells of changed
// on the host, whenever wake has something, and every tick, which it says. After
// each it rests for as long as look says; what happens meanwhile leads to one
// look. It listens before the first look, so that nothing is missed, in the
// network namespace of the calling thread, and calls look in the calling
// goroutine. It returns when ctx ends, or with why it hears nothing any more.
func Keep(ctx context.Context, wake chan struct{}, tick time.Duration, look func(ticked bool) (rest time.Duration)) error {
	w, err := Subscribe()
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watch := make(chan error, 1)
	go func() {
		watch <- w.Run(watching, func() {
			select {
			case wake <- struct{}{}:
			default: // a look is asked for already
			}
		})
	}()
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for ticked := false; ; {
		rest := look(ticked)
		select {
		case <-ctx.Done():
			return <-watch
		case <-time.After(rest):
		}
		ticked = false
		select {
		case <-ctx.Done():
			return <-watch
		case err := <-watch:
			return err
		case <-wake:
		case <-ticks.C:
			ticked = true
		}
	}
}
