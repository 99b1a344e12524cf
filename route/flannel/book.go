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

const (
	// maxLeases is how many leases are kept: more than any network has, few
	// enough for the memory of any node.
	maxLeases = 1 << 16
	// maxStrays is how many more are remembered whose keys are no subnets of the
	// network, so that however many there are they take nobody's place.
	maxStrays = 1000
)

// A peer is a lease of the store that is not ours, in force or refused.
type peer struct {
	key     string
	created int64
	subnet  Subnet
	attrs   Attrs
	wrong   *Refusal // of the lease alone
	refused *Refusal // why it is not in force
	stray   bool     // its key is no subnet of the network
	entries []route.Entry
	until   time.Time // when it goes although nobody deletes it; zero while it stands in the store
}

// same reports whether p says what o says, as after a renewal.
func (p *peer) same(o *peer) bool {
	return p.created == o.created && p.attrs == o.attrs && (p.wrong == nil) == (o.wrong == nil) && (p.wrong == nil || *p.wrong == *o.wrong)
}

// A book is the leases of the other nodes, and what follows from them. It lets
// one lease in force for an address: ours, then the one that was there first.
type book struct {
	network *Network
	node    Node
	own     Subnet

	peers   map[string]*peer
	strays  int                       // of them
	crowded bool                      // more than are kept, which was said
	held    bart.Table[*peer]         // by the prefixes of those in force
	blocked map[*peer]bool            // refused for Overlap
	freed   []Subnet                  // that blocked ones may have now
	refused map[string]*peer          // all that are, by key
	kept    map[netip.Addr]*peer      // that only a former store had, by node
	before  map[route.Key]route.Entry // what has been touched since the last batch
	now     map[route.Key]route.Entry // what is in force
	users   map[route.Key]int         // leases that share a VTEP of now

	counts map[Reason]uint64
	news   []news // refusals since they were last taken
	untold int    // that are counted only
	stale  bool   // refused has changed since it was last shown
}

type news struct {
	key     string
	refusal *Refusal
}

func newBook(n *Network, node Node) *book {
	return &book{network: n, node: node, peers: make(map[string]*peer), blocked: make(map[*peer]bool), refused: make(map[string]*peer),
		kept: make(map[netip.Addr]*peer), before: make(map[route.Key]route.Entry), now: make(map[route.Key]route.Entry), users: make(map[route.Key]int), counts: make(map[Reason]uint64)}
}

// reset takes the leases of a listing for all there are. ownKey is not among
// the peers. With keep, the listing is that of another store than before: what
// was in force and is not in it stays until then.
func (b *book) reset(records []Record, ownKey string, keep time.Time) {
	old, wasKept := b.peers, len(b.kept) > 0
	clear(b.kept)
	b.peers = make(map[string]*peer, min(len(records), maxLeases))
	b.strays = 0
	crowded := b.crowded
	b.crowded = false
	for _, r := range records {
		if r.Key == ownKey || b.peers[r.Key] != nil {
			continue
		}
		p := b.read(r)
		if !b.admit(p, crowded) {
			continue
		}
		if was := old[r.Key]; was != nil {
			p.refused = was.refused // so that it is not said again
		}
	}
	if wasKept || !keep.IsZero() {
		b.keepAll(old, keep)
	}
	b.judgeAll()
}

// setOwn says which subnet is ours: nobody else gets addresses of it.
func (b *book) setOwn(s Subnet, key string) {
	if p := b.peers[key]; p != nil {
		b.forget(p)
	}
	b.own = s
	b.judgeAll()
}

// setNode says how we are reached now.
func (b *book) setNode(n Node) {
	b.node = n
	b.judgeAll()
}

// put takes a lease that was written.
func (b *book) put(r Record) {
	was, p := b.peers[r.Key], b.read(r)
	if was == nil {
		b.release(p)
		if b.admit(p, b.crowded) {
			b.judge(p)
			b.settle()
		}
		return
	}
	if was.same(p) {
		return // renewed
	}
	b.free(was)
	b.forget(was)
	b.release(p)
	b.admit(p, false)
	p.refused = was.refused
	b.judge(p)
	b.settle()
}

