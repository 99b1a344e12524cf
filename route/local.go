package route

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"sync"

	"vtepd/encap/packet"
)

// A Segment is what this host offers of a segment: what a source needs to
// tell others where its VTEP is. It is comparable.
type Segment struct {
	VNI    uint32
	Device string
	Routed bool       // mode: route
	V4, V6 netip.Addr // outer addresses of our VTEP; zero where there is none
	Port   uint16     // UDP port that we listen on
	MAC    packet.MAC // of the device: in a routed segment that of the router behind our VTEP
	MTU    int        // of the device, bytes
}

// Local is the state of this host for sources that advertise it: its segments,
// the MACs and addresses on its own ports, the prefixes behind it. The latter
// are entries of [Here] in a table, where they compete with what sources say
// is elsewhere. Its methods may be called from any goroutine.
//
// Methods that return deltas change what is behind VTEPs as well: see
// [Table.Apply].
type Local struct {
	t   *Table
	max int

	mu       sync.Mutex
	segments []Segment // by VNI; never changed, only replaced
	subs     map[*LocalSubscription]struct{}
}

// NewLocal makes the state of a host whose table is t. max bounds how many
// MACs and addresses are kept of its own ports.
func NewLocal(t *Table, max int) *Local {
	return &Local{t: t, max: max, subs: make(map[*LocalSubscription]struct{})}
}

// SetSegments says which segments there are now. It wakes subscribers when
// that is news.
func (l *Local) SetSegments(segments []Segment) {
	segments = slices.Clone(segments)
	slices.SortFunc(segments, func(a, b Segment) int { return cmp.Compare(a.VNI, b.VNI) })
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(segments, l.segments) {
		return
	}
	l.segments = segments
	for s := range l.subs {
		s.entries.ring()
	}
}

// Segments returns the segments by VNI. The caller does not change the list.
func (l *Local) Segments() []Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments
}

// vtep returns our VTEP in a segment.
func (l *Local) vtep(vni uint32) (VTEP, bool) {
	for _, s := range l.Segments() {
		if s.VNI == vni {
			v := VTEP{Addr: s.V4, Port: s.Port, VNI: vni}
			if !v.Addr.IsValid() {
				v.Addr = s.V6
			}
			return v, true
		}
	}
	return VTEP{}, false
}

// HearMAC says that a MAC was heard on our port of a segment. Where a control
// plane says that it is elsewhere, it moved here: its sequence is the next
// one. It reports false when that is not taken: the MAC is of a kind that does
// not move, the segment is not ours, or there are too many.
func (l *Local) HearMAC(vni uint32, mac packet.MAC) ([]Delta, bool) {
	if mac.IsMulticast() || mac.IsZero() {
		return nil, false
	}
	return l.hear(Entry{Key: MACKey(vni, mac, VTEP{}), State: Dynamic})
}

// HearNeighbor says that an overlay address was heard at a MAC on our port,
// under the conditions of [Local.HearMAC].
func (l *Local) HearNeighbor(vni uint32, ip netip.Addr, mac packet.MAC) ([]Delta, bool) {
	return l.hear(NeighborEntry(vni, ip, mac))
}

func (l *Local) hear(e Entry) ([]Delta, bool) {
	v, ok := l.vtep(e.Key.VNI)
	if !ok {
		return nil, false
	}
	e.VTEP = v
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.group(e.Key)
	i, have := t.ranks.find(g, Here, e.Key)
	switch {
	case have: // it keeps its sequence
		e.Seq = g[i].Seq
	case t.heard >= l.max:
		return nil, false
	}
	if best := g.elsewhere(); len(best) > 0 {
		switch other := best[0]; {
		case !other.Source.plane() || other.Sticky:
			return nil, false
		case other.Seq == math.MaxUint32:
			return nil, false // no number is later: it cannot move any more
		default:
			e.Seq = other.Seq + 1
		}
	}
	return t.apply(Batch{Source: Here, Add: []Entry{e}}), true
}

// Forget says that MACs or addresses are no longer on our ports: they aged, or
// the port is gone.
func (l *Local) Forget(keys ...Key) []Delta {
	return l.t.Apply(Batch{Source: Here, Remove: keys})
}

// SetPrefixes says which prefixes are behind this host in a segment. No
// control plane takes them away.
func (l *Local) SetPrefixes(vni uint32, prefixes []netip.Prefix) []Delta {
	b := Batch{Source: Here}
	for _, p := range prefixes {
		b.Add = append(b.Add, PrefixEntry(vni, p, VTEP{}, packet.MAC{}, Tunnel))
	}
	t := l.t
	t.mu.Lock()
	defer t.mu.Unlock()
	b.Remove = t.keysOf(Here, func(k Key) bool {
		return k.Kind == Prefix && k.VNI == vni && !slices.ContainsFunc(b.Add, func(e Entry) bool { return e.Key == k })
	})
	return t.apply(b)
}

// A LocalUpdate is what a subscriber has to do to be up to date: Segments are
// all of them, by VNI and not to be changed; the rest is an [Update] of
// entries of [Here].
type LocalUpdate struct {
	Segments []Segment
	Update
}

// A LocalSubscription follows a [Local] as a [Subscription] follows a table.
type LocalSubscription struct {
	l       *Local
	entries *Subscription
}

// Subscribe follows the state of this host: segments and, of the given kinds
// (of all when there are none), the entries that are in force here. It is
// otherwise like [Table.Subscribe].
func (l *Local) Subscribe(limit int, kinds ...Kind) *LocalSubscription {
	s := &LocalSubscription{l: l, entries: l.t.subscribe(l.t.locals, group.here, make(chan struct{}, 1), limit, kinds)}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs[s] = struct{}{}
	return s
}

// Changed holds a value when there may be an update.
func (s *LocalSubscription) Changed() <-chan struct{} { return s.entries.Changed() }

// Next returns what changed since the last call. It does not wait.
func (s *LocalSubscription) Next() LocalUpdate {
	return LocalUpdate{Segments: s.l.Segments(), Update: s.entries.Next()}
}

// Close ends the subscription.
func (s *LocalSubscription) Close() {
	s.l.mu.Lock()
	delete(s.l.subs, s)
	s.l.mu.Unlock()
	s.entries.Close()
}
