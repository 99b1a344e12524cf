package daemon

import (
	"fmt"
	"slices"

	"go.uber.org/zap"

	"vtepd/config"
	"vtepd/route"
	"vtepd/vtep"
	"vtepd/vtep/tap"
)

// A plan is what the daemon serves next: for each segment and listener either
// what is there already or something newly opened.
type plan struct {
	d         *Daemon
	cfg       *config.Config
	segments  map[uint32]*segment
	listeners map[listenKey]*listener
	look      *look
	fresh     map[*tap.Device]bool // devices that the plan opened
	opened    []func()             // undo what prepare opened, last first
}

// prepare opens all that next needs and the daemon does not have. On an error
// nothing is left open and the daemon is as it was.
func (d *Daemon) prepare(next *config.Config) (_ *plan, err error) {
	look, err := newLook()
	if err != nil {
		return nil, err
	}
	p := &plan{d: d, cfg: next, look: look, fresh: make(map[*tap.Device]bool),
		segments:  make(map[uint32]*segment, len(next.Segments)),
		listeners: make(map[listenKey]*listener)}
	defer func() {
		if err != nil {
			p.abandon()
		}
	}()
	for i := range next.Segments {
		s, err := p.segment(&next.Segments[i])
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", next.Segments[i].VNI, err)
		}
		p.segments[s.cfg.VNI] = s
	}
	if err := p.listen(); err != nil {
		return nil, err
	}
	return p, nil
}

// abandon closes what prepare opened.
func (p *plan) abandon() {
	for i := len(p.opened) - 1; i >= 0; i-- {
		p.opened[i]()
	}
	p.look.Close()
}

// segment returns the segment for c: a copy of the running one with what
// changed replaced, or a new one.
func (p *plan) segment(c *config.Segment) (*segment, error) {
	old := p.d.segments[c.VNI]
	if old != nil && old.cfg.Mode != c.Mode {
		old = nil // it goes, and another one comes in its place
	}
	s := &segment{cfg: c}
	if err := s.resolve(p.look); err != nil {
		return nil, err
	}
	if have := p.device(c.Device); have != nil && have.cfg.Mode != c.Mode {
		return nil, fmt.Errorf("device %s cannot change its mode while vtepd runs; give the segment another device, or restart", c.Device)
	} else if have != nil {
		s.ports, s.dev, s.mtu, s.deviceMTU = have.ports, have.dev, have.mtu, have.deviceMTU
	} else if err := p.openDevice(s); err != nil {
		return nil, err
	}
	spec := s.dialSpec()
	if old != nil && old.dialSpec() == spec {
		s.dialer = old.dialer
	} else {
		dialer, err := p.d.pools.Dialer(spec)
		if err != nil {
			return nil, err
		}
		s.dialer = dialer
		p.opened = append(p.opened, func() { p.d.closing("dialer", dialer.Close()) })
	}
	if old != nil {
		s.engine, s.untaken = old.engine, old.untaken
	} else {
		s.untaken = make(map[route.Key]struct{})
		kind := vtep.NewSegment
		if c.Mode == config.Routed {
			kind = vtep.NewRouted
		}
		s.engine = kind(c.VNI, c.Device, p.d.engine.Workers(), s.options(), s.dialer)
	}
	return s, nil
}

// device returns the running segment whose device has that name, also under
// another VNI, nil if there is none or it stopped working.
func (p *plan) device(name string) *segment {
	for _, s := range p.d.segments {
		if s.cfg.Device == name && !s.failed {
			return s
		}
	}
	return nil
}

// listen opens the receive sockets that the plan's segments need.
func (p *plan) listen() error {
	wanted := wantedListeners(p.segments)
	for key, l := range wanted {
		if old := p.d.listeners[key]; old != nil {
			l.receivers, l.sockets = old.receivers, old.sockets
		} else if err := p.open(l); err != nil {
			return err
		}
		p.listeners[key] = l
	}
	return nil
}

func (p *plan) open(l *listener) error {
	if err := l.open(p.d.engine.Workers(), p.d.tier.gro, p.d.holds(l.key)); err != nil {
		return err
	}
	p.opened = append(p.opened, func() { p.d.closing("socket", l.close()) })
	return nil
}

// commit puts the plan in force. Nothing in it can fail in a way that leaves
// the daemon between two states: what the host refuses is logged and tried
// again when the host changes. fill gives the segments their entries: that is
// before they receive, or the first frames of a remote were a stranger's.
func (p *plan) commit(fill func()) error {
	d := p.d
	oldSegments, oldListeners, oldConfig := d.segments, d.listeners, d.cfg
	for vni, s := range p.segments {
		old := oldSegments[vni]
		s.engine.SetOptions(s.options())
		if old != nil && old.engine == s.engine && old.dialer != s.dialer {
			if err := s.engine.SetDialer(s.dialer); err != nil {
				d.log.Error("paths not moved", zap.Uint32("vni", vni), zap.Error(err))
			}
		}
	}
	d.segments, d.listeners, d.cfg = p.segments, p.listeners, p.cfg
	fill()
	for vni, s := range d.segments {
		if old := oldSegments[vni]; old != nil && old.engine == s.engine && !slices.Equal(old.locals(), s.locals()) {
			d.reapplyPrefixes(s)
		}
	}
	if err := d.engine.Update(p.set()); err != nil { // it is closed
		d.segments, d.listeners, d.cfg = oldSegments, oldListeners, oldConfig
		return err
	}
	used := make(map[*tap.Device]bool, len(d.segments))
	for _, s := range d.segments {
		used[s.dev] = true
	}
	var gone []*segment
	for vni, old := range oldSegments {
		if !used[old.dev] {
			gone = append(gone, old)
		}
		if now := d.segments[vni]; now == nil || now.dialer != old.dialer {
			d.closing("dialer", old.dialer.Close())
		}
	}
	d.closing("device", closeDevices(gone))
	for _, old := range gone {
		old.logger(d.log).Info("device removed")
	}
	for key, old := range oldListeners {
		if d.listeners[key] == nil {
			d.closing("socket", old.close())
			d.log.Info("stopped listening", zap.Stringer("address", key))
		}
	}
	return nil
}

// bringUp brings up the devices that the plan opened.
func (p *plan) bringUp() {
	for _, s := range p.segments {
		if p.fresh[s.dev] {
			p.d.bringUp(s)
		}
	}
}

// set is the engine's view of the plan.
func (p *plan) set() *vtep.Set {
	set := &vtep.Set{}
	for _, s := range p.segments {
		set.Devices = append(set.Devices, vtep.Device{Segment: s.engine, Ports: s.ports})
		set.OwnIfIndexes = append(set.OwnIfIndexes, int32(s.dev.Index))
	}
	for _, l := range p.listeners {
		set.Listeners = append(set.Listeners, l.engineListener(p.segments))
	}
	return set
}

// closing logs what went wrong in giving something back: there is nobody left
// to return it to.
func (d *Daemon) closing(what string, err error) {
	if err != nil {
		d.log.Warn("closing failed", zap.String("what", what), zap.Error(err))
	}
}