// remove takes a lease out.
func (b *book) remove(key string) {
	p := b.peers[key]
	if p == nil {
		return
	}
	b.free(p)
	b.forget(p)
	b.settle()
}

// admit takes a peer among those that are kept, where there is room. Unless it
// is known already it says that there is none.
func (b *book) admit(p *peer, known bool) bool {
	if p.stray && b.strays >= maxStrays || !p.stray && len(b.peers)-b.strays >= maxLeases {
		b.counts[TooMany]++
		if !b.crowded && !known {
			b.tell(p.key, refuse(TooMany, "there are more leases than are kept (%d, and %d that are not of the network): it and others are left out", maxLeases, maxStrays))
		}
		b.crowded = true
		return false
	}
	b.peers[p.key] = p
	if p.stray {
		b.strays++
	}
	return true
}

// forget takes a peer out.
func (b *book) forget(p *peer) {
	b.withdraw(p)
	delete(b.peers, p.key)
	if p.stray {
		b.strays--
	}
	if ip := p.attrs.nodeIP(); b.kept[ip] == p {
		delete(b.kept, ip)
	}
}

// read makes a peer of a record.
func (b *book) read(r Record) *peer {
	p := &peer{key: r.Key, created: r.Created}
	var err error
	if p.subnet, err = ParseSubnet(r.Key); err != nil {
		p.stray, p.wrong = true, refuse(BadKey, "%v", err)
		return p
	}
	p.stray = b.network.holds(p.subnet) != nil
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
	clear(b.users)
	clear(b.blocked)
	clear(b.refused)
	b.held = bart.Table[*peer]{}
	b.stale = true
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
		b.forget(p)
		return
	}
	b.refused[p.key], b.stale = p, true
	if p.refused.Reason == Overlap {
		b.blocked[p] = true
	}
	if was == nil || *was != *p.refused {
		b.say(p.key, p.refused)
	}
}

func (b *book) say(key string, r *Refusal) {
	b.counts[r.Reason]++
	b.tell(key, r)
}

func (b *book) tell(key string, r *Refusal) {
	if len(b.news) < maxNews {
		b.news = append(b.news, news{key, r})
	} else {
		b.untold++
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
	case p.subnet.contains(b.node.PublicIP) || p.subnet.contains(b.node.PublicIPv6):
		return refuse(OwnPublicIP, "its subnet %v holds our public address", p.subnet)
	case p.subnet.contains(p.attrs.PublicIP) || p.subnet.contains(p.attrs.PublicIPv6):
		return refuse(BadPublicIP, "its public address is within its own subnet %v: datagrams to it would go round in circles", p.subnet)
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
		b.free(o)
		if !o.until.IsZero() {
			b.forget(o)
			continue
		}
		b.withdraw(o)
		b.judgeYounger(o, p)
	}
	return nil
}

func (b *book) judgeYounger(o, p *peer) {
	o.refused = refuse(Overlap, "its subnet %v shares addresses with the older lease %s", o.subnet, p.key)
	b.blocked[o], b.refused[o.key], b.stale = true, o, true
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

// free notes that a lease which is in force will not be.
func (b *book) free(p *peer) {
	if p.refused == nil {
		b.freed = append(b.freed, p.subnet)
	}
}

// settle looks again at leases that overlapped with what went away. The older
// ones that come in make room for others in turn.
func (b *book) settle() {
	for len(b.freed) > 0 {
		var waiting []*peer
		for p := range b.blocked {
			if slices.ContainsFunc(b.freed, p.subnet.Overlaps) {
				waiting = append(waiting, p)
			}
		}
		b.freed = b.freed[:0]
		slices.SortFunc(waiting, older)
		for _, p := range waiting {
			delete(b.blocked, p)
			b.judge(p)
		}
	}
}
