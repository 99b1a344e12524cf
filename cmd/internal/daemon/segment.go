package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"vtepd/config"
	"vtepd/encap"
	"vtepd/route"
	"vtepd/route/path"
	"vtepd/vtep"
	"vtepd/vtep/fastpath"
	"vtepd/vtep/fdb"
	"vtepd/vtep/tap"
	"vtepd/vtep/underlay"
)

// A segment is one configured segment with everything opened for it. The
// daemon's lock guards it; the engine segment in it guards itself.
type segment struct {
	cfg    *config.Segment
	engine *vtep.Segment
	dialer *underlay.Dialer
	dev    *tap.Device
	ports  []vtep.Port
	failed bool // the device stopped working; the next plan opens another

	// What the host says, found by resolve.
	v4, v6    netip.Addr // our outer addresses; zero where there is none
	ifIndex   int        // of the underlay interface, 0 when none was named
	groupIf   int        // interface that the group is joined on
	connected []netip.Prefix
	pathMTU   int // of the underlay as far as one remote's path is not known, bytes

	mtu         int                              // what we set on the device last, bytes
	deviceMTU   int                              // what it has now, which an operator may have changed, bytes
	pathLimit   int                              // largest inner packet that the paths to all remotes carry, bytes
	paths       map[netip.Addr]path.Lookup       // how the remotes are reached
	unreachable map[netip.Addr]bool              // remotes that there is no route to
	cut         map[netip.AddrPort]string        // remotes that super-frames are cut for in the tunnel-gso tier, and why
	slow        map[netip.AddrPort]string        // by remote, why connections with it do not take the fast path; "" if they do
	bulk        map[netip.AddrPort]string        // of the others, why their super-frames do not
	fast        map[*vtep.Remote]fastpath.Remote // what the programs know of those others
	made        uint64                           // remotes the engine had made at the last look
	stale       bool                             // a control plane changed something after it
	waiting     int                              // strangers that the last look left out
	untaken     map[route.Key]struct{}           // entries that the engine could not take
}

// logger adds to log which segment it is about.
func (s *segment) logger(log *zap.Logger) *zap.Logger {
	return log.With(zap.Uint32("vni", s.cfg.VNI), zap.String("dev", s.cfg.Device))
}

// resolve asks the host for what the configuration leaves to it: our outer
// addresses, the interfaces, what is connected to them.
func (s *segment) resolve(r *look) error {
	c := s.cfg
	if c.Interface != "" {
		ifi, err := net.InterfaceByName(c.Interface)
		if err != nil {
			return fmt.Errorf("underlay interface %q: %w", c.Interface, err)
		}
		s.ifIndex = ifi.Index
	}
	for _, a := range c.Local {
		s.setLocal(a)
	}
	s.pathMTU = 1500
	for i, d := range s.destinations() {
		s.resolveVia(r, d, i == 0)
	}
	if !s.v4.IsValid() && !s.v6.IsValid() {
		// No remote yet to choose by: the address that leads to everywhere.
		s.resolveVia(r, netip.IPv4Unspecified(), true)
	}
	if s.groupIf == 0 {
		s.groupIf = s.ifIndex
	}
	if c.Group.IsValid() {
		if s.groupIf == 0 {
			return fmt.Errorf("group %v: no interface leads to it; name one with `interface`", c.Group)
		}
		var err error
		if s.connected, err = r.Connected(s.groupIf); err != nil {
			return fmt.Errorf("group %v: %w", c.Group, err)
		}
	}
	return nil
}

// resolveVia takes from the kernel's route to dst what is not yet known. A
// destination without a route says nothing: it may get one later. Of the first
// one the path MTU counts.
func (s *segment) resolveVia(r *look, dst netip.Addr, first bool) {
	from := s.v4
	if dst.Is6() {
		from = s.v6
	}
	if dst.IsUnspecified() {
		from = netip.Addr{}
	}
	l, err := r.Query(dst, from, s.ifIndex)
	if err != nil {
		return
	}
	if !from.IsValid() {
		s.setLocal(l.Source)
	}
	if dst.IsMulticast() && s.groupIf == 0 {
		s.groupIf = l.IfIndex
	}
	if l.MTU > 0 && first {
		s.pathMTU = l.MTU
	}
}

