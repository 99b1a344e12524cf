// Package etcd is the store of a Flannel network on etcd v3, as flanneld keeps
// it: <prefix>/config and <prefix>/subnets/<subnet>. The heavy client lives
// here only.
//
// Answers are bounded: what is read at a time, how large one value may be, and
// how many leases there are; what is beyond is left out and said.
package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"vtepd/route/flannel"
)

// DefaultPrefix is where flanneld keeps its network (--etcd-prefix).
const DefaultPrefix = "/coreos.com/network"

const (
	maxMessage = 8 << 20 // that is read at a time
	page       = 500     // leases read at a time
	maxRecords = 1 << 17
	maxStrays  = 2000 // keys that are no subnets
	maxKey     = 128  // bytes of a key below subnets/ that are kept

	dialTimeout   = 3 * time.Second
	keepAliveTime = 10 * time.Second // a dead connection is noticed after it and the next
	keepAliveWait = 5 * time.Second
	minReconnect  = 100 * time.Millisecond
	maxReconnect  = 2 * time.Second
)

// Options say which etcd.
type Options struct {
	Endpoints []string // URLs
	Prefix    string   // DefaultPrefix when empty
	// TLS is nil for plain connections; with it endpoints are https.
	TLS                *tls.Config
	Username, Password string
}

// A Store is a [flannel.Store] on etcd. Make it by [New].
type Store struct {
	o       Options
	config  string // keys
	subnets string
	life    context.Context // ends by Close
	end     context.CancelFunc

	mu     sync.Mutex
	client *clientv3.Client // nil before it is needed
	spare  grant            // of a write that failed
}

var _ flannel.Store = (*Store)(nil)

// New makes a store. It does not connect before it is used, and connects again
// whenever it has to; one endpoint that answers is enough.
func New(o Options) (*Store, error) {
	if len(o.Endpoints) == 0 {
		return nil, errors.New("no etcd endpoint is given")
	}
	prefix := "/" + strings.Trim(o.Prefix, "/")
	if o.Prefix == "" {
		prefix = DefaultPrefix
	}
	s := &Store{o: o, config: prefix + "/config", subnets: prefix + "/subnets/"}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// connected returns the client. With a user name it needs an etcd that answers
// to be made, so it is not made before it is used.
func (s *Store) connected() (*clientv3.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.life.Err(); err != nil {
		return nil, err
	}
	if s.client != nil {
		return s.client, nil
	}
	c, err := clientv3.New(clientv3.Config{
		Context:   s.life,
		Endpoints: s.o.Endpoints, TLS: s.o.TLS, Username: s.o.Username, Password: s.o.Password,
		DialTimeout: dialTimeout, DialKeepAliveTime: keepAliveTime, DialKeepAliveTimeout: keepAliveWait,
		MaxCallRecvMsgSize: maxMessage,
		// gRPC would wait for up to two minutes after hours without an answer.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minReconnect, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxReconnect},
			MinConnectTimeout: dialTimeout,
		})},
		Logger: zap.NewNop(), // errors come back from calls
	})
	if err != nil {
		return nil, s.explain(err)
	}
	s.client = c
	return c, nil
}

// Close ends all connections, and what goes on by them in other goroutines.
func (s *Store) Close() error {
	s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil {
		return nil
	}
	if err := s.client.Close(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// record is a lease as the [flannel.Source] knows it.
func (s *Store) record(kv *mvccpb.KeyValue) flannel.Record {
	r := flannel.Record{Key: s.name(string(kv.Key)), Value: kv.Value, Size: len(kv.Value),
		Created: kv.CreateRevision, Modified: kv.ModRevision, Reserved: kv.Lease == 0}
	if r.Size > flannel.MaxValue {
		r.Value = nil
	}
	return r
}

// bounded is a configuration, or of one that is too large something in its
// place that is so, too.
func bounded(config []byte, large bool) []byte {
	if large || len(config) > flannel.MaxConfig {
		return make([]byte, flannel.MaxConfig+1)
	}
	return append([]byte{}, config...) // never nil
}

// name is a lease's key below subnets/. One that is longer than any subnet's is
// cut, which leaves it refused.
func (s *Store) name(key string) string {
	name := strings.TrimPrefix(key, s.subnets)
	if len(name) > maxKey {
		return name[:maxKey] + "..."
	}
	return name
}

// Check implements [flannel.Store]. The lease comes without its value.
func (s *Store) Check(ctx context.Context, key string) (flannel.Check, error) {
	client, err := s.connected()
	if err != nil {
		return flannel.Check{}, err
	}
	get := func(opts ...clientv3.OpOption) (*clientv3.TxnResponse, error) {
		ops := []clientv3.Op{clientv3.OpGet(s.config, opts...), clientv3.OpGet(s.subnets, clientv3.WithPrefix(), clientv3.WithCountOnly())}
		if key != "" {
			ops = append(ops, clientv3.OpGet(s.subnets+key, clientv3.WithKeysOnly()))
		}
		return client.Txn(ctx).Then(ops...).Commit()
	}
	resp, err := get()
	large := tooLarge(err)
	if large {
		resp, err = get(clientv3.WithKeysOnly())
	}
	if err != nil {
		return flannel.Check{}, s.explain(err)
	}
	c := flannel.Check{Revision: resp.Header.Revision, Cluster: resp.Header.ClusterId}
	for i, r := range resp.Responses {
		if i == 1 {
			c.Leases = int(r.GetResponseRange().Count)
		}
		for _, kv := range r.GetResponseRange().Kvs {
			if i == 0 {
				c.Config = bounded(kv.Value, large)
			} else {
				own := s.record(kv)
				c.Own = &own
			}
		}
	}
	return c, nil
}
