package vtep

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
	"vtepd/vtep/fib"
)

// maxRemotes bounds the remotes of a segment: [fdb.Dest] is 16 bits wide.
const maxRemotes = 1 << 16

// maxLearnedRemotes bounds the VTEPs learned from the wire, which only
// happens with an accept list wider than the known remotes. Past it frames are
// still forwarded, not learned.
const maxLearnedRemotes = 16384

// A Segment is one VNI: its FDB, remotes, neighbours, options and counters. A
// routed one has prefixes in place of an FDB that is learned. It knows neither
// its device nor its sockets; a [Set] joins them. All methods may be called from
// any goroutine.
type Segment struct {
	vni     uint32
	name    string
	workers int
	table   *fdb.Table
	routes  *fib.Table // nil in a bridged segment
	stats   []stats

	// What the workers read.
	opts      atomic.Pointer[Options]
	remotes   places
	sources   atomic.Pointer[remoteIndex]
	floodList atomic.Pointer[[]*Remote]
	neigh     atomic.Pointer[map[netip.Addr]packet.MAC]

	mu      sync.Mutex // guards what follows and every change of the above
	dialer  Dialer
	byVTEP  map[VTEP]*Remote
	made    uint64 // remotes so far
	learned int    // remotes that are not known

	free       []fdb.Dest // places for new remotes
	quarantine []fdb.Dest // places that will be free after the next sweep
}

// NewSegment makes a segment served by the given number of workers. name is
// its device's name, for messages. The dialer compiles the paths to its remotes.
func NewSegment(vni uint32, name string, workers int, opts Options, dialer Dialer) *Segment {
	s := &Segment{
		vni: vni, name: name, workers: workers, dialer: dialer,
		table:  fdb.New(opts.FDB),
		stats:  make([]stats, workers),
		byVTEP: make(map[VTEP]*Remote),
	}
	s.opts.Store(&opts)
	s.sources.Store(newRemoteIndex(0))
	s.floodList.Store(&[]*Remote{})
	s.neigh.Store(&map[netip.Addr]packet.MAC{})
	return s
}

// NewRouted makes a segment as NewSegment does that carries IP packets: their
// destination says which VTEP they go to ([Change.PutPrefix]), and frames to and
// from the VTEPs have an Ethernet header between the routers' MACs, ours being
// Options.MAC. It neither floods nor learns nor suppresses.
func NewRouted(vni uint32, name string, workers int, opts Options, dialer Dialer) *Segment {
	s := NewSegment(vni, name, workers, opts, dialer)
	s.routes = fib.New()
	return s
}

// Routed reports whether the segment carries IP packets.
func (s *Segment) Routed() bool { return s.routes != nil }

// Prefixes returns the prefixes of a routed segment, to look at; nil for a
// bridged one.
func (s *Segment) Prefixes() *fib.Table { return s.routes }

// VNI returns the segment's own VNI.
func (s *Segment) VNI() uint32 { return s.vni }

// Name returns the name of the segment's device.
func (s *Segment) Name() string { return s.name }

// FDB returns the segment's forwarding database, to look at. Entries of
// control are changed through [Segment.Change], which keeps count of what
// points at which remote.
func (s *Segment) FDB() *fdb.Table { return s.table }

// Options returns the options in force. They must not be changed.
func (s *Segment) Options() *Options { return s.opts.Load() }

// SetOptions replaces the options. Frames in the middle of the data path see
// the old or the new ones as a whole.
func (s *Segment) SetOptions(o Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Store(&o)
	s.publishFlood()
	s.dropUnaccepted()
}

// SetDialer replaces what compiles paths, and every path with it: used when
// the segment moves to other sockets. A path
// that cannot be replaced goes: its sockets may be about to close. What is for
// it counts as not sent until another dialer has a path.
func (s *Segment) SetDialer(d Dialer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialer = d
	return s.renew(func(VTEP) bool { return true })
}

// Renew replaces the paths to the remotes for which f is true: the dialer has
// others for them now.
func (s *Segment) Renew(f func(VTEP) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.renew(f)
}

func (s *Segment) renew(f func(VTEP) bool) error {
	var errs []error
	for _, r := range s.byVTEP {
		if !f(r.vtep) {
			continue
		}
		p, err := s.dialer.Path(netip.AddrPortFrom(r.vtep.Addr, r.vtep.Port), r.vtep.VNI)
		if err != nil {
			errs = append(errs, fmt.Errorf("path to %v: %w", r.vtep.Addr, err))
			r.path.Store(nil)
			continue
		}
		r.path.Store(&p)
	}
	return errors.Join(errs...)
}

