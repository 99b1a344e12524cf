package flannel

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// An own is this node's lease.
type own struct {
	key      string
	subnet   Subnet
	value    []byte
	created  int64 // revision of the key's first write
	seen     int64 // revision of its last write, whoever made it; 0 when it is gone
	reserved bool  // it lasts for ever
	foreign  bool  // what stands there is not ours
	expires  time.Time
	restored time.Time // when we wrote over somebody else's
	answered time.Time // when we wrote after somebody who wrote what we do
	regained time.Time // when it was acquired again
}

// attend sees to our lease after a listing.
func (s *Source) attend(ctx context.Context, l Listing) {
	if s.own == nil {
		s.acquire(ctx, l)
		return
	}
	for _, r := range l.Records {
		if r.Key == s.own.key {
			s.seenOwn(r)
			return
		}
	}
	s.lost(ctx)
}

// acquire takes a lease: the one that has our address, else a free subnet. Of
// those who want the same subnet at once one gets it, and the others try again.
func (s *Source) acquire(ctx context.Context, l Listing) {
	err := s.tryAcquire(ctx, l)
	if err == nil {
		return
	}
	s.due = time.Now().Add(retryAcquire)
	if ctx.Err() == nil {
		s.leaseProblem(err, "no lease yet")
	}
}

func (s *Source) tryAcquire(ctx context.Context, l Listing) error {
	node, err := s.o.Node(s.network)
	if err != nil {
		return err
	}
	attrs, err := node.attrs(s.network)
	if err != nil {
		return err
	}
	s.book.node = node
	for range races {
		o, err := s.take(ctx, l, node, attrs)
		if err == nil {
			s.took(o, node)
			return nil
		}
		if !errors.Is(err, ErrExists) && !errors.Is(err, ErrChanged) {
			return err
		}
		s.count(func(st *Status) { st.Races++ })
		if l, err = s.list(ctx); err != nil {
			return err
		}
		s.reset(l)
	}
	return errors.New("other nodes were faster every time")
}

// take makes one try.
func (s *Source) take(ctx context.Context, l Listing, node Node, attrs Attrs) (*own, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	value := attrs.Value()
	mine, inUse, err := s.survey(ctx, l, node)
	if err != nil {
		return nil, err
	}
	if mine != nil {
		return s.takeUp(ctx, *mine, value)
	}
	subnet, err := s.network.Choose(inUse, s.o.Before, s.o.Pick)
	if err != nil {
		return nil, err
	}
	w, err := s.o.Store.Create(ctx, subnet.Key(), value, s.o.TTL)
	if err != nil {
		return nil, err
	}
	return &own{key: subnet.Key(), subnet: subnet, value: value, created: w.Revision, seen: w.Revision, expires: w.Expires}, nil
}

// survey finds the lease that has our address, and the subnets of the others.
// Leases of ours that the network does not have any more it deletes, as
// flanneld does; a reservation stays what it is.
func (s *Source) survey(ctx context.Context, l Listing, node Node) (mine *Record, inUse []Subnet, err error) {
	for i := range l.Records {
		r := &l.Records[i]
		subnet, err := ParseSubnet(r.Key)
		if err != nil {
			continue
		}
		attrs, err := ParseLease(r.Value, s.network.Backend.VNI)
		switch {
		case err != nil || !node.owns(attrs, s.network):
		case s.network.Allows(subnet):
			if mine == nil || subnet == s.o.Before {
				mine = r
			}
			continue
		case !r.Reserved:
			s.tell(Warn, r.Key, "our lease does not fit the network any more: it is deleted")
			if err := s.o.Store.Delete(ctx, r.Key, r.Modified); err != nil {
				return nil, nil, err
			}
			s.book.remove(r.Key)
			continue
		}
		if s.network.counts(subnet, err == nil) {
			inUse = append(inUse, subnet)
		}
	}
	return mine, inUse, nil
}

// owns reports whether a lease of the network is that of this node: it has its
// address of the family that the network's leases go by.
func (n Node) owns(a Attrs, net *Network) bool {
	if net.V4.Enabled() {
		return n.PublicIP == a.PublicIP
	}
	return n.PublicIPv6 == a.PublicIPv6
}

// takeUp makes a lease that has our address ours, by a new grant.
func (s *Source) takeUp(ctx context.Context, r Record, value []byte) (*own, error) {
	subnet, err := ParseSubnet(r.Key)
	if err != nil {
		return nil, err
	}
	w, err := s.o.Store.Replace(ctx, r.Key, value, s.ttl(r.Reserved), r.Modified)
	if err != nil {
		return nil, err
	}
	return &own{key: r.Key, subnet: subnet, value: value, created: r.Created, seen: w.Revision, reserved: r.Reserved, expires: w.Expires}, nil
}

// ttl is that of a lease; a reservation has none.
func (s *Source) ttl(reserved bool) time.Duration {
	if reserved {
		return 0
	}
	return s.o.TTL
}

// took puts a lease in force.
func (s *Source) took(o *own, node Node) {
	was := s.own
	s.own = o
	s.seen = max(s.seen, o.seen)
	s.schedule()
	s.book.setOwn(o.subnet, o.key)
	s.leaseFine()
	if was == nil || was.subnet != o.subnet || !bytes.Equal(was.value, o.value) {
		if was == nil || was.subnet != o.subnet {
			s.tell(Info, o.key, "lease acquired")
		}
		s.o.Joined(Joined{Network: s.network, Node: node, Subnet: o.subnet})
		s.joined = true
	}
	s.news()
}

