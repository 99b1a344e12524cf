package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"vtepd/route/flannel"
)

// A grant is a lease of etcd. The zero one is none.
type grant struct {
	id      clientv3.LeaseID
	ttl     time.Duration // that was asked for
	asked   time.Time
	expires time.Time
	used    bool // perhaps: the answer to the write was lost
}

// spareFor is how long a grant waits for the next try.
const spareFor = 10 * time.Minute

// grant returns a grant for one write: that of the last write if it failed, so
// that writes which fail for hours do not leave a grant of a day each.
func (s *Store) grant(ctx context.Context, c *clientv3.Client, ttl time.Duration) (grant, error) {
	s.mu.Lock()
	g := s.spare
	s.spare = grant{}
	s.mu.Unlock()
	if g.ttl == ttl && time.Since(g.asked) < min(spareFor, ttl/10) {
		return g, nil
	}
	g = grant{ttl: ttl, asked: time.Now()}
	resp, err := c.Grant(ctx, int64(ttl/time.Second))
	if err != nil {
		return g, err
	}
	g.id, g.expires = resp.ID, g.asked.Add(time.Duration(resp.TTL)*time.Second)
	return g, nil
}

// keep keeps the grant of a write that failed.
func (s *Store) keep(g grant, err error) {
	if g.id == 0 || errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return // etcd was wiped
	}
	g.used = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spare = g
}

// write puts a key in a transaction with a condition, by a new grant of ttl.
// The grant of a write that did not come about is given back.
func (s *Store) write(ctx context.Context, key string, value []byte, ttl time.Duration, when clientv3.Cmp, refused error) (flannel.Written, error) {
	client, err := s.connected()
	if err != nil {
		return flannel.Written{}, err
	}
	var opts []clientv3.OpOption
	var w flannel.Written
	var g grant
	if ttl > 0 {
		if g, err = s.grant(ctx, client, ttl); err != nil {
			return w, s.explain(err)
		}
		w.Expires = g.expires
		opts = append(opts, clientv3.WithLease(g.id))
	}
	resp, err := client.Txn(ctx).If(when).Then(clientv3.OpPut(key, string(value), opts...)).Commit()
	if err != nil {
		// It may have come about: the grant must stay.
		s.keep(g, err)
		return flannel.Written{}, s.explain(err)
	}
	if !resp.Succeeded {
		if g.id != 0 && !g.used {
			_, _ = client.Revoke(ctx, g.id) // it lapses anyhow
		}
		return flannel.Written{}, refused
	}
	w.Revision = resp.Header.Revision
	return w, nil
}

// Create implements [flannel.Store].
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (flannel.Written, error) {
	key = s.subnets + key
	return s.write(ctx, key, value, ttl, clientv3.Compare(clientv3.Version(key), "=", 0), flannel.ErrExists)
}

// Replace implements [flannel.Store]. The old grant then has no key, so that
// its end takes nothing with it.
func (s *Store) Replace(ctx context.Context, key string, value []byte, ttl time.Duration, revision int64) (flannel.Written, error) {
	key = s.subnets + key
	return s.write(ctx, key, value, ttl, clientv3.Compare(clientv3.ModRevision(key), "=", revision), flannel.ErrChanged)
}

// Delete implements [flannel.Store].
func (s *Store) Delete(ctx context.Context, key string, revision int64) error {
	client, err := s.connected()
	if err != nil {
		return err
	}
	key = s.subnets + key
	resp, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpDelete(key)).Commit()
	switch {
	case err != nil:
		return s.explain(err)
	case !resp.Succeeded:
		return flannel.ErrChanged
	}
	return nil
}

// WriteConfig writes the network's configuration. Without force it returns
// [flannel.ErrExists] when there is one.
func (s *Store) WriteConfig(ctx context.Context, config []byte, force bool) error {
	client, err := s.connected()
	if err != nil {
		return err
	}
	put := clientv3.OpPut(s.config, string(config))
	txn := client.Txn(ctx)
	if !force {
		txn = txn.If(clientv3.Compare(clientv3.Version(s.config), "=", 0))
	}
	resp, err := txn.Then(put).Commit()
	switch {
	case err != nil:
		return s.explain(err)
	case !resp.Succeeded:
		return flannel.ErrExists
	}
	return nil
}
