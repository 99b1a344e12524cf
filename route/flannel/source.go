package flannel

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"vtepd/route"
)

// TTL is how long a lease lasts without being renewed (Flannel's subnetTTL).
const TTL = 24 * time.Hour

// RenewMargin is the usual time before its end at which a lease is renewed.
const RenewMargin = time.Hour

const (
	retryRenew   = time.Minute     // after a renewal that failed
	retryAcquire = 5 * time.Second // after an acquisition that failed
	retryRestore = time.Minute     // at least, between two writes over somebody else's
	checkEvery   = 5 * time.Second
	minRenew     = time.Second // at least, between two renewals
	minBackoff   = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	callLimit    = 5 * time.Second // of one call to the store
	listLimit    = 30 * time.Second
	races        = 10 // tries to acquire a lease, as flanneld
)

// Options are what a [Source] works with. The functions are called from Run's
// goroutine, one at a time; Run waits for them.
type Options struct {
	Store Store
	// Node says how other nodes reach this one. It is asked whenever the lease
	// is acquired; after an error again a little later.
	Node func(*Network) (Node, error)
	// Before is the subnet this node had once, as its subnet.env says: it gets
	// it again if it is free.
	Before Subnet
	// RenewMargin is how long before its end the lease is renewed; 0 for
	// RenewMargin. TTL is how long a lease lasts; 0 for TTL.
	RenewMargin, TTL time.Duration
	// Joined is told of the lease when it is acquired, and when another one
	// takes its place. The entries for the other nodes follow by Apply.
	Joined func(Joined)
	// Apply takes the prefixes of the other nodes: a snapshot after Joined and
	// whenever the store was read anew, else changes.
	Apply func(route.Batch)
	// Say takes what happened, for a log.
	Say func(Event)
	// Pick returns a number below n by chance; nil for a good one.
	Pick func(n int) int
}

// A Joined is this node's place in the network.
type Joined struct {
	Network *Network
	Node    Node
	Subnet  Subnet
}

// A Source is one node's life in a Flannel network. Make it by [NewSource].
type Source struct {
	o Options

	// Of Run's goroutine:
	network *Network // in force; never replaced, as flanneld's is not
	config  []byte   // as the store had it last
	book    *book    // nil without a network
	own     *own     // nil before the first acquisition
	due     time.Time
	move    time.Time // when Options.Node is asked again; zero for not at all
	moving  bool      // its last answer is not in the store yet
	cluster uint64
	seen    int64 // the newest revision
	listed  int64 // that of the last listing: changes are wanted from there
	other   bool  // the last listing was not of the store that was followed
	beside  int   // leases of the last listing that the book does not hold
	astray  int   // by how many the last check counted more than that
	joined  bool  // a snapshot may go out
	said    string

	words     int // that may be told now
	refilled  time.Time
	swallowed int // that were not

	moved chan struct{} // [Source.NodeChanged]

	mu     sync.Mutex
	status Status
}

// errAnew asks for a new listing.
var errAnew = errors.New("the store is read anew")

// NewSource makes the source of a network; Run is its life.
func NewSource(o Options) *Source {
	if o.TTL == 0 {
		o.TTL = TTL
	}
	if o.RenewMargin == 0 {
		o.RenewMargin = RenewMargin
	}
	if o.RenewMargin >= o.TTL {
		o.RenewMargin = o.TTL / 2
	}
	if o.Pick == nil {
		o.Pick = rand.IntN //nolint:gosec // which free subnet is no secret
	}
	return &Source{o: o, moved: make(chan struct{}, 1), status: Status{Refused: make(map[Reason]uint64)}}
}

// Run keeps this node in the network until ctx ends. Whatever the store does,
// the last state stays in force. The lease stays in the store.
func (s *Source) Run(ctx context.Context) {
	wait := minBackoff
	for {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errAnew) || errors.Is(err, ErrForgotten) {
			s.count(func(st *Status) { st.Relists++ })
		} else {
			s.offline(err)
		}
		if time.Since(began) > maxBackoff {
			wait = minBackoff
		}
		sleep(ctx, wait/2+time.Duration(s.o.Pick(int(wait/2))))
		wait = min(2*wait, maxBackoff)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// session reads the store once and follows it until something is odd.
func (s *Source) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.ping(ctx); err != nil {
		return err
	}
	l, err := s.list(ctx)
	if err != nil {
		return err
	}
	s.configure(l.Config)
	if s.network != nil {
		s.reset(l)
		s.attend(ctx, l)
		s.emitSnapshot()
	}
	changes, failed := make(chan Changes), make(chan error, 1)
	from := s.listed
	go func() {
		defer close(changes)
		failed <- s.o.Store.Watch(ctx, from, func(c Changes) {
			select {
			case changes <- c:
			case <-ctx.Done():
			}
		})
	}()
	defer func() {
		cancel()
		for range changes { // until Watch has ended
		}
	}()
	return s.follow(ctx, changes, failed)
}

// ping learns soon whether the store answers; a listing may take its time.
func (s *Source) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, err := s.o.Store.Check(ctx, "")
	return err
}