// schedule says when the lease needs something again.
func (s *Source) schedule() {
	s.due = time.Time{}
	if o := s.own; !o.expires.IsZero() {
		s.due = o.expires.Add(-s.o.RenewMargin)
		if left := time.Until(o.expires); left <= s.o.RenewMargin {
			// The store gave less than it was asked for.
			s.due = time.Now().Add(max(left/2, minRenew))
		}
	}
	s.lease()
}

// act does what is due: a lease to renew, to write over somebody else's, or to
// acquire.
func (s *Source) act(ctx context.Context) error {
	if !s.move.IsZero() && !time.Now().Before(s.move) {
		s.move = time.Time{}
		return s.rewrite(ctx)
	}
	s.due = time.Time{}
	if s.own == nil || s.own.seen == 0 {
		return errAnew
	}
	return s.renew(ctx)
}

// renew writes the lease again by a new grant. The old grant then has no key
// and lapses by itself.
func (s *Source) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	o := s.own
	w, err := s.o.Store.Replace(ctx, o.key, o.value, s.ttl(o.reserved), o.seen)
	switch {
	case errors.Is(err, ErrChanged):
		return errAnew // who changed it is seen there
	case err != nil:
		s.due = time.Now().Add(retryRenew)
		s.leaseProblem(err, "lease not renewed, tried again in a minute")
		return nil
	}
	if o.foreign {
		o.restored = time.Now()
		s.tell(Warn, o.key, "our lease is ours again")
	}
	o.seen, o.foreign, o.expires = w.Revision, false, w.Expires
	s.seen = max(s.seen, w.Revision)
	s.count(func(st *Status) { st.Renewals++ })
	s.leaseFine()
	s.schedule()
	return nil
}

// lost acquires our lease again after it went away: expired while the store
// was not reachable, deleted by hand, or the store was wiped.
func (s *Source) lost(ctx context.Context) {
	o := s.own
	if o.seen != 0 {
		o.seen = 0
		s.lease()
		s.count(func(st *Status) { st.Lost++ })
		s.tell(Warn, o.key, "our lease was deleted: it is acquired again")
	}
	if at := o.regained.Add(retryAcquire); time.Now().Before(at) {
		s.due = at // whoever deletes it does so again and again
		return
	}
	create, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	w, err := s.o.Store.Create(create, o.key, o.value, s.o.TTL)
	switch {
	case errors.Is(err, ErrExists):
		// Somebody has it, we perhaps, by a write whose answer was lost.
		s.due = time.Now()
	case err != nil:
		s.due = time.Now().Add(retryAcquire)
		s.leaseProblem(err, "lease not acquired again")
	default:
		again := *o
		again.regained = time.Now()
		again.created, again.seen, again.expires, again.reserved, again.foreign = w.Revision, w.Revision, w.Expires, false, false
		*o = again
		s.seen = max(s.seen, w.Revision)
		s.leaseFine()
		s.schedule()
	}
}

// seenOwn takes what stands under our key.
func (s *Source) seenOwn(r Record) {
	o := s.own
	if r.Modified == o.seen && r.Created == o.created {
		if s.due.IsZero() {
			s.schedule()
		}
		return // our own write
	}
	attrs, err := ParseLease(r.Value, s.network.Backend.VNI)
	ours := err == nil && s.book.node.owns(attrs, s.network)
	if !ours && r.Created != o.created {
		s.taken(r, attrs)
		return
	}
	again := o.foreign
	o.created, o.seen, o.reserved = r.Created, r.Modified, r.Reserved
	if bytes.Equal(r.Value, o.value) {
		// Written by hand, to make a reservation of it perhaps, or by us, and the
		// answer was lost. What its grant is worth is not known: a new one is made.
		o.foreign, o.expires = false, time.Time{}
		s.schedule()
		if !o.reserved {
			s.answer()
		}
		return
	}
	o.foreign = true
	if !again {
		s.book.counts[OwnChanged]++
		s.tell(Error, o.key, "our lease was changed by somebody else (its address is now %v%s): it is written again", attrs.nodeIP(), twin(ours))
	}
	s.due = time.Now()
	if at := o.restored.Add(retryRestore); !o.restored.IsZero() && at.After(s.due) {
		s.due = at
	}
	s.lease()
}

// answer writes our lease again after somebody wrote what we do, at once the
// first time. Another node with our address would answer in turn.
func (s *Source) answer() {
	o := s.own
	s.due = time.Now()
	if at := o.answered.Add(retryRestore); !o.answered.IsZero() && at.After(s.due) {
		s.leaseProblem(errTwin, "our lease was written by somebody else")
		s.due = at
	}
	o.answered = s.due
}

var errTwin = errors.New("does another node have our address?")

func twin(ours bool) string {
	if ours {
		return ", which is ours: does another node have it?"
	}
	return ""
}

// taken gives up a subnet that somebody else acquired while our lease was not
// there, for another one.
func (s *Source) taken(r Record, attrs Attrs) {
	s.tell(Error, r.Key, "our subnet was acquired by %v while our lease was gone: another one is acquired", attrs.nodeIP())
	s.o.Before = s.own.subnet // of which the other family may still be free
	s.own = nil
	s.book.setOwn(Subnet{}, "")
	s.book.put(r)
	s.count(func(st *Status) { st.Lease, st.LeaseProblem = nil, "somebody else acquired our subnet" })
	s.due = time.Now()
}
