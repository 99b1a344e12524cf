package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"vtepd/route/flannel"
)

// List implements [flannel.Store]. It reads page by page at one revision.
func (s *Store) List(ctx context.Context) (flannel.Listing, error) {
	client, err := s.connected()
	if err != nil {
		return flannel.Listing{}, err
	}
	resp, err := client.Get(ctx, s.config)
	large := tooLarge(err)
	if large {
		resp, err = client.Get(ctx, s.config, clientv3.WithKeysOnly())
	}
	if err != nil {
		return flannel.Listing{}, s.explain(err)
	}
	l := listing{Listing: flannel.Listing{Revision: resp.Header.Revision, Cluster: resp.Header.ClusterId}}
	for _, kv := range resp.Kvs {
		l.Config = bounded(kv.Value, large)
	}
	end := clientv3.GetPrefixRangeEnd(s.subnets)
	for from := s.subnets; from != ""; {
		if len(l.Records) >= maxRecords {
			n, err := s.count(ctx, client, from, end, l.Revision)
			l.Dropped += n
			return l.Listing, err
		}
		if from, err = s.page(ctx, client, &l, from, end); err != nil {
			return flannel.Listing{}, s.explain(err)
		}
	}
	return l.Listing, nil
}

// A listing is one that is being read.
type listing struct {
	flannel.Listing
	strays int // among the records
}

// count counts keys, those that a listing does not hold.
func (s *Store) count(ctx context.Context, c clientv3.KV, from, end string, revision int64) (int, error) {
	resp, err := c.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithCountOnly())
	if err != nil {
		return 0, s.explain(err)
	}
	return int(resp.Count), nil
}

// page reads the next leases, and returns where those after them start, "" when
// there are none. Where values are so large that a page does not fit it reads
// fewer, in the end one, and of that the key alone.
func (s *Store) page(ctx context.Context, c clientv3.KV, l *listing, from, end string) (string, error) {
	for limit := int64(page); ; limit /= 4 {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithRev(l.Revision), clientv3.WithLimit(max(limit, 1))}
		if limit == 0 {
			opts = append(opts, clientv3.WithKeysOnly())
		}
		resp, err := c.Get(ctx, from, opts...)
		if tooLarge(err) && limit > 0 {
			continue
		}
		if err != nil {
			return "", err
		}
		return s.take(l, (*etcdserverpb.RangeResponse)(resp), limit == 0), nil
	}
}

func (s *Store) take(l *listing, resp *etcdserverpb.RangeResponse, keysOnly bool) string {
	for _, kv := range resp.Kvs {
		r := s.record(kv)
		if keysOnly {
			r.Size = maxMessage + 1 // at least
		}
		if _, err := flannel.ParseSubnet(r.Key); err != nil {
			// Junk takes no place of leases, however much there is of it.
			if l.strays++; l.strays > maxStrays {
				l.Dropped++
				continue
			}
		}
		l.Records = append(l.Records, r)
	}
	if !resp.More || len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
}
