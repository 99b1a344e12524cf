package flannel

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"vtepd/route"
)

// maxLeases is how many leases are kept: more than any network has, few enough
// for the memory of any node.
const maxLeases = 1 << 16

// A peer is a lease of the store that is not ours, in force or refused.
type peer struct {
	key     string
	created int64
	subnet  Subnet
	attrs   Attrs
	wrong   *Refusal // of the lease alone
	refused *Refusal // why it is not in force
	entries []route.Entry
	until   time.Time // when it goes although nobody deletes it; zero while it stands in the store
}

// A book is the leases of the other nodes, and what follows from them. It lets
// one lease in force for an address: ours, then the one that was there first.
type book struct {
	network *Network
	node    Node
	own     Subnet

	peers   map[string]*peer
	held    bart.Table[*peer]         // by the prefixes of those in force
	blocked map[*peer]bool            // refused for Overlap
	refused map[string]*peer          // all that are, by key
	kept    map[netip.Addr]*peer      // that only a former store had, by node
	before  map[route.Key]route.Entry // what has been touched since the last batch
	now     map[route.Key]route.Entry // what is in force

	counts map[Reason]uint64
	news   []news // refusals since they were last taken
}

type news struct {
	key     string
	refusal *Refusal
}

func newBook(n *Network, node Node) *book {
	return &book{network: n, node: node, peers: make(map[string]*peer), blocked: make(map[*peer]bool), refused: make(map[string]*peer),
		kept: make(map[netip.Addr]*peer), before: make(map[route.Key]route.Entry), now: make(map[route.Key]route.Entry), counts: make(map[Reason]uint64)}
}

// reset takes the leases of a listing for all there are. ownKey is not among
// the peers. With keep, the listing is that of another store than before: what
// was in force and is not in it stays until then.
func (b *book) reset(records []Record, ownKey string, keep time.Time) {
	old := b.peers
	clear(b.kept)
	b.peers = make(map[string]*peer, len(records))
	for _, r := range records {
		if r.Key == ownKey {
			continue
		}
		if p := b.read(r); p != nil {
			if was := old[r.Key]; was != nil {
				p.refused = was.refused // so that it is not said again
			}
		}
	}
	for _, p := range old {
		b.keep(p, keep)
	}
	b.judgeAll()
}

// setOwn says which subnet is ours: nobody else gets addresses of it.
func (b *book) setOwn(s Subnet, key string) {
	if p := b.peers[key]; p != nil {
		b.withdraw(p)
		b.drop(p)
	}
	b.own = s
	b.judgeAll()
}

// put takes a lease that was written.
func (b *book) put(r Record) {
	was := b.peers[r.Key]
	if was != nil {
		b.withdraw(was)
		b.drop(was)
	}
	p := b.read(r)
	if p == nil {
		return
	}
	if was != nil {
		p.refused = was.refused
	}
	b.release(p)
	b.judge(p)
	b.unblock()
}

// remove takes a lease out.
func (b *book) remove(key string) {
	if p := b.peers[key]; p != nil {
		b.withdraw(p)
		b.drop(p)
		b.unblock()
	}
}

// read makes a peer of a record, or returns nil when there are too many.
func (b *book) read(r Record) *peer {
	if len(b.peers) >= maxLeases {
		b.say(r.Key, refuse(TooMany, "there are more than %d leases", maxLeases))
		return nil
	}
	p := &peer{key: r.Key, created: r.Created}
	b.peers[r.Key] = p
	var err error
	if p.subnet, err = ParseSubnet(r.Key); err != nil {
		p.wrong = refuse(BadKey, "%v", err)
		return p
	}
	if r.Size > MaxValue {
		p.wrong = refuse(Oversize, "its value has %d bytes, more than %d", r.Size, MaxValue)
		return p
	}
	if p.attrs, err = ParseLease(r.Value, b.network.Backend.VNI); err != nil {
		p.wrong, _ = err.(*Refusal) //nolint:errorlint // ParseLease returns no other
	}
	return p
}

