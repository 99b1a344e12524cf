package flannel

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
	"vtepd/cmd/internal/lab/flannel"
)

// The configurations of networks. Nodes get the upper part of the subnets, tests
// write leases into the lower one.
const (
	v4     = `"Network":"10.244.0.0/16","SubnetMin":"10.244.100.0",`
	v6     = `"EnableIPv6":true,"IPv6Network":"fd44:244::/48","IPv6SubnetMin":"fd44:244:0:100::",`
	plain  = `{` + v4 + `"Backend":{"Type":"vxlan"}}`
	dual   = `{` + v4 + v6 + `"Backend":{"Type":"vxlan"}}`
	direct = `{` + v4 + v6 + `"Backend":{"Type":"vxlan","DirectRouting":true}}`
	hostGW = `{` + v4 + v6 + `"Backend":{"Type":"host-gw"}}`
)

// soon is how long something may take that the project promises within a
// second. The test measures where it promises so; a busy machine gets longer.
const soon = 10 * time.Second

// outage is how long etcd is away in a test. It is short enough for a lease to be
// renewed a minute after the test's beginning.
var outage = flag.Duration("outage", 25*time.Second, "how long etcd is away")

// bin is where TestMain built vtepd and vtepctl; flanneld is where
// `.ci/deps flanneld` built the other one.
var bin, flanneld string

func TestMain(m *testing.M) {
	flag.Parse()
	// Most of the time is waiting, and the longest test is to begin at once.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "vtepd-flannel")
	if err == nil {
		err = lab.Build(dir)
	}
	if err == nil {
		flanneld, err = filepath.Abs("../../../../out/tools/flanneld")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func got[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// network makes a network without nodes.
func network(t testing.TB, config string) *flannel.Network {
	t.Helper()
	if testing.Short() {
		t.Skip("programs of their own are tested here, of which -race sees nothing")
	}
	l := lab.Start(t)
	if _, err := os.Stat(flanneld); err != nil {
		t.Fatal("there is no flanneld; `.ci/deps flanneld` builds it")
	}
	n, err := flannel.New(l, flannel.Options{Bin: bin, Flanneld: flanneld, Config: config})
	must(t, err)
	return n
}

// node makes a node. What ran on it says what it said when the test fails.
func node(t testing.TB, n *flannel.Network, name string) *flannel.Node {
	t.Helper()
	return watched(t, got[*flannel.Node](t)(n.Node(name)))
}

func offLink(t testing.TB, n *flannel.Network, name string) *flannel.Node {
	t.Helper()
	return watched(t, got[*flannel.Node](t)(n.OffLink(name)))
}

func watched(t testing.TB, n *flannel.Node) *flannel.Node {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		if n.Vtepd != nil && n.Vtepd.Proc != nil {
			t.Logf("vtepd on %s:\n%s", n.Name, n.Vtepd.Output())
		}
		if n.Flanneld != nil {
			t.Logf("flanneld on %s:\n%s", n.Name, n.Flanneld.Output())
		}
	})
	return n
}

// vtepds makes nodes that run vtepd and waits until they have joined.
func vtepds(t testing.TB, n *flannel.Network, names ...string) (nodes []*flannel.Node) {
	t.Helper()
	for _, name := range names {
		nodes = append(nodes, node(t, n, name))
	}
	for _, node := range nodes {
		must(t, node.StartVtepd())
	}
	for _, node := range nodes {
		must(t, node.Vtepd.WaitFor("joined the network", 30*time.Second))
	}
	return nodes
}

func pod(t testing.TB, n *flannel.Node) *flannel.Pod {
	t.Helper()
	return got[*flannel.Pod](t)(n.Pod())
}

func run(t testing.TB, h *lab.Host, args ...string) string {
	t.Helper()
	return got[string](t)(h.Run(args[0], args[1:]...))
}

func ctl(t testing.TB, n *flannel.Node, args ...string) string {
	t.Helper()
	return got[string](t)(n.Vtepd.Ctl(args...))
}

// leaseShow is what `vtepctl lease show` says.
func leaseShow(t testing.TB, n *flannel.Node) api.Lease {
	t.Helper()
	var all []api.Lease
	text := ctl(t, n, "-j", "lease", "show")
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		t.Fatalf("lease show: %v\n%s", err, text)
	}
	return all[0]
}

func eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	if err := lab.Until(soon, ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// absent fails while text mentions any of the words.
func absent(text string, words ...string) error {
	for _, w := range words {
		if strings.Contains(text, w) {
			return fmt.Errorf("%q is still there:\n%s", w, text)
		}
	}
	return nil
}

// present fails until text has all of the words.
func present(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("no %q in\n%s", w, text)
		}
	}
	return nil
}

// state is all that a node knows of others: the kernel's routes and neighbours,
// the daemon's prefixes, destinations and entries.
func state(t testing.TB, n *flannel.Node) string {
	t.Helper()
	text := run(t, n.Host, "sh", "-c", "ip -d route; ip -6 -d route; ip neigh; ip -6 neigh; bridge fdb")
	for _, args := range [][]string{{"route", "show"}, {"fdb", "show"}, {"neigh", "show"}, {"remote", "show"}} {
		out, err := n.Vtepd.Ctl(args...)
		if err != nil {
			out = err.Error()
		}
		text += fmt.Sprintf("vtepctl %s\n%s", strings.Join(args, " "), out)
	}
	return text
}

var errNotYet = errors.New("not yet")
