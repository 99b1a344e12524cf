package daemon

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"vtepd/route/bypass"
	"vtepd/route/host"
	"vtepd/route/path"
	"vtepd/vtep"
	"vtepd/vtep/tap"
)

// retryHost is how long after a failure to follow the host it is tried again.
const retryHost = 2 * time.Second

// watchHost looks at the host whenever routes, links or addresses changed, or
// a device failed.
func (d *Daemon) watchHost(ctx context.Context) error {
	w, err := path.Subscribe()
	if err != nil {
		return &SystemError{Err: err}
	}
	w.Ignored = host.Protocol // routes that we write lead to no VTEP of their segment
	watch := make(chan error, 1)
	go func() { watch <- w.Run(ctx, d.wakeHost) }()
	retry := time.NewTimer(0)
	defer retry.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return <-watch
		case err := <-watch:
			if err != nil && ctx.Err() == nil {
				return &SystemError{Err: err}
			}
			return nil
		case <-d.hostChanged:
		case <-retry.C:
		case <-tick.C:
			if !d.overlooked() {
				d.followNews()
				continue
			}
		}
		if !d.followHost() {
			retry.Reset(retryHost)
		}
	}
}

// overlooked reports whether something changed that nobody tells of: tables of
// iptables-legacy came.
func (d *Daemon) overlooked() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return (d.tier.whole || d.tier.fast) && bypass.LegacyTables() != d.legacy
}

// followNews measures the paths to VTEPs that were learned from the wire, as
// many as one look takes, and to those that control planes told of; and hooks
// devices that are used by now.
func (d *Daemon) followNews() {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.hookBusy()
	var r *look
	for _, s := range d.segments {
		if s.engine.Made() == s.made && s.waiting == 0 && !s.stale {
			continue
		}
		if r == nil {
			var err error
			if r, err = d.newsLook(); err != nil {
				d.log.Error("cannot look at the host", zap.Error(err))
				return
			}
			defer r.Close()
		}
		d.follow(s, r)
	}
}

// wakeHost asks for a look at the host. It never waits.
func (d *Daemon) wakeHost() {
	select {
	case d.hostChanged <- struct{}{}:
	default: // one is asked for already
	}
}

// deviceFailed is told by a worker that a device stopped working.
func (d *Daemon) deviceFailed(s *vtep.Segment, err error) {
	d.log.Error("device failed", zap.Uint32("vni", s.VNI()), zap.String("dev", s.Name()), zap.Error(err))
	d.wakeHost()
}

// followHost brings every segment in step with the host: addresses, path MTUs,
// and devices that were changed or deleted from outside. It reports whether it
// succeeded for all.
func (d *Daemon) followHost() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := newLook()
	if err != nil {
		d.log.Error("cannot look at the host", zap.Error(err))
		return false
	}
	defer r.Close()
	defer d.closeIdle()
	defer d.publish()
	d.legacy = bypass.LegacyTables()
	replan := false
	for _, s := range d.segments {
		st, err := tap.Look(s.cfg.Device)
		if err != nil || st.Index != s.dev.Index {
			s.failed, replan = true, true
			s.logger(d.log).Error("device is gone: it is made again", zap.Error(err))
			continue
		}
		d.noteDevice(s, st)
		d.follow(s, r)
		replan = replan || s.moved(r)
	}
	if replan && !d.replan() {
		return false
	}
	for _, s := range d.segments {
		if len(s.untaken) > 0 {
			d.retry(s)
		}
	}
	return true
}

// replan prepares the same configuration on the host as it is now.
func (d *Daemon) replan() bool {
	p, err := d.prepare(d.cfg)
	if err != nil {
		d.log.Error("the host changed and cannot be followed yet", zap.Error(err))
		return false
	}
	if err := p.commit(func() {}); err != nil {
		p.abandon()
		d.log.Error("the host changed and cannot be followed yet", zap.Error(err))
		return false
	}
	defer p.look.Close()
	for _, s := range d.segments {
		d.follow(s, p.look)
	}
	p.bringUp()
	return true
}

// noteDevice takes up what somebody changed on the device with `ip`.
func (d *Daemon) noteDevice(s *segment, st tap.State) {
	if s.dev.Packets() {
		st.MAC = s.dev.MAC // the kernel knows of none
	}
	if st.MTU == s.deviceMTU && st.MAC == s.dev.MAC {
		return
	}
	s.deviceMTU, s.dev.MAC = st.MTU, st.MAC
	s.engine.SetOptions(s.options())
	s.logger(d.log).Info("device was changed from outside", zap.Int("mtu", st.MTU), zap.Stringer("mac", st.MAC))
}

// moved reports whether the host's own addresses or interfaces changed under
// the segment. An address that is gone is not a move: it may come back.
func (s *segment) moved(r *look) bool {
	probe := &segment{cfg: s.cfg, engine: s.engine}
	if err := probe.resolve(r); err != nil || len(probe.locals()) < len(s.locals()) {
		return false
	}
	return probe.dialSpec() != s.dialSpec() || !slices.Equal(probe.connected, s.connected)
}

// follow brings the path MTUs of s, and with `mtu: auto` its device, in step
// with the kernel's routes. An MTU that an operator set on the device stays.
// Without a look it makes one at what is new.
func (d *Daemon) follow(s *segment, r *look) {
	if r == nil {
		var err error
		if r, err = d.newsLook(); err != nil {
			d.log.Error("cannot look at the host", zap.Error(err))
			return
		}
		defer r.Close()
	}
	before := s.pathLimit
	// What comes from here on is seen by the next look.
	s.made, s.stale = s.engine.Made(), false
	s.measure(r)
	s.engine.SetPathMTUs(func(a netip.Addr) int { return s.paths[a].MTU })
	d.steer(s, r)
	d.accelerate(s, r)
	d.found = r.findings
	if s.cfg.MTU > s.pathLimit && s.pathLimit != before {
		s.logger(d.log).Warn("mtu is larger than the paths carry: full-size frames are dropped",
			zap.Int("mtu", s.cfg.MTU), zap.Int("paths", s.pathLimit))
	}
	want := s.wantedMTU()
	if s.mtu == want || s.deviceMTU != s.mtu {
		return
	}
	if err := s.dev.Configure(tap.Settings{MTU: want}); err != nil {
		s.logger(d.log).Error("mtu not changed", zap.Error(err))
		return
	}
	s.logger(d.log).Info("mtu follows the paths", zap.Int("mtu", want), zap.Int("was", s.mtu))
	s.mtu, s.deviceMTU = want, want
	s.engine.SetOptions(s.options())
	d.publish()
}