// judgeAll decides anew which leases are in force.
func (b *book) judgeAll() {
	for _, e := range b.now {
		b.touch(e.Key)
	}
	clear(b.now)
	clear(b.blocked)
	clear(b.refused)
	b.held = bart.Table[*peer]{}
	oldest := slices.SortedFunc(maps.Values(b.peers), older)
	for _, p := range oldest {
		b.judge(p)
	}
}

func older(a, b *peer) int {
	return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.key, b.key))
}

// judge decides whether p is in force, and puts it there. It tells a refusal
// that was not told of p before.
func (b *book) judge(p *peer) {
	was := p.refused
	delete(b.refused, p.key)
	if p.refused = b.standing(p); p.refused == nil {
		b.enter(p)
		return
	}
	if !p.until.IsZero() {
		b.drop(p)
		return
	}
	b.refused[p.key] = p
	if p.refused.Reason == Overlap {
		b.blocked[p] = true
	}
	if was == nil || *was != *p.refused {
		b.say(p.key, p.refused)
	}
}

func (b *book) say(key string, r *Refusal) {
	b.counts[r.Reason]++
	if len(b.news) < maxNews {
		b.news = append(b.news, news{key, r})
	}
}

// maxNews is how many refusals wait to be told; each is counted.
const maxNews = 1000

// standing says why a lease cannot be in force beside the others. Where a
// younger one is in its place it makes room.
func (b *book) standing(p *peer) *Refusal {
	switch {
	case p.wrong != nil:
		return p.wrong
	case b.network.holds(p.subnet) != nil:
		return refuse(OutsideNet, "its subnet %v is not within the network", p.subnet)
	}
	if r := p.attrs.reaches(p.subnet, b.network); r != nil {
		return r
	}
	switch {
	case p.subnet.Overlaps(b.own):
		return refuse(OwnSubnet, "%v claims our subnet %v", p.attrs.nodeIP(), b.own)
	case b.node.is(p.attrs):
		return refuse(OwnPublicIP, "it has our public address %v; delete it if no node of ours uses it", p.attrs.nodeIP())
	}
	var younger []*peer
	for _, o := range b.overlapping(p.subnet) {
		if older(o, p) < 0 {
			return refuse(Overlap, "its subnet %v shares addresses with the older lease %s", p.subnet, o.key)
		}
		younger = append(younger, o)
	}
	for _, o := range younger {
		b.withdraw(o)
		if !o.until.IsZero() {
			b.drop(o)
			continue
		}
		b.judgeYounger(o, p)
	}
	return nil
}

func (b *book) judgeYounger(o, p *peer) {
	o.refused = refuse(Overlap, "its subnet %v shares addresses with the older lease %s", o.subnet, p.key)
	b.blocked[o], b.refused[o.key] = true, o
	b.say(o.key, o.refused)
}

// overlapping returns the leases in force that share addresses with s.
func (b *book) overlapping(s Subnet) []*peer {
	var out []*peer
	for _, p := range s.prefixes() {
		for _, o := range b.held.Supernets(p) {
			out = append(out, o)
		}
		for _, o := range b.held.Subnets(p) {
			out = append(out, o)
		}
	}
	return out
}

// unblock looks again at leases that overlapped with what went away.
func (b *book) unblock() {
	for _, p := range slices.SortedFunc(maps.Keys(b.blocked), older) {
		if b.peers[p.key] == p {
			delete(b.blocked, p)
			b.judge(p)
		}
	}
}

// enter puts a lease in force.
func (b *book) enter(p *peer) {
	for _, s := range p.subnet.prefixes() {
		b.held.Insert(s, p)
	}
	p.entries = b.network.entries(p.subnet, p.attrs)
	for _, e := range p.entries {
		b.touch(e.Key)
		b.now[e.Key] = e
	}
}

// withdraw takes a lease out of force.
func (b *book) withdraw(p *peer) {
	delete(b.blocked, p)
	delete(b.refused, p.key)
	for _, s := range p.subnet.prefixes() {
		if o, ok := b.held.Get(s); ok && o == p {
			b.held.Delete(s)
		}
	}
	for _, e := range p.entries {
		b.touch(e.Key)
		delete(b.now, e.Key)
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
// node's address and router of that family.
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
		}
	}
	return out
}
