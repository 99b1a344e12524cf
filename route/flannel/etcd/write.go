package etcd

import (
	"context"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"vtepd/route/flannel"
)

// write puts a key in a transaction with a condition, by a new grant of ttl.
// The grant of a write that did not come about is given back.
func (s *Store) write(ctx context.Context, key string, value []byte, ttl time.Duration, when clientv3.Cmp, refused error) (flannel.Written, error) {
	client, err := s.connected()
	if err != nil {
		return flannel.Written{}, err
	}
	var opts []clientv3.OpOption
	var w flannel.Written
	var grant clientv3.LeaseID
	if ttl > 0 {
		asked := time.Now()
		resp, err := client.Grant(ctx, int64(ttl/time.Second))
		if err != nil {
			return w, s.explain(err)
		}
		grant = resp.ID
		w.Expires = asked.Add(time.Duration(resp.TTL) * time.Second)
		opts = append(opts, clientv3.WithLease(grant))
	}
	resp, err := client.Txn(ctx).If(when).Then(clientv3.OpPut(key, string(value), opts...)).Commit()
	if err != nil {
		// It may have come about: the grant must stay, and lapses if not.
		return flannel.Written{}, s.explain(err)
	}
	if !resp.Succeeded {
		if ttl > 0 {
			_, _ = client.Revoke(ctx, grant) // it lapses anyhow
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