func (s *segment) setLocal(a netip.Addr) {
	switch {
	case !a.IsValid() || a.IsUnspecified():
	case a.Is4():
		s.v4 = a
	default:
		s.v6 = a
	}
}

// destinations returns the addresses the file names, in its order, each once:
// thousands of prefixes may be behind one.
func (s *segment) destinations() []netip.Addr {
	var out []netip.Addr
	seen := make(map[netip.Addr]struct{})
	add := func(a netip.Addr) {
		if _, again := seen[a]; !again {
			seen[a] = struct{}{}
			out = append(out, a)
		}
	}
	for _, r := range s.cfg.Remotes {
		add(r.IP)
	}
	if s.cfg.Group.IsValid() {
		add(s.cfg.Group)
	}
	for _, e := range s.cfg.Static {
		add(e.Dst.IP)
	}
	for _, p := range s.cfg.Prefixes {
		add(p.Via.IP)
	}
	return out
}

// own reports whether a VTEP is ourselves: nodes may share a file that names all
// of them.
func (s *segment) own(vtep netip.Addr) bool { return slices.Contains(s.locals(), vtep) }

func (s *segment) locals() []netip.Addr {
	var out []netip.Addr
	for _, a := range []netip.Addr{s.v4, s.v6} {
		if a.IsValid() {
			out = append(out, a)
		}
	}
	return out
}

// dialSpec says which sockets the segment sends with.
func (s *segment) dialSpec() underlay.DialSpec {
	c := s.cfg
	spec := underlay.DialSpec{V4: s.v4, V6: s.v6, IfIndex: s.ifIndex,
		SrcPort: c.SrcPort, NoChecksum: !c.UDPCsum, NoChecksum6: c.UDP6ZeroCsumTx}
	switch c.DF {
	case config.DFSet:
		spec.DF = underlay.DFSet
	case config.DFInherit:
		spec.DF = underlay.DFBoth
	}
	if c.Group.IsValid() {
		spec.GroupIf = s.groupIf
	}
	return spec
}

// options are the engine's options for the segment as it stands.
func (s *segment) options() vtep.Options {
	c := s.cfg
	o := vtep.Options{
		Learning: c.Learning, Suppress: c.Suppress, PassVLAN: c.VLANPass,
		TTL: c.TTL.Value, TTLInherit: c.TTL.Inherit,
		TOS: c.TOS.Value, TOSInherit: c.TOS.Inherit,
		Local: s.locals(), IfIndex: int32(s.ifIndex),
		MAC: s.dev.MAC, DeviceMTU: s.deviceMTU, PathMTU: s.pathMTU, Port: c.Port,
		FDB: fdb.Limits{Max: c.MaxMACs, Share: c.RemoteShare, Ageing: c.Ageing},
	}
	switch c.DF {
	case config.DFSet:
		o.DF = vtep.DFSet
	case config.DFInherit:
		o.DF = vtep.DFInherit
	}
	switch c.Accept.Mode {
	case config.AcceptAny:
		o.AcceptAny = true
	case config.AcceptList:
		o.AcceptPrefixes = c.Accept.Prefixes
	default:
		o.AcceptKnown = true
		o.AcceptPrefixes = s.connected
	}
	return o
}

// overhead returns how many bytes the outer headers take of a path to a.
func overhead(a netip.Addr) int {
	if a.Is6() {
		return encap.OverheadV6
	}
	return encap.OverheadV4
}

func (s *segment) closeDevice() error {
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, s.dev.Close())...)
}

// closeThreads is how many devices are closed at a time.
const closeThreads = 32

// closeDevices closes the devices of segments. The kernel takes some 20 ms for
// each, nearly all of it waiting (net/core/dev.c, synchronize_net), so threads do it
// side by side: a thousand segments stop in a few seconds, not in twenty.
func closeDevices(segments []*segment) error {
	errs := make([]error, len(segments))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(closeThreads, len(segments)) {
		wg.Go(func() {
			runtime.LockOSThread() // so that the thread ends with the goroutine
			for i := next.Add(1) - 1; i < int64(len(segments)); i = next.Add(1) - 1 {
				errs[i] = segments[i].closeDevice()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
