package daemon

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"vtepd/encap/drop"
	"vtepd/vtep"
)

// dropLogEvery is how often growing drop counters are put into the log: one
// line a segment and reason, with the count.
const dropLogEvery = 10 * time.Second

// dropLog turns counters into log lines. The data path logs nothing; a flood
// of bad frames costs one line a reason every ten seconds.
type dropLog struct {
	d *Daemon

	mu   sync.Mutex
	last map[*vtep.Segment]vtep.Counters
	top  [drop.Count]uint64
}

func newDropLog(d *Daemon) *dropLog {
	return &dropLog{d: d, last: make(map[*vtep.Segment]vtep.Counters)}
}

func (l *dropLog) run(ctx context.Context) error {
	t := time.NewTicker(dropLogEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			l.look()
		}
	}
}

func (l *dropLog) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := make(map[*vtep.Segment]vtep.Counters)
	for _, s := range l.d.running() {
		c, was := s.engine.Counters(), l.last[s.engine]
		now[s.engine] = c
		log := l.d.log.With(zap.Uint32("vni", s.cfg.VNI), zap.String("dev", s.cfg.Device))
		sayDrops(log, "dropped from the tunnel", &c.DropsRx, &was.DropsRx)
		sayDrops(log, "dropped from the device", &c.DropsTx, &was.DropsTx)
	}
	l.last = now
	top := l.d.engine.Unowned()
	sayDrops(l.d.log, "dropped from the tunnel", &top, &l.top)
	l.top = top
}

func sayDrops(log *zap.Logger, what string, now, was *[drop.Count]uint64) {
	for r := range now {
		if n := now[r] - was[r]; n > 0 {
			level := zap.WarnLevel
			if drop.Reason(r) == drop.Multicast {
				level = zap.DebugLevel // no fault of anybody's
			}
			log.Log(level, what, zap.Stringer("reason", drop.Reason(r)), zap.Uint64("count", n),
				zap.Duration("within", dropLogEvery))
		}
	}
}

// running returns the segments in force.
func (d *Daemon) running() []*segment {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*segment, 0, len(d.segments))
	for _, s := range d.segments {
		out = append(out, s)
	}
	return out
}