// SetPathMTUs asks mtu for the path MTU in bytes to each remote and takes what
// it says; 0 leaves a remote as it is.
func (s *Segment) SetPathMTUs(mtu func(netip.Addr) int) {
	for _, r := range s.Remotes() {
		if m := mtu(r.vtep.Addr); m > 0 {
			r.setPathMTU(m)
		}
	}
}

// Remotes returns the remotes, known and learned, in order of their places.
func (s *Segment) Remotes() []*Remote { return s.remotes.all() }

// Made returns how many remotes the segment has had so far: it grows when a
// VTEP is named or learned.
func (s *Segment) Made() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made
}

// RemoteAt returns the remote an FDB entry points at, or nil.
func (s *Segment) RemoteAt(d fdb.Dest) *Remote { return s.remotes.at(d) }

// Counters returns the segment's counters, summed over the workers.
func (s *Segment) Counters() Counters {
	var c Counters
	for i := range s.stats {
		s.stats[i].addTo(&c)
	}
	return c
}

// Neighbours returns the neighbours that suppression answers for. The map must
// not be changed.
func (s *Segment) Neighbours() map[netip.Addr]packet.MAC { return *s.neigh.Load() }

// remote returns the remote for v, made if there is none. It holds s.mu.
func (s *Segment) remote(v VTEP) (*Remote, error) {
	if r := s.byVTEP[v]; r != nil {
		return r, nil
	}
	path, err := s.dialer.Path(netip.AddrPortFrom(v.Addr, v.Port), v.VNI)
	if err != nil {
		return nil, fmt.Errorf("path to %v: %w", v.Addr, err)
	}
	r := &Remote{vtep: v, header: path.Header(), stats: make([]remoteStats, s.workers)}
	for i := range r.stats {
		r.stats[i].segment = &s.stats[i]
	}
	r.path.Store(&path)
	r.setPathMTU(s.opts.Load().PathMTU)
	switch {
	case len(s.free) > 0:
		r.dest = s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
	case s.remotes.used < maxRemotes:
		r.dest = fdb.Dest(s.remotes.used)
	default:
		return nil, fmt.Errorf("segment %d has %d remotes already", s.vni, maxRemotes)
	}
	s.remotes.put(r.dest, r)
	s.byVTEP[v] = r
	s.made++
	s.learned++ // until somebody names it
	if !r.isGroup() && !s.sources.Load().add(r) {
		s.publishSources()
	}
	return r, nil
}

// Hears reports whether datagrams from the address of r are accepted, and are
// those of r: of several remotes at one address one gets them all.
func (s *Segment) Hears(r *Remote) bool {
	return s.sources.Load().lookup(r.vtep.Addr) == r && s.opts.Load().accepts(r.vtep.Addr, r)
}

// learnRemote returns the remote for a source that was accepted but is not
// known. It is nil when there are too many. Workers call it, once per new VTEP.
func (s *Segment) learnRemote(src netip.Addr) *Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.sources.Load().lookup(src); r != nil {
		return r
	}
	if s.learned >= maxLearnedRemotes {
		return nil
	}
	r, err := s.remote(VTEP{Addr: src, Port: s.opts.Load().Port, VNI: s.vni})
	if err != nil {
		return nil
	}
	s.publishLimits()
	return r
}

// publishSources builds the index of sources anew. It holds s.mu.
func (s *Segment) publishSources() {
	x := newRemoteIndex(len(s.byVTEP))
	for _, r := range s.remotes.all() {
		if !r.isGroup() {
			x.add(r)
		}
	}
	s.sources.Store(x)
}

// publishFlood makes the flood list from the members, less our own addresses.
// It holds s.mu.
func (s *Segment) publishFlood() {
	o := s.opts.Load()
	list := make([]*Remote, 0, len(s.byVTEP))
	for _, r := range s.remotes.all() {
		if r.flood && !o.isLocal(r.vtep.Addr) {
			list = append(list, r)
		}
	}
	s.floodList.Store(&list)
	s.publishLimits()
}

// publishLimits tells the FDB its limits: one remote's share counts only where
// there is another to protect. It holds s.mu.
func (s *Segment) publishLimits() {
	l := s.opts.Load().FDB
	if sources := s.sources.Load().used; sources < 2 && !s.hasGroup() {
		l.Share = 100
	}
	s.table.SetLimits(l)
}

func (s *Segment) hasGroup() bool {
	for _, r := range *s.floodList.Load() {
		if r.isGroup() {
			return true
		}
	}
	return false
}