func (s *Source) list(ctx context.Context) (Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, listLimit)
	defer cancel()
	l, err := s.o.Store.List(ctx)
	if err != nil {
		return l, err
	}
	if s.listed != 0 && (l.Cluster != s.cluster || l.Revision < s.seen) {
		s.other = true
	}
	s.cluster, s.seen, s.listed = l.Cluster, l.Revision, l.Revision
	s.online(l.Revision)
	return l, nil
}

// reset takes a listing's leases in.
func (s *Source) reset(l Listing) {
	key := ""
	if s.own != nil {
		key = s.own.key
	}
	var keep time.Time
	if s.other {
		keep = time.Now().Add(s.o.TTL)
	}
	s.book.reset(l.Records, key, keep)
	s.beside, s.astray = len(l.Records)+l.Dropped-s.book.count(), 0
	if slices.ContainsFunc(l.Records, func(r Record) bool { return r.Key == key }) {
		s.beside--
	}
	if n := len(s.book.kept); s.other && n > 0 {
		s.tell(Warn, "", "the store was wiped or put back: %d leases that it does not have stay in force until their nodes are back, a day at most", n)
	}
	s.other = false
	if l.Dropped > 0 {
		s.book.counts[TooMany] += uint64(l.Dropped)
		s.tell(Warn, "", "the store has more leases than are looked at: %d were left out", l.Dropped)
	}
	s.news()
}

// follow is the loop of a session.
func (s *Source) follow(ctx context.Context, changes <-chan Changes, failed <-chan error) error {
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	for {
		act := time.NewTimer(s.untilDue())
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case c, ok := <-changes:
			if ok {
				err = s.changes(ctx, c)
			} else {
				err = <-failed
			}
		case <-act.C:
			err = s.act(ctx)
		case <-s.moved:
			s.move = time.Now()
		case <-check.C:
			err = s.check(ctx)
		}
		act.Stop()
		if err != nil {
			return err
		}
	}
}

// untilDue is the time until the own lease needs something.
func (s *Source) untilDue() time.Duration {
	wait := 365 * 24 * time.Hour
	for _, t := range []time.Time{s.due, s.move} {
		if !t.IsZero() {
			wait = min(wait, max(time.Until(t), 0))
		}
	}
	return wait
}

// changes takes what the store tells.
func (s *Source) changes(ctx context.Context, c Changes) error {
	s.seen = max(s.seen, c.Revision)
	s.online(c.Revision)
	if c.ConfigChanged {
		had := s.network != nil
		s.configure(c.Config)
		if !had && s.network != nil {
			return errAnew
		}
	}
	if s.network == nil {
		return nil
	}
	for _, key := range c.Removed {
		if s.own != nil && key == s.own.key {
			if c.Revision > s.own.seen {
				s.lost(ctx)
			}
			continue
		}
		s.book.remove(key)
	}
	for _, r := range c.Put {
		if s.own != nil && r.Key == s.own.key {
			if r.Modified > s.own.seen {
				s.seenOwn(r)
			}
			continue
		}
		s.book.put(r)
	}
	s.emitChanges()
	s.news()
	return nil
}

// configure takes the network's configuration. Once one is in force it stays:
// the nodes of a network change together, or not at all.
func (s *Source) configure(config []byte) {
	same := string(config) == string(s.config) && (config == nil) == (s.config == nil)
	s.config = config
	var n *Network
	var err error
	if config == nil {
		err = errors.New("the store has no network configuration; `vtepd subnet init` writes one")
	} else {
		n, err = ParseNetwork(config)
	}
	switch {
	case err != nil && (!same || s.said != err.Error()):
		s.said = err.Error()
		s.count(func(st *Status) { st.Refused[BadNetwork]++; st.ConfigProblem = err.Error() })
		if s.network != nil {
			s.tell(Error, "config", "%v; the one that was read before stays in force", err)
		} else {
			s.tell(Error, "config", "%v", err)
		}
	case err != nil:
	case s.network == nil:
		s.network, s.said = n, ""
		s.count(func(st *Status) { st.Network, st.ConfigProblem = n, "" })
	case *n != *s.network:
		s.changed(same)
	default:
		s.said = ""
		s.count(func(st *Status) { st.ConfigProblem = "" })
	}
	if s.network != nil && s.book == nil {
		s.book = newBook(s.network, Node{})
	}
}

// changed says that another configuration stands in the store.
func (s *Source) changed(same bool) {
	const text = "the network's configuration was changed; restart vtepd to follow, as flanneld must be"
	if !same || s.said != text {
		s.said = text
		s.count(func(st *Status) { st.ConfigProblem = text })
		s.tell(Warn, "config", text)
	}
}

func (s *Source) emitSnapshot() {
	if s.joined {
		s.o.Apply(s.book.snapshot())
		s.peers()
	}
}

func (s *Source) emitChanges() {
	if !s.joined {
		return
	}
	if b := s.book.changes(); len(b.Add)+len(b.Remove) > 0 {
		s.o.Apply(b)
	}
	s.peers()
}
