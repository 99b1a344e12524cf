package flannel

import (
	"context"
	"errors"
	"time"
)

// NodeChanged asks [Options.Node] again how other nodes reach this one, when the
// store can be written to. Where the answer is another one the lease is written
// with it, and [Options.Joined] is told. Any goroutine may call it; it does not
// wait.
func (s *Source) NodeChanged() {
	select {
	case s.moved <- struct{}{}:
	default: // it is asked already
	}
}

// rewrite writes our lease with what this node is now.
func (s *Source) rewrite(ctx context.Context) error {
	if s.own == nil {
		return nil // who acquires one asks
	}
	node, err := s.o.Node(s.network)
	if err == nil && node == s.book.node {
		if s.moving { // it moved back
			s.moving = false
			s.leaseFine()
		}
		return nil
	}
	var attrs Attrs
	if err == nil {
		attrs, err = node.attrs(s.network)
	}
	if err == nil && s.own.seen == 0 {
		err = errors.New("it is not in the store at this moment")
	}
	if err != nil {
		s.notMoved(err)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	o := *s.own
	o.value = attrs.Value()
	w, err := s.o.Store.Replace(ctx, o.key, o.value, s.ttl(o.reserved), o.seen)
	switch {
	case errors.Is(err, ErrChanged):
		s.move = time.Now()
		return errAnew // who changed it is seen there
	case err != nil:
		s.notMoved(err)
		return nil
	}
	s.moving = false
	o.seen, o.foreign, o.expires = w.Revision, false, w.Expires
	s.tell(Info, o.key, "lease written anew: this node is now at %v", attrs.nodeIP())
	s.book.setNode(node)
	s.took(&o, node)
	s.emitChanges()
	return nil
}

func (s *Source) notMoved(err error) {
	s.move, s.moving = time.Now().Add(retryAcquire), true
	s.leaseProblem(err, "this node has another address now, the lease not yet")
}
