package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/route/flannel"
	"vtepd/route/flannel/etcd/etcdtest"
)

const (
	config    = `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`
	configKey = DefaultPrefix + "/config"
	subnets   = DefaultPrefix + "/subnets/"
	value7    = `{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:07"}}`
	ownValue  = `{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}}`
)

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// until polls.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// A node is a source on etcd.
type node struct {
	*flannel.Source
	table *route.Table
	stop  func()

	mu     sync.Mutex
	joined []string
	says   []string
}

func run(t *testing.T, s flannel.Store, change func(*flannel.Options)) *node {
	t.Helper()
	n := &node{table: route.NewTable()}
	o := flannel.Options{
		Store: s,
		Node: func(*flannel.Network) (flannel.Node, error) {
			return flannel.Node{PublicIP: netip.MustParseAddr("192.0.2.99"), PublicIPv6: netip.MustParseAddr("2001:db8::99"), MAC: packet.MAC{2, 0, 0, 0, 0, 0x99}}, nil
		},
		Joined: func(j flannel.Joined) { n.note(&n.joined, j.Subnet.Key()) },
		Say:    func(e flannel.Event) { n.note(&n.says, strings.TrimSpace(e.Key+" "+e.Text)) },
		Apply:  func(b route.Batch) { n.table.Apply(b) },
	}
	if change != nil {
		change(&o)
	}
	n.Source = flannel.NewSource(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.Run(ctx); close(done) }()
	n.stop = func() { cancel(); <-done }
	t.Cleanup(n.stop)
	return n
}

func (n *node) note(list *[]string, text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*list = append(*list, text)
}

// key waits for our lease and returns its key.
func (n *node) key(t *testing.T) string {
	t.Helper()
	until(t, "a lease", func() bool { return n.Status().Lease != nil && !n.Status().Lease.Missing })
	return n.Status().Lease.Key
}

