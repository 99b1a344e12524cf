package daemon

import (
	"errors"
	"io"
	"net/netip"

	"go.uber.org/zap"

	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route/bypass"
	"vtepd/route/path"
	"vtepd/vtep"
	"vtepd/vtep/fastpath"
	"vtepd/vtep/fdb"
)

// A fastPath is the kernel's programs and where they are hooked, for all
// segments. The daemon's lock guards it; the mirror guards itself.
type fastPath struct {
	kernel    *fastpath.Kernel
	mirror    *fastpath.Mirror
	devices   map[int]io.Closer // hooks of segments' devices, by interface index
	underlays map[int]io.Closer // hooks of the interfaces that datagrams arrive by
}

func newFastPath(k *fastpath.Kernel, now func() fdb.Tick) *fastPath {
	return &fastPath{kernel: k, mirror: fastpath.NewMirror(k, now),
		devices: make(map[int]io.Closer), underlays: make(map[int]io.Closer)}
}

// accelerate decides for each remote of s whether connections with it take the
// fast path, and puts that in force. It holds d.mu.
func (d *Daemon) accelerate(s *segment, k *look) {
	if d.fast == nil {
		return
	}
	before := s.slow
	s.fast = make(map[*vtep.Remote]fastpath.Remote)
	s.slow, s.bulk = make(map[netip.AddrPort]string), make(map[netip.AddrPort]string)
	for _, r := range s.engine.Remotes() {
		v := r.VTEP()
		to := netip.AddrPortFrom(v.Addr, v.Port)
		l, measured := s.paths[v.Addr]
		why, known := before[to]
		switch {
		case !measured:
			why = unmeasured
		case !known || why == unmeasured || !k.news:
			why = d.slow(s, to, l, k)
		}
		s.slow[to] = why
		if why != "" {
			continue
		}
		whole := k.cuts(l.Device)
		if !whole {
			s.bulk[to] = uncut(l.Device)
		}
		s.fast[r] = s.fastRemote(r, l, whole)
	}
	if err := d.fast.mirror.Set(s.engine, s.dev.Index, s.fast); err != nil {
		s.logger(d.log).Warn("some connections stay off the fast path", zap.Error(err))
	}
}

// slow says why connections with a VTEP do not take the fast path, "" if they
// do. Then the hooks that they need are in place, or will be: [Daemon.hookBusy].
func (d *Daemon) slow(s *segment, to netip.AddrPort, l path.Lookup, k *look) string {
	switch {
	case s.cfg.Mode == config.Routed:
		return "the segment is routed"
	case to.Addr().Is6():
		return "over IPv6 its datagrams need an outer checksum, which those of the fast path have not"
	case s.cfg.TTL.Inherit:
		return "the TTL is inherited"
	case len(s.dialer.SourcePorts()) == 0:
		return "the DF bit is inherited"
	}
	if why := d.redirectable(s, to, l, k); why != "" {
		return why
	}
	if why := k.reason(bypass.Flow{Src: to.Addr(), Dst: s.v4, Port: s.cfg.Port, Device: l.Device, In: true}); why != "" {
		return why
	}
	if why := k.controlled(s.dev.Index, false); why != "" {
		return why
	}
	if why := k.controlled(l.IfIndex, true); why != "" {
		return why
	}
	err := hookOnce(d.fast.underlays, l.IfIndex, d.fast.kernel.HookUnderlay)
	if len(d.segments) <= hookAtOnce {
		err = errors.Join(err, d.hookDevice(s))
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// The kernel waits some 15 ms for each hook, with all of its networking locked
// (kernel/bpf/tcx.c, tcx_entry_sync), and again when a device with one goes.
const (
	hookAtOnce = 64 // segments whose devices are hooked at the start; of more, when they are used
	hooksATime = 8  // of those, in one look
)

// hookBusy hooks the devices of segments that have stations by now. It holds
// d.mu.
func (d *Daemon) hookBusy() {
	if d.fast == nil {
		return
	}
	left := hooksATime
	for _, s := range d.segments {
		if left == 0 {
			return
		}
		if len(s.fast) == 0 || d.fast.devices[s.dev.Index] != nil || s.engine.FDB().Len() == 0 {
			continue
		}
		left--
		if err := d.hookDevice(s); err != nil {
			d.slowDown(s, err)
		}
	}
}

// slowDown takes a segment whose device took no hook off the fast path until the
// next look at the host.
func (d *Daemon) slowDown(s *segment, why error) {
	s.logger(d.log).Error("no fast path", zap.Error(why))
	for to := range s.slow {
		s.slow[to] = why.Error()
	}
	clear(s.fast)
	clear(s.bulk)
	if err := d.fast.mirror.Set(s.engine, s.dev.Index, nil); err != nil {
		s.logger(d.log).Error("fast path not left", zap.Error(err))
	}
}

func (d *Daemon) hookDevice(s *segment) error {
	return hookOnce(d.fast.devices, s.dev.Index, d.fast.kernel.HookDevice)
}

func hookOnce(hooks map[int]io.Closer, ifIndex int, hook func(int) (io.Closer, error)) error {
	if hooks[ifIndex] != nil {
		return nil
	}
	l, err := hook(ifIndex)
	if err == nil {
		hooks[ifIndex] = l
	}
	return err
}

// fastRemote is what the programs need to know of a remote. Its super-frames
// leave by them only whole: what the kernel cuts has no outer checksum, and is not
// joined again at the other end.
func (s *segment) fastRemote(r *vtep.Remote, l path.Lookup, whole bool) fastpath.Remote {
	v, c := r.VTEP(), s.cfg
	ttl := c.TTL.Value
	if ttl == 0 {
		ttl = l.Hops
	}
	return fastpath.Remote{Src: s.v4, Dst: v.Addr, Port: v.Port, VNI: v.VNI, Egress: l.IfIndex,
		Heard: s.engine.Hears(r), OurPort: c.Port, OurVNI: c.VNI,
		FrameLimit: r.FrameLimit(), DeviceLimit: s.deviceMTU + packet.EthernetLen,
		TOS: c.TOS.Value, TTL: ttl, TOSInherit: c.TOS.Inherit, DF: c.DF == config.DFSet, Whole: whole, SrcPorts: s.dialer.SourcePorts()}
}

// closeIdle forgets the segments that are gone, and takes the hooks from
// interfaces that no segment needs any more.
func (f *fastPath) closeIdle(segments map[uint32]*segment) error {
	engines, used := make(map[*vtep.Segment]bool), make(map[int]bool)
	for _, s := range segments {
		engines[s.engine] = true
		for _, r := range s.fast {
			used[s.dev.Index], used[r.Egress] = true, true
		}
	}
	f.mirror.Keep(func(seg *vtep.Segment) bool { return engines[seg] })
	var errs []error
	for _, hooks := range []map[int]io.Closer{f.devices, f.underlays} {
		for index, l := range hooks {
			if !used[index] {
				errs = append(errs, l.Close())
				delete(hooks, index)
			}
		}
	}
	return errors.Join(errs...)
}

// close takes everything away.
func (f *fastPath) close() error {
	return errors.Join(f.closeIdle(nil), f.kernel.Close())
}
