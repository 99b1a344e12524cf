package path

import (
	"context"
	"time"
)

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
