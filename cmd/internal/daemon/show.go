package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// Version implements [api.Backend].
func (d *Daemon) Version() api.Version {
	return api.Version{Version: d.opts.Version, Go: runtime.Version(), PID: os.Getpid()}
}

// Status implements [api.Backend].
func (d *Daemon) Status() api.Status {
	st := api.Status{Version: d.opts.Version, PID: os.Getpid(),
		Uptime: int64(time.Since(d.started).Seconds()), Config: d.opts.File,
		LogLevel: d.opts.Level.String(), Tier: d.tier.name, Capabilities: d.tier.capabilities(),
		WhyNotFaster: d.tier.why, Workers: d.engine.Workers(), Segments: d.Segments()}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.listeners {
		s := api.Socket{Addr: l.key.addr, Device: l.key.device, Group: l.key.isGroup()}
		for _, r := range l.sockets {
			s.Dropped += r.Drops()
		}
		st.Sockets = append(st.Sockets, s)
	}
	slices.SortFunc(st.Sockets, func(a, b api.Socket) int { return a.Addr.Compare(b.Addr) })
	for _, s := range st.Segments {
		st.Problems = append(st.Problems, s.Problems...)
	}
	node, problems := d.nodeStatus()
	st.Node, st.Problems = node, append(st.Problems, problems...)
	st.Kernel, problems = d.kernelStatus()
	st.Problems = append(st.Problems, problems...)
	sources, problems := d.sources()
	st.Sources, st.Problems = sources, append(st.Problems, problems...)
	return st
}

// Segments implements [api.Backend].
func (d *Daemon) Segments() []api.SegmentStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]api.SegmentStatus, 0, len(d.segments))
	for _, s := range d.ordered() {
		out = append(out, d.segmentStatus(s))
	}
	return out
}

func (d *Daemon) segmentStatus(s *segment) api.SegmentStatus {
	c := s.cfg
	st := api.SegmentStatus{VNI: c.VNI, Mode: api.ModeBridge, Device: c.Device, MAC: s.dev.MAC, MTU: s.deviceMTU,
		Local: s.locals(), Interface: c.Interface, Group: c.Group, Port: c.Port, Bridge: c.Bridge,
		Learning: c.Learning, Ageing: int64(c.Ageing.Seconds()), MaxMACs: c.MaxMACs,
		Accept: acceptText(c), Suppress: c.Suppress,
		Remotes: len(s.engine.Remotes()), Entries: s.engine.FDB().Len(), Tier: d.tier.name}
	if c.Mode == config.Routed {
		st.Mode, st.Prefixes = api.ModeRoute, s.engine.Prefixes().Len()
	}
	switch {
	case d.tier.offload && !s.dev.Caps.VNetHdr:
		st.Tier, st.Reason = "portable", s.dev.Why
	default:
		st.Tier, st.Reason = d.reached(s)
	}
	if s.failed {
		st.Problems = append(st.Problems, "device "+c.Device+" is gone; it will be made again")
	}
	if s.pathLimit > 0 && s.deviceMTU > s.pathLimit {
		st.Problems = append(st.Problems, fmt.Sprintf("device %s has mtu %d, the paths carry %d: full-size frames are dropped",
			c.Device, s.deviceMTU, s.pathLimit))
	}
	if n := len(s.untaken); n > 0 {
		st.Problems = append(st.Problems, fmt.Sprintf("%d entries of segment %d are not in force; the log says why", n, c.VNI))
	}
	return st
}

func acceptText(c *config.Segment) string {
	switch c.Accept.Mode {
	case config.AcceptAny:
		return "any"
	case config.AcceptList:
		var b []string
		for _, p := range c.Accept.Prefixes {
			b = append(b, p.String())
		}
		return strings.Join(b, ",")
	}
	return "known"
}

// Counters implements [api.Backend].
func (d *Daemon) Counters(sel api.Selector) (api.Counters, error) {
	segs, err := d.choose(sel)
	if err != nil {
		return api.Counters{}, err
	}
	if d.fast != nil {
		d.fast.mirror.Tally()
	}
	out := api.Counters{Events: api.Tally{}}
	unowned := d.engine.Unowned()
	out.Drops = api.HostDrops(&unowned)
	for e := range vtep.EventCount {
		out.Events[e.String()] = 0
	}
	for _, s := range segs {
		c := s.engine.Counters()
		out.Segments = append(out.Segments, segmentCounters(s, &c))
		for e := range vtep.EventCount {
			out.Events[e.String()] += c.Events[e]
		}
	}
	return out, nil
}

func segmentCounters(s *segment, c *vtep.Counters) api.SegmentCounters {
	f := s.engine.FDB().Stats()
	out := api.SegmentCounters{VNI: s.cfg.VNI, Device: s.cfg.Device,
		Rx: api.Traffic(c.Rx), Tx: api.Traffic(c.Tx),
		Drops:    api.SegmentDrops(&c.DropsRx, &c.DropsTx),
		Consumed: api.Tally{"suppressed": c.Suppressed},
		FDB:      api.FDBCounters{Entries: f.Entries, Learned: f.Learned, Moved: f.Moved, Aged: f.Aged, Full: f.Full}}
	for _, r := range s.engine.Remotes() {
		rc, v := r.Counters(), r.VTEP()
		out.Remotes = append(out.Remotes, api.RemoteCounters{IP: v.Addr, Port: v.Port, VNI: v.VNI,
			Rx: api.Traffic(rc.Rx), Tx: api.Traffic(rc.Tx), Errors: rc.Errors})
	}
	return out
}