// prefixes are those in force.
func (n *node) prefixes() string {
	var out []string
	for _, e := range n.table.Select(func(k route.Key) bool { return k.Kind == route.Prefix }) {
		out = append(out, fmt.Sprintf("%v via %v", e.Key.Prefix, e.VTEP.Addr))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (n *node) wantPrefixes(t *testing.T, want string) {
	t.Helper()
	until(t, want, func() bool { return n.prefixes() == want })
}

func peer(i int) string { return strings.ReplaceAll(value7, "192.0.2.7", fmt.Sprintf("192.0.2.%d", i)) }

// TestLeaseInEtcd looks at what stands in etcd with etcd's own tool: key, value
// and time to live as flanneld writes them, and a renewal by a new grant.
func TestLeaseInEtcd(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	n := run(t, open(t, Options{Endpoints: c.Endpoints()}), func(o *flannel.Options) {
		o.RenewMargin = flannel.TTL - 2*time.Second
		o.Before = flannel.Subnet{V4: netip.MustParsePrefix("10.244.53.0/24")}
	})
	n.key(t)
	if got, want := c.Ctl("get", "--prefix", DefaultPrefix), configKey+"\n"+config+"\n"+subnets+"10.244.53.0-24\n"+ownValue; got != want {
		t.Errorf("etcd has\n%s\nwant\n%s", got, want)
	}
	lease := leaseOf(t, c, "10.244.53.0-24")
	m := regexp.MustCompile(`granted with TTL\((\d+)s\), remaining\((\d+)s\), attached keys\(\[(.*)\]\)`).FindStringSubmatch(c.Ctl("lease", "timetolive", "--keys", lease))
	if m == nil || m[1] != "86400" || m[3] != subnets+"10.244.53.0-24" {
		t.Errorf("lease %s: %v", lease, m)
	}
	until(t, "a renewal", func() bool { return n.Status().Renewals > 0 })
	again := leaseOf(t, c, "10.244.53.0-24")
	if again == lease {
		t.Error("renewed without a new grant")
	}
	n.stop()
	c.Ctl("lease", "revoke", lease) // the old grant has no key any more
	if got := c.Ctl("get", subnets+"10.244.53.0-24"); !strings.Contains(got, ownValue) {
		t.Errorf("after a clean stop and the end of the old grant: %q", got)
	}
	if m := c.Ctl("lease", "timetolive", leaseOf(t, c, "10.244.53.0-24")); !strings.Contains(m, "remaining(86") {
		t.Error(m)
	}
}

// leaseOf is the id of a key's lease as etcdctl takes it.
func leaseOf(t *testing.T, c *etcdtest.Cluster, key string) string {
	t.Helper()
	m := regexp.MustCompile(`"lease":(\d+)`).FindStringSubmatch(c.Ctl("get", subnets+key, "-w", "json"))
	if m == nil {
		return "0"
	}
	id, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.FormatInt(id, 16)
}

func TestReservationInEtcd(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	c.Ctl("put", subnets+"10.244.8.0-24", `{"PublicIP":"192.0.2.99"}`)
	n := run(t, open(t, Options{Endpoints: c.Endpoints()}), nil)
	if key := n.key(t); key != "10.244.8.0-24" || leaseOf(t, c, key) != "0" || !n.Status().Lease.Reserved {
		t.Errorf("%s, lease %s", key, leaseOf(t, c, key))
	}
	if got := c.Ctl("get", subnets+"10.244.8.0-24"); !strings.Contains(got, ownValue) {
		t.Error(got)
	}
}

// TestLeaseTakenUp: at start our lease is taken up by a new grant.
func TestLeaseTakenUp(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	for i := range 2 {
		n := run(t, open(t, Options{Endpoints: c.Endpoints()}), func(o *flannel.Options) { o.Pick = func(n int) int { return n - 1 } })
		if key := n.key(t); key != "10.244.100.0-24" {
			t.Errorf("start %d: %s", i, key)
		}
		n.stop()
	}
	if got := c.Ctl("get", subnets, "--prefix", "-w", "json"); !strings.Contains(got, `"version":2`) || !strings.Contains(got, `"count":1`) {
		t.Error(got)
	}
}

func TestChangesFromEtcd(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Args: []string{"--max-request-bytes", "20000000"}})
	c.Ctl("put", configKey, config)
	c.Ctl("put", subnets+"10.244.201.0-24", peer(1))
	n := run(t, open(t, Options{Endpoints: c.Endpoints()}), nil)
	key := n.key(t)
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.1")
	c.Ctl("put", subnets+"10.244.201.0-24", peer(2))
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.2")
	c.Ctl("del", subnets+"10.244.201.0-24")
	n.wantPrefixes(t, "")
	c.Ctl("del", subnets+key)
	until(t, "our lease again", func() bool { return strings.Contains(c.Ctl("get", subnets+key), ownValue) })
	c.Ctl("put", subnets+key, peer(3))
	until(t, "our value again", func() bool { return strings.Contains(c.Ctl("get", subnets+key), ownValue) })

	// Values beyond all measure: by the watch, and in a listing.
	s, put := open(t, Options{Endpoints: c.Endpoints()}), writer(t, c)
	big := strings.Repeat("x", 10<<20)
	put(subnets+"10.244.202.0-24", big)
	c.Ctl("put", subnets+"10.244.203.0-24", peer(4))
	n.wantPrefixes(t, "10.244.203.0/24 via 192.0.2.4")
	if st := n.Status(); st.Refused[flannel.Oversize] != 1 {
		t.Errorf("%+v", st)
	}
	put(configKey, big)
	until(t, "the configuration is refused", func() bool { return strings.Contains(n.Status().ConfigProblem, "more than 65536") })
	c.Ctl("put", subnets+"10.244.204.0-24", peer(5))
	n.wantPrefixes(t, "10.244.203.0/24 via 192.0.2.4 10.244.204.0/24 via 192.0.2.5")
	c.Ctl("put", configKey, config)
	until(t, "the configuration is fine", func() bool { return n.Status().ConfigProblem == "" })
	l, err := s.List(limited(t))
	if err != nil || len(l.Records) != 4 || string(l.Config) != config {
		t.Errorf("%d records, %v", len(l.Records), err)
	}
}

