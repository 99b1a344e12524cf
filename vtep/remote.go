package vtep

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"

	"vtepd/encap"
	"vtepd/vtep/fdb"
)

// A VTEP is a destination: where datagrams go and the VNI they carry. It is
// comparable.
type VTEP struct {
	Addr netip.Addr
	Port uint16
	VNI  uint32
}

// A Remote is one VTEP of a segment. What the workers read of it is immutable
// or atomic; the rest belongs to the segment's lock.
type Remote struct {
	vtep   VTEP
	header encap.Header
	dest   fdb.Dest
	path   atomic.Pointer[Path] // nil while the dialer has none
	limit  atomic.Int32         // bytes of the largest inner frame that fits the path
	known  atomic.Bool          // named by configuration or a control plane
	stats  []remoteStats

	flood   bool // member of the flood list; guarded by Segment.mu
	statics int  // FDB entries of control and prefixes that point here; guarded by Segment.mu
}

// VTEP returns where the remote is.
func (r *Remote) VTEP() VTEP { return r.vtep }

// Known reports whether configuration or a control plane named the remote. One
// that is not known was learned from the wire.
func (r *Remote) Known() bool { return r.known.Load() }

// FrameLimit returns the largest inner frame, in bytes without FCS, that fits
// the path to the remote.
func (r *Remote) FrameLimit() int { return int(r.limit.Load()) }

// Dest returns what FDB entries that point at the remote hold.
func (r *Remote) Dest() fdb.Dest { return r.dest }

// Carried adds what another way than the workers carried from and to the
// remote.
func (r *Remote) Carried(rx, tx Traffic) {
	s := &r.stats[0] // the counters are atomic: the worker's own adds are not lost
	s.rx.add(int(rx.Frames), int(rx.Bytes))
	s.segment.rx.add(int(rx.Frames), int(rx.Bytes))
	s.Sent(int(tx.Frames), int(tx.Bytes), 0)
}

func (r *Remote) setPathMTU(mtu int) {
	r.limit.Store(int32(encap.FrameLimit(mtu, r.vtep.Addr.Is6())))
}

// isGroup reports whether the remote is a multicast group: flooded to, never a
// source.
func (r *Remote) isGroup() bool { return r.vtep.Addr.IsMulticast() }

// remoteIndex finds remotes by outer source address without a lock. Remotes
// are added under the segment's lock and found by all workers; removal builds
// a new index. It exists because a map snapshot would have to be copied for
// each VTEP that is learned.
type remoteIndex struct {
	slots []atomic.Pointer[Remote]
	key   [2]uint64 // of the hash
	used  int
}

func newRemoteIndex(n int) *remoteIndex {
	size := 16
	for size < n*2 {
		size *= 2
	}
	return &remoteIndex{slots: make([]atomic.Pointer[Remote], size), key: [2]uint64{rand.Uint64(), rand.Uint64()}}
}

// home returns the slot that the search for a starts at. The hash is keyed, as
// a stranger chooses the addresses, and mixes all bits down: those of one
// network differ in few.
func (x *remoteIndex) home(a netip.Addr) uint64 {
	b := a.As16()
	h1, l1 := bits.Mul64(binary.LittleEndian.Uint64(b[:])^x.key[0], binary.LittleEndian.Uint64(b[8:])^x.key[1])
	h2, l2 := bits.Mul64(h1^l1^x.key[1], x.key[0]|1)
	return (h2 ^ l2) & uint64(len(x.slots)-1)
}

// lookup returns the remote at a, or nil.
func (x *remoteIndex) lookup(a netip.Addr) *Remote {
	mask := uint64(len(x.slots) - 1)
	for i := x.home(a); ; i = (i + 1) & mask {
		r := x.slots[i].Load()
		if r == nil || r.vtep.Addr == a {
			return r
		}
	}
}

// add makes r the remote at its address unless there is one. It reports
// whether there was room; if not, the caller builds a larger index.
func (x *remoteIndex) add(r *Remote) bool {
	mask := uint64(len(x.slots) - 1)
	for i := x.home(r.vtep.Addr); ; i = (i + 1) & mask {
		have := x.slots[i].Load()
		if have != nil && have.vtep.Addr != r.vtep.Addr {
			continue
		}
		if have != nil {
			return true
		}
		if (x.used+1)*4 > len(x.slots)*3 {
			return false
		}
		x.used++
		x.slots[i].Store(r)
		return true
	}
}