// FDB implements [api.Backend].
func (d *Daemon) FDB(sel api.Selector, emit func(api.FDBEntry) error) error {
	segs, err := d.choose(sel)
	if err != nil {
		return err
	}
	for _, s := range segs {
		for _, e := range d.listEntries(s) {
			if err := emit(e); err != nil {
				return err
			}
		}
		// Range holds no lock: a slow reader keeps nobody waiting.
		s.engine.FDB().Range(func(e fdb.Entry) bool {
			err = emit(d.unicastEntry(s, e))
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FDBGet implements [api.Backend].
func (d *Daemon) FDBGet(sel api.Selector, mac packet.MAC) ([]api.FDBEntry, error) {
	segs, err := d.choose(sel)
	if err != nil {
		return nil, err
	}
	var out []api.FDBEntry
	for _, s := range segs {
		if !mac.IsMulticast() && !mac.IsZero() {
			if e, ok := s.engine.FDB().Get(mac); ok {
				out = append(out, d.unicastEntry(s, e))
			}
			continue
		}
		for _, e := range d.listEntries(s) {
			if e.MAC == mac {
				out = append(out, e)
			}
		}
	}
	if len(out) == 0 {
		return nil, api.NotFoundf("no entry for %v in %v", mac, sel)
	}
	return out, nil
}

// listEntries returns the flood list of s and its multicast entries. The members
// of a routed segment are no flood list.
func (d *Daemon) listEntries(s *segment) []api.FDBEntry {
	if s.cfg.Mode == config.Routed {
		return nil
	}
	var out []api.FDBEntry
	for _, e := range d.table.Segment(s.cfg.VNI, route.RemoteVTEP, route.MAC) {
		if e.Key.Kind == route.RemoteVTEP || e.Key.MAC.IsMulticast() {
			out = append(out, s.listEntry(e))
		}
	}
	slices.SortFunc(out, func(a, b api.FDBEntry) int {
		return cmp.Or(bytes.Compare(a.MAC[:], b.MAC[:]), a.Dst.Compare(b.Dst), cmp.Compare(a.Port, b.Port))
	})
	return out
}

// listEntry puts an entry of the route table into the API's words. The zero
// MAC is the flood list.
func (s *segment) listEntry(e route.Entry) api.FDBEntry {
	v := e.VTEP
	if e.Key.Kind == route.RemoteVTEP {
		v = e.Key.VTEP
	}
	return api.FDBEntry{MAC: e.Key.MAC, Ifname: s.cfg.Device, Segment: s.cfg.VNI, Dst: v.Addr, Port: v.Port, VNI: v.VNI,
		State: apiState(e.State), Source: apiSource(e.Source), Flags: api.List[string]{"self"}}
}

// unicastEntry puts what the engine knows of a MAC into the API's words. An
// entry whose remote has just gone has no destination.
func (d *Daemon) unicastEntry(s *segment, e fdb.Entry) api.FDBEntry {
	out := api.FDBEntry{MAC: e.MAC, Ifname: s.cfg.Device, Segment: s.cfg.VNI,
		State: api.State(e.State.String()), Source: api.Source(e.Source.String()), Flags: api.List[string]{"self"}}
	if r := s.engine.RemoteAt(e.Dest); r != nil {
		v := r.VTEP()
		out.Dst, out.Port, out.VNI = v.Addr, v.Port, v.VNI
	}
	if e.State == fdb.Dynamic {
		out.Age = int64(d.engine.Now()-e.Updated) / ticksPerSecond
	}
	return out
}

const ticksPerSecond = int64(time.Second / fdb.TickLength)

// choose returns the running segments that sel matches, by VNI.
func (d *Daemon) choose(sel api.Selector) ([]*segment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.chosen(sel)
}

// chosen is choose for those who hold d.mu.
func (d *Daemon) chosen(sel api.Selector) ([]*segment, error) {
	var out []*segment
	for _, s := range d.ordered() {
		if sel.Matches(s.cfg.Device, s.cfg.VNI) {
			out = append(out, s)
		}
	}
	if len(out) == 0 && !sel.IsZero() {
		return nil, api.NotFoundf("no segment matches %v", sel)
	}
	return out, nil
}

// ordered returns the segments by VNI. It holds d.mu.
func (d *Daemon) ordered() []*segment {
	out := make([]*segment, 0, len(d.segments))
	for _, s := range d.segments {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *segment) int { return cmp.Compare(a.cfg.VNI, b.cfg.VNI) })
	return out
}

// SetLogLevel implements [api.Backend].
func (d *Daemon) SetLogLevel(level string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, level) {
		return api.Usagef("%q is no log level: debug, info, warn or error", level)
	}
	if err := d.opts.Level.UnmarshalText([]byte(level)); err != nil {
		return err
	}
	d.log.Info("log level changed", zap.String("level", level))
	return nil
}

func join(s []string) string { return strings.Join(s, ", ") }