// writer is a client that writes what etcdctl cannot: large values, many.
func writer(t *testing.T, c *etcdtest.Cluster) func(key, value string) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints(), MaxCallSendMsgSize: 20 << 20, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return func(key, value string) {
		t.Helper()
		if _, err := client.Put(limited(t), key, value); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListManyPages(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	s, put := open(t, Options{Endpoints: c.Endpoints()}), writer(t, c)
	const many = 2*page + 7
	for i := range many {
		put(fmt.Sprintf("%s10.%d.%d.0-24", subnets, i/200, i%200), value7)
	}
	put(subnets+strings.Repeat("k", 1000), "")
	put(DefaultPrefix+"/subnets-of-others/10.1.1.0-24", value7)
	l, err := s.List(limited(t))
	if err != nil || len(l.Records) != many+1 {
		t.Fatalf("%d records, %v", len(l.Records), err)
	}
	if last := l.Records[many]; len(last.Key) > maxKey+3 {
		t.Errorf("a key of %d bytes", len(last.Key))
	}
}

// TestCompacted: etcd forgets what happened while we did not look.
func TestCompacted(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	s := open(t, Options{Endpoints: c.Endpoints()})
	l, err := s.List(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		c.Ctl("put", subnets+"10.244.201.0-24", peer(i))
	}
	now, err := s.Check(limited(t), "")
	if err != nil {
		t.Fatal(err)
	}
	c.Ctl("compact", strconv.FormatInt(now.Revision, 10))
	if err := s.Watch(limited(t), l.Revision, func(flannel.Changes) {}); !errors.Is(err, flannel.ErrForgotten) {
		t.Error(err)
	}
}

func TestRestartedAndWiped(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	c.Ctl("put", subnets+"10.244.201.0-24", peer(1))
	n := run(t, open(t, Options{Endpoints: c.Endpoints()}), nil)
	key := n.key(t)
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.1")
	c.Kill(0)
	until(t, "the outage is seen", func() bool { return !n.Status().Connected })
	if got := n.prefixes(); got != "10.244.201.0/24 via 192.0.2.1" || !strings.Contains(n.Status().LastError, "connection refused") {
		t.Errorf("while it is away: %s; %s", got, n.Status().LastError)
	}
	c.Run(0)
	c.WaitHealthy()
	c.Ctl("put", subnets+"10.244.201.0-24", peer(2))
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.2")
	c.Wipe()
	c.Ctl("put", subnets+"10.244.202.0-24", peer(3))
	until(t, "our lease in the empty etcd", func() bool { return strings.Contains(c.Ctl("get", subnets+key), ownValue) })
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.2 10.244.202.0/24 via 192.0.2.3") // one was not deleted, only forgotten
	if st := n.Status(); st.Network == nil || !strings.Contains(st.ConfigProblem, "subnet init") {
		t.Errorf("%+v", st)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.joined) != 1 {
		t.Errorf("joined as %v", n.joined)
	}
}

// TestLeaderLost: of three members two stop; the last state stays. Then they go
// on.
func TestLeaderLost(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{Members: 3})
	c.Ctl("put", configKey, config)
	c.Ctl("put", subnets+"10.244.201.0-24", peer(1))
	n := run(t, open(t, Options{Endpoints: c.Endpoints()}), nil)
	key := n.key(t)
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.1")
	c.Kill(0)
	c.Kill(1)
	until(t, "the outage is seen", func() bool { return !n.Status().Connected })
	if got := n.prefixes(); got != "10.244.201.0/24 via 192.0.2.1" {
		t.Errorf("without a leader: %s", got)
	}
	c.Run(0) // one is enough again
	until(t, "two of three", func() bool { return n.Status().Connected })
	c.Ctl("put", subnets+"10.244.201.0-24", peer(2))
	n.wantPrefixes(t, "10.244.201.0/24 via 192.0.2.2")
	if !strings.Contains(c.Ctl("get", subnets+key), ownValue) {
		t.Error("our lease is gone")
	}
}

