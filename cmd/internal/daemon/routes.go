package daemon

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"vtepd/config"
	"vtepd/route"
	"vtepd/route/flannel"
	"vtepd/route/host"
	"vtepd/route/nft"
)

// podBridge is the bridge of pods, which forwards when it is there.
const podBridge = "cni0"

// routesPause is how long changes of routes are collected.
const routesPause = 50 * time.Millisecond

// keepRoutes tells the host's routes and rules what is wanted of them, until
// ctx ends.
func (d *Daemon) keepRoutes(ctx context.Context) error {
	sub := d.table.Subscribe(0, route.Prefix)
	defer sub.Close()
	var masqueraded []nft.Network
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.Changed():
		case <-d.routesChanged:
		}
		w := d.wantedRoutes(sub.Next().Deltas)
		d.routes.Set(w)
		d.followForward(&w)
		masqueraded = d.followMasquerade(masqueraded)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(routesPause):
		}
	}
}

// wakeRoutes says that segments changed. It never waits.
func (d *Daemon) wakeRoutes() {
	select {
	case d.routesChanged <- struct{}{}:
	default: // it is known already
	}
}

// wantedRoutes is what the kernel is to have for the prefixes of all segments.
func (d *Daemon) wantedRoutes(all []route.Delta) host.Wanted {
	d.mu.Lock()
	defer d.mu.Unlock()
	var w host.Wanted
	known := make(map[uint32]bool)
	for vni, s := range d.segments {
		if s.cfg.Mode == config.Routed {
			known[vni] = true
			w.Segments = append(w.Segments, host.Segment{VNI: vni, Device: s.cfg.Device, Interface: s.cfg.Interface})
		}
	}
	if d.member != nil {
		if up := d.member.place(); up.name != "" {
			w.Forward = append(w.Forward, up.name)
			known[flannel.HostGWVNI] = true
			w.Segments = append(w.Segments, host.Segment{VNI: flannel.HostGWVNI, Interface: up.name})
		}
	}
	for _, delta := range all {
		// What a control plane says of a segment that is not there yet waits.
		// What is behind ourselves is for routes of others.
		e := &delta.Entry
		if s := d.segments[e.Key.VNI]; known[e.Key.VNI] && (s == nil || !s.own(e.VTEP.Addr)) {
			w.Prefixes = append(w.Prefixes, *e)
		}
	}
	if len(w.Segments) > 0 {
		w.Forward = append(w.Forward, podBridge)
	}
	return w
}

// followForward says what other chains must let through: all that comes and
// goes by the devices of routed segments, and what is of the pods.
func (d *Daemon) followForward(w *host.Wanted) {
	var f nft.Forward
	for _, s := range w.Segments {
		if s.Device != "" {
			f.Devices = append(f.Devices, s.Device)
		}
	}
	if c := d.configuration().Flannel; d.member != nil && c != nil {
		f.Insert = c.Forward == "insert"
		for _, n := range d.member.networks() {
			f.Networks = append(f.Networks, n.Network)
		}
	}
	d.rules.SetForward(f)
}

// followMasquerade says whose packets are masqueraded, where that is not what
// was said before, and returns it.
func (d *Daemon) followMasquerade(before []nft.Network) []nft.Network {
	var want []nft.Network
	if c := d.configuration().Flannel; d.member != nil && c != nil && c.Masquerade {
		want = d.member.networks()
	}
	if slices.Equal(want, before) {
		return before
	}
	var rules nft.Contribution // none
	if len(want) > 0 {
		rules = nft.Masquerade(want...)
	}
	if err := d.rules.Set("masquerade", rules); err != nil {
		d.log.Error("no masquerading", zap.Error(err))
		return before
	}
	return want
}

// runRoutes keeps the kernel's routes until ctx ends.
func (d *Daemon) runRoutes(ctx context.Context) error {
	if err := d.routes.Run(ctx); err != nil {
		return &SystemError{Err: err}
	}
	return nil
}

// runRules keeps the kernel's rules until ctx ends.
func (d *Daemon) runRules(ctx context.Context) error {
	if err := d.rules.Run(ctx); err != nil {
		return &SystemError{Err: err}
	}
	return nil
}

// routesReport logs what became of the kernel's routes.
func (d *Daemon) routesReport(r host.Report) {
	if r.Added+r.Removed+r.Corrected > 0 {
		d.log.Info("kernel routes", zap.Int("added", r.Added), zap.Int("removed", r.Removed), zap.Int("corrected", r.Corrected))
	}
	if len(r.Settings) > 0 {
		d.log.Info("kernel settings changed", zap.Strings("settings", r.Settings))
	}
	d.logProblems("kernel routes", r.Problems, r.Solved)
}

// rulesReport logs what became of the kernel's rules.
func (d *Daemon) rulesReport(r nft.Report) {
	for _, what := range r.Done {
		d.log.Info("kernel rules: " + what)
	}
	d.logProblems("kernel rules", r.Problems, r.Solved)
}

// saidProblems is how many of one kind are said at once, one by one.
const saidProblems = 10

func (d *Daemon) logProblems(of string, problems, solved []string) {
	for _, p := range problems[:min(len(problems), saidProblems)] {
		d.log.Warn(of+": problem", zap.String("problem", p))
	}
	if n := len(problems) - saidProblems; n > 0 {
		d.log.Warn(of+": more problems; `vtepctl -j status` lists them", zap.Int("count", n))
	}
	for _, p := range solved[:min(len(solved), saidProblems)] {
		d.log.Info(of+": solved", zap.String("problem", p))
	}
	if n := len(solved) - saidProblems; n > 0 {
		d.log.Info(of+": more of them solved", zap.Int("count", n))
	}
}
