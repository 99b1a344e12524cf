package etcd

import (
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"vtepd/route/flannel"
	"vtepd/route/flannel/etcd/etcdtest"
)

// withAuth turns on users: root, and flannel with the permission.
func withAuth(c *etcdtest.Cluster, permission string) {
	for _, line := range []string{
		"user add root:secret", "user grant-role root root", "role add flannel", "user add flannel:hush", "user grant-role flannel flannel",
		"role grant-permission flannel --prefix=true " + permission + " " + DefaultPrefix, "auth enable",
	} {
		c.Ctl(strings.Fields(line)...)
	}
}

// grants counts etcd's leases.
func grants(c *etcdtest.Cluster) int {
	return len(strings.Split(c.Ctl("--user", "root:secret", "lease", "list"), "\n")) - 1
}

// TestRefusedWritesLeaveNoGrants: a user who may not write is tried again for
// hours, and leaves no grant of a day behind each time.
func TestRefusedWritesLeaveNoGrants(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	withAuth(c, "read")
	s := open(t, Options{Endpoints: c.Endpoints(), Username: "flannel", Password: "hush"})
	const key = "10.244.1.0-24"
	create := func() (flannel.Written, error) { return s.Create(limited(t), key, []byte(ownValue), flannel.TTL) }
	for range 5 {
		if _, err := create(); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Fatal(err)
		}
	}
	if n := grants(c); n != 1 {
		t.Errorf("%d grants after writes that were refused", n)
	}
	c.Ctl("--user", "root:secret", "role", "grant-permission", "flannel", "--prefix=true", "readwrite", DefaultPrefix)
	w, err := create()
	if err != nil || time.Until(w.Expires) < flannel.TTL-time.Minute || grants(c) != 1 {
		t.Fatalf("%+v %v, %d grants", w, err, grants(c))
	}
	// A grant that may be in use is not given back with the key of it.
	if _, err := create(); err != flannel.ErrExists { //nolint:errorlint // it is returned as it is
		t.Error(err)
	}
	if got := c.Ctl("--user", "root:secret", "get", subnets+key); !strings.Contains(got, ownValue) || grants(c) != 1 {
		t.Errorf("%q, %d grants", got, grants(c))
	}
}

// TestLostAnswer: of a write that came about without our knowing it, the next
// try finds the key, and leaves it there.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	s := open(t, Options{Endpoints: c.Endpoints()})
	const key = "10.244.1.0-24"
	w, err := s.Create(limited(t), key, []byte(ownValue), flannel.TTL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := s.connected()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get(limited(t), subnets+key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 {
		t.Fatal(resp.Kvs)
	}
	lost := grant{id: clientv3.LeaseID(resp.Kvs[0].Lease), ttl: flannel.TTL, asked: time.Now(), expires: w.Expires}
	s.keep(lost, nil)
	if _, err := s.Create(limited(t), key, []byte(ownValue), flannel.TTL); err != flannel.ErrExists { //nolint:errorlint // it is returned as it is
		t.Error(err)
	}
	if got := c.Ctl("get", subnets+key); !strings.Contains(got, ownValue) {
		t.Fatalf("the key went with its grant: %q", got)
	}
	// A grant that etcd has forgotten is no hindrance but once.
	s.keep(lost, nil)
	c.Ctl("lease", "revoke", fmt.Sprintf("%x", int64(lost.id)))
	if _, err := s.Create(limited(t), key, []byte(ownValue), flannel.TTL); err == nil {
		t.Error("written by a grant that is not there")
	}
	if _, err := s.Create(limited(t), key, []byte(ownValue), flannel.TTL); err != nil {
		t.Error(err)
	}
}

// TestTokenEnds: etcd's tokens end after a while; the watch and the writes go
// on.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Args: []string{"--auth-token-ttl", "1"}})
	c.Ctl("put", configKey, config)
	withAuth(c, "readwrite")
	n := run(t, open(t, Options{Endpoints: c.Endpoints(), Username: "flannel", Password: "hush"}), func(o *flannel.Options) {
		o.TTL, o.RenewMargin = 4*time.Second, 3*time.Second
	})
	n.key(t)
	began := time.Now()
	for i := 0; time.Since(began) < 8*time.Second; i++ {
		host := 1 + i%2 // never the node's own, however fast the machine counts
		c.Ctl("--user", "root:secret", "put", subnets+"10.244.201.0-24", peer(host))
		n.wantPrefixes(t, fmt.Sprintf("10.244.201.0/24 via 192.0.2.%d", host))
	}
	if st := n.Status(); st.Renewals < 3 || st.Lost != 0 || !st.Connected {
		t.Errorf("%+v", st)
	}
}

// TestCertificateReplaced: connections that are made later have the new one.
func TestCertificateReplaced(t *testing.T) {
	t.Parallel()
	first, second := etcdtest.NewIdentity(t), etcdtest.NewIdentity(t)
	conf, err := LoadTLS(first.CA, first.Cert, first.Key)
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, id *etcdtest.Identity) {
		t.Helper()
		got, err := conf.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil || string(a.Raw) != string(id.Config.Certificates[0].Certificate[0]) {
			t.Errorf("%s: %v", what, err)
		}
	}
	want("at first", first)
	move := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	move(second.Cert, first.Cert)
	want("while it is being replaced", first)
	move(second.Key, first.Key)
	want("replaced", second)
	if err := os.Remove(first.Key); err != nil {
		t.Fatal(err)
	}
	want("gone", second)
}

// TestListMuchJunk: keys that are no subnets take no place of leases.
func TestListMuchJunk(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	s, put := open(t, Options{Endpoints: c.Endpoints()}), writer(t, c)
	for i := range maxStrays + 500 {
		put(fmt.Sprintf("%s0junk%d", subnets, i), "")
	}
	put(subnets+"10.244.1.0-24", value7)
	l, err := s.List(limited(t))
	if err != nil || len(l.Records) != maxStrays+1 || l.Dropped != 500 || l.Records[maxStrays].Key != "10.244.1.0-24" {
		t.Errorf("%d records, %d dropped, %v", len(l.Records), l.Dropped, err)
	}
}