func TestTLSAndPassword(t *testing.T) {
	t.Parallel()
	id := etcdtest.NewIdentity(t)
	c := etcdtest.Start(t, etcdtest.Options{TLS: id})
	c.Ctl("put", configKey, config)
	if _, err := open(t, Options{Endpoints: c.Endpoints(), TLS: id.Config}).List(limited(t)); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	stranger := open(t, Options{Endpoints: c.Endpoints(), TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	if _, err := stranger.List(short); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an authority that is not known: %v", err)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, config)
	for _, line := range []string{
		"user add root:secret", "user grant-role root root", "role add flannel", "user add flannel:hush", "user grant-role flannel flannel",
		"role grant-permission flannel --prefix=true readwrite " + DefaultPrefix, "auth enable",
	} {
		c.Ctl(strings.Fields(line)...)
	}
	n := run(t, open(t, Options{Endpoints: c.Endpoints(), Username: "flannel", Password: "hush"}), nil)
	n.key(t)
	_, err := open(t, Options{Endpoints: c.Endpoints(), Username: "flannel", Password: "wrong"}).List(limited(t))
	if err == nil || !strings.Contains(err.Error(), "authentication failed") || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	if _, err = open(t, Options{Endpoints: c.Endpoints()}).List(limited(t)); err == nil {
		t.Error("without a name")
	}
	// With a name and without etcd: nothing fails at once, all is tried again.
	c.Kill(0)
	away := open(t, Options{Endpoints: c.Endpoints(), Username: "flannel", Password: "hush"})
	if _, err := away.List(limited(t)); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
	c.Run(0)
	c.WaitHealthy()
	if _, err := away.List(limited(t)); err != nil {
		t.Error(err)
	}
}

// TestLastSubnets: nodes that start at once on the last free subnets share none.
func TestLastSubnets(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	c.Ctl("put", configKey, `{"Network":"10.0.0.0/28","Backend":{"Type":"vxlan"}}`) // three
	var nodes []*node
	for i := range 3 {
		nodes = append(nodes, run(t, open(t, Options{Endpoints: c.Endpoints()}), func(o *flannel.Options) {
			o.Node = func(*flannel.Network) (flannel.Node, error) {
				return flannel.Node{PublicIP: netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i)}), MAC: packet.MAC{2, 0, 0, 0, 0, byte(i)}}, nil
			}
			o.Pick = func(int) int { return 0 }
		}))
	}
	have := map[string]bool{}
	for _, n := range nodes {
		have[n.key(t)] = true
	}
	if len(have) != 3 {
		t.Error(have)
	}
	for _, n := range nodes {
		until(t, "two peers", func() bool { return n.Status().Peers == 2 })
	}
}

func TestWriteConfig(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{})
	s := open(t, Options{Endpoints: c.Endpoints(), Prefix: "other/place/"})
	if err := s.WriteConfig(limited(t), []byte(config), false); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteConfig(limited(t), []byte("x"), false); !errors.Is(err, flannel.ErrExists) {
		t.Error(err)
	}
	if err := s.WriteConfig(limited(t), []byte("y"), true); err != nil {
		t.Error(err)
	}
	if got := c.Ctl("get", "--prefix", "/"); got != "/other/place/config\ny" {
		t.Error(got)
	}
}

// TestCloseWhileSilent: a server that takes connections and says nothing keeps
// nobody from stopping.
func TestCloseWhileSilent(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, o := range []Options{{}, {Username: "u", Password: "p"}} {
		o.Endpoints = []string{"http://" + l.Addr().String()}
		s := open(t, o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := s.List(ctx)
			done <- err
		}()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		cancel()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err == nil || time.Since(began) > 1500*time.Millisecond {
			t.Errorf("%+v: %v after %v", o, err, time.Since(began))
		}
		if _, err := s.List(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func TestNoEndpoint(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("no endpoint is fine")
	}
}
