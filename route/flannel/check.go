package flannel

import (
	"context"
	"time"
)

// check looks whether the store is still the one that is followed: a watch of a
// store that was wiped, or put back in time, would wait for ever.
func (s *Source) check(ctx context.Context) error {
	if s.book != nil {
		s.book.expire(time.Now())
		s.emitChanges()
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	key := ""
	if s.own != nil {
		key = s.own.key
	}
	c, err := s.o.Store.Check(ctx, key)
	if err != nil {
		s.offline(err)
		return nil
	}
	s.online(c.Revision)
	odd := c.Cluster != s.cluster || c.Revision < s.seen || (c.Config == nil) != (s.config == nil) || string(c.Config) != string(s.config)
	if s.own != nil {
		odd = odd || (c.Own == nil) != (s.own.seen == 0) || c.Own != nil && c.Own.Modified != s.own.seen
	}
	if odd || s.miscounted(c) {
		return errAnew
	}
	return nil
}

// miscounted reports whether the store has more or fewer leases than it told of:
// etcd 3.4 and 3.5 can lose a deletion where a watch begins at the revision that
// history was cut at (etcd issue 18089). What is on its way is not missing: it
// takes two checks with the same difference.
func (s *Source) miscounted(c Check) bool {
	if s.book == nil {
		return false
	}
	was := s.astray
	s.astray = c.Leases - s.beside - s.book.count()
	if c.Own != nil {
		s.astray--
	}
	return s.astray != 0 && s.astray == was
}
