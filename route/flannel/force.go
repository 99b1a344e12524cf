package flannel

import (
	"maps"
	"net/netip"
	"slices"

	"vtepd/route"
)

// enter puts a lease in force.
func (b *book) enter(p *peer) {
	for _, s := range p.subnet.prefixes() {
		b.held.Insert(s, p)
	}
	p.entries = b.network.entries(p.subnet, p.attrs)
	for _, e := range p.entries {
		b.touch(e.Key)
		b.now[e.Key] = e
		b.users[e.Key]++
	}
}

// withdraw takes a lease out of force.
func (b *book) withdraw(p *peer) {
	delete(b.blocked, p)
	if b.refused[p.key] == p {
		delete(b.refused, p.key)
		b.stale = true
	}
	for _, s := range p.subnet.prefixes() {
		if o, ok := b.held.Get(s); ok && o == p {
			b.held.Delete(s)
		}
	}
	for _, e := range p.entries {
		if b.users[e.Key]--; b.users[e.Key] <= 0 {
			b.touch(e.Key)
			delete(b.users, e.Key)
			delete(b.now, e.Key)
		}
	}
	p.entries = nil
}

// touch remembers what a key was before the batch that is being made.
func (b *book) touch(k route.Key) {
	if _, ok := b.before[k]; !ok {
		b.before[k] = b.now[k] // the zero Entry when it was not
	}
}

// changes is what happened since the last batch: a lease that changed takes its
// old state out in the batch that brings the new one.
func (b *book) changes() route.Batch {
	batch := route.Batch{Source: route.Flannel}
	for k, was := range b.before {
		is, ok := b.now[k]
		switch {
		case ok && is != was:
			batch.Add = append(batch.Add, is)
		case !ok && was != route.Entry{}:
			batch.Remove = append(batch.Remove, k)
		}
	}
	clear(b.before)
	return batch
}

// snapshot is all that is in force.
func (b *book) snapshot() route.Batch {
	clear(b.before)
	return route.Batch{Source: route.Flannel, Snapshot: true, Add: slices.Collect(maps.Values(b.now))}
}

// entries is what the lease of a node means: each family's subnet is behind the
// node's address and router of that family. With VXLAN the node is a member of
// the segment besides, so that it may send to us also while somebody's better
// entry for the prefix hides its own.
func (n *Network) entries(s Subnet, a Attrs) []route.Entry {
	var out []route.Entry
	for _, f := range []struct {
		prefix netip.Prefix
		ip     netip.Addr
		router Router
	}{{s.V4, a.PublicIP, a.V4}, {s.V6, a.PublicIPv6, a.V6}} {
		if f.prefix.IsValid() {
			v := route.VTEP{Addr: f.ip, Port: n.Backend.Port, VNI: n.Backend.VNI}
			out = append(out, route.PrefixEntry(n.Backend.VNI, f.prefix, v, f.router.MAC, n.Backend.Way()))
			if n.Backend.Type == VXLAN {
				out = append(out, route.RemoteEntry(n.Backend.VNI, v))
			}
		}
	}
	return out
}
