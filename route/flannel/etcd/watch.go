package etcd

import (
	"context"
	"errors"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"vtepd/route/flannel"
)

var errEnded = errors.New("the watch ended")

// Watch implements [flannel.Store]. The client keeps the watch over lost
// connections; without a leader etcd ends it.
func (s *Store) Watch(ctx context.Context, revision int64, told func(flannel.Changes)) error {
	client, err := s.connected()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	// Both keys by one watch, so that their order is kept.
	prefix := strings.TrimSuffix(s.config, "config")
	for resp := range client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(revision+1)) {
		if err := resp.Err(); err != nil {
			if tooLarge(err) {
				return flannel.ErrForgotten // a listing takes it
			}
			return s.explain(err)
		}
		if c, any := s.changes(resp); any {
			told(c)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.explain(errEnded)
}

// changes are those of one answer; any is false when none are the network's.
func (s *Store) changes(resp clientv3.WatchResponse) (c flannel.Changes, any bool) {
	c.Revision = resp.Header.Revision
	put := make(map[string]int) // where a key stands in c.Put
	for _, e := range resp.Events {
		key := string(e.Kv.Key)
		switch {
		case key == s.config:
			c.ConfigChanged, c.Config = true, nil
			if e.Type == clientv3.EventTypePut {
				c.Config = bounded(e.Kv.Value, false)
			}
		case !strings.HasPrefix(key, s.subnets):
			continue
		default:
			s.fold(&c, put, e)
		}
		any = true
	}
	return c, any
}

// fold keeps what a lease is in the end: an answer may hold several changes of
// one.
func (s *Store) fold(c *flannel.Changes, put map[string]int, e *clientv3.Event) {
	r := s.record(e.Kv)
	at, had := put[r.Key]
	if e.Type == clientv3.EventTypePut {
		if had {
			c.Put[at] = r
			return
		}
		put[r.Key] = len(c.Put)
		c.Put = append(c.Put, r)
		return
	}
	if had {
		last := len(c.Put) - 1
		c.Put[at] = c.Put[last]
		put[c.Put[at].Key] = at
		c.Put = c.Put[:last]
		delete(put, r.Key)
	}
	c.Removed = append(c.Removed, r.Key)
}
