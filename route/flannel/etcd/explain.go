package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vtepd/route/flannel"
)

// explain says which etcd an error is from, and what a timeout means.
func (s *Store) explain(err error) error {
	where := strings.Join(s.o.Endpoints, ", ")
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev):
		return flannel.ErrForgotten
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, rpctypes.ErrTimeout):
		if why := s.unreachable(); why != nil {
			return fmt.Errorf("etcd at %s does not answer: %w", where, why)
		}
		return fmt.Errorf("etcd at %s does not answer (it has no leader, perhaps)", where)
	}
	return fmt.Errorf("etcd at %s: %w", where, err)
}

// probe is how long endpoints are tried to learn why none answers.
const probe = time.Second

// unreachable says why no endpoint can be reached, which the client does not
// tell; nil when one can.
func (s *Store) unreachable() error {
	ctx, cancel := context.WithTimeout(context.Background(), probe)
	defer cancel()
	var first error
	for _, e := range s.o.Endpoints {
		err := s.try(ctx, e)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func (s *Store) try(ctx context.Context, endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return err
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	defer c.Close()
	if u.Scheme != "https" {
		return nil
	}
	conf := s.o.TLS.Clone()
	if conf == nil {
		conf = new(tls.Config)
	}
	if conf.ServerName == "" {
		conf.ServerName = u.Hostname()
	}
	return tls.Client(c, conf).HandshakeContext(ctx)
}

// tooLarge reports whether an answer had more bytes than are read at a time
// (google.golang.org/grpc/rpc_util.go).
func tooLarge(err error) bool {
	return err != nil && status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "larger than max")
}
