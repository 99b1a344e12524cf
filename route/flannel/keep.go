package flannel

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"
)

// A store that lost its data, or was put back in time, does not say that the
// other nodes went. What it does not have stays in force until its node writes
// a lease again, somebody else has the subnet, or the lease would have ended.
// flanneld writes its lease again when it is renewed, up to a day later.

// keepAll takes over what was in force before a listing, of each node that the
// listing does not have the newest lease. Any lease of the store is older, and so
// comes first.
func (b *book) keepAll(old map[string]*peer, until time.Time) {
	back := make(map[netip.Addr]struct{}, len(b.peers))
	for _, p := range b.peers {
		if p.wrong == nil {
			back[p.attrs.nodeIP()] = struct{}{}
		}
	}
	for _, p := range slices.SortedFunc(maps.Values(old), func(x, y *peer) int { return cmp.Or(older(y, x), cmp.Compare(x.key, y.key)) }) {
		if _, ok := back[p.attrs.nodeIP()]; ok || b.kept[p.attrs.nodeIP()] != nil {
			continue
		}
		b.keep(p, until)
	}
}

func (b *book) keep(p *peer, until time.Time) {
	if p.until.IsZero() {
		p.until = until
	}
	if p.until.IsZero() || p.refused != nil || b.peers[p.key] != nil || len(b.peers)-b.strays >= maxLeases {
		return
	}
	p.created, p.entries = math.MaxInt64, nil
	b.peers[p.key], b.kept[p.attrs.nodeIP()] = p, p
}

// release lets go of what was kept of the node that p is the lease of.
func (b *book) release(p *peer) {
	if p.wrong != nil {
		return
	}
	if o := b.kept[p.attrs.nodeIP()]; o != nil {
		b.free(o)
		b.forget(o)
	}
}

// expire lets go of what was kept for its time.
func (b *book) expire(now time.Time) {
	for _, p := range b.kept {
		if now.After(p.until) {
			b.free(p)
			b.forget(p)
		}
	}
	b.settle()
}

// count is how many leases of other nodes stand in the store, as far as it told.
func (b *book) count() int { return len(b.peers) - len(b.kept) }
