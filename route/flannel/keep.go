package flannel

import (
	"math"
	"time"
)

// A store that lost its data, or was put back in time, does not say that the
// other nodes went. What it does not have stays in force until its node writes
// a lease again, somebody else has the subnet, or the lease would have ended.
// flanneld writes its lease again when it is renewed, up to a day later.

// keep takes over what was in force before a listing. Any lease of the store is
// older, and so comes first.
func (b *book) keep(p *peer, until time.Time) {
	if p.until.IsZero() {
		p.until = until
	}
	if p.until.IsZero() || p.refused != nil || b.peers[p.key] != nil || len(b.peers) >= maxLeases {
		return
	}
	for _, o := range b.peers {
		if o.wrong == nil && o.attrs.nodeIP() == p.attrs.nodeIP() {
			return
		}
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
		b.withdraw(o)
		b.drop(o)
	}
}

// drop forgets a lease that is not in force.
func (b *book) drop(p *peer) {
	delete(b.peers, p.key)
	if ip := p.attrs.nodeIP(); b.kept[ip] == p {
		delete(b.kept, ip)
	}
}

// expire lets go of what was kept for its time.
func (b *book) expire(now time.Time) {
	for _, p := range b.kept {
		if now.After(p.until) {
			b.withdraw(p)
			b.drop(p)
		}
	}
}

// count is how many leases of other nodes stand in the store, as far as it told.
func (b *book) count() int { return len(b.peers) - len(b.kept) }
