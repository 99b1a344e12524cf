package flannel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
	"vtepd/cmd/internal/lab/flannel"
)

// recorded returns key and value of a lease that flanneld wrote.
func recorded(t testing.TB, name string) (key, value string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../../route/flannel/testdata/flanneld", name+".etcd.txt"))
	must(t, err)
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if key, ok := strings.CutPrefix(line, flannel.Subnets); ok {
			return key, lines[i+1]
		}
	}
	t.Fatalf("no lease in %s", name)
	return "", ""
}

// shape is a lease without what is this node's: addresses and MACs of one
// length in place of all.
func shape(text string) string {
	for _, r := range []struct{ what, by string }{
		{`([0-9a-f]{2}:){5}[0-9a-f]{2}`, "MAC"},
		{`\d+\.\d+\.\d+\.\d+`, "IPV4"},
		{`[0-9a-f]*:[0-9a-f:]*:[0-9a-f]*`, "IPV6"},
	} {
		text = regexp.MustCompile(r.what).ReplaceAllString(text, r.by)
	}
	return text
}

// asRecorded compares a node's lease with what flanneld wrote for a network of
// the same configuration, to the byte but for addresses.
func asRecorded(t testing.TB, n *flannel.Network, node *flannel.Node, name string) {
	t.Helper()
	key, value := leaseOf(t, n, node)
	wantKey, wantValue := recorded(t, name)
	if shape(key) != shape(wantKey) || shape(value) != shape(wantValue) {
		t.Errorf("the lease is\n%s %s\nand flanneld wrote\n%s %s", key, value, wantKey, wantValue)
	}
}

// alike compares the leases of two nodes, to the byte but for addresses.
func alike(t testing.TB, n *flannel.Network, a, b *flannel.Node) {
	t.Helper()
	keyA, valueA := leaseOf(t, n, a)
	keyB, valueB := leaseOf(t, n, b)
	if shape(keyA) != shape(keyB) || shape(valueA) != shape(valueB) {
		t.Errorf("%s has\n%s %s\nand %s has\n%s %s", a.Name, keyA, valueA, b.Name, keyB, valueB)
	}
}

func leaseOf(t testing.TB, n *flannel.Network, node *flannel.Node) (key, value string) {
	t.Helper()
	key, value, err := n.Etcd.LeaseOf(node)
	must(t, err)
	return key, value
}

// grant returns the identity of the etcd lease that a key hangs on, "" for a
// reservation.
func grant(t testing.TB, n *flannel.Network, key string) string {
	t.Helper()
	text := got[string](t)(n.Etcd.Ctl("get", flannel.Subnets+key, "-w", "fields"))
	m := regexp.MustCompile(`"Lease" : (\d+)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no lease in %s", text)
	}
	id, err := strconv.ParseInt(m[1], 10, 64)
	must(t, err)
	if id == 0 {
		return ""
	}
	return strconv.FormatInt(id, 16)
}

// granted checks that a node's key has a day to live, and returns its etcd
// lease.
func granted(t testing.TB, n *flannel.Network, key string) string {
	t.Helper()
	id := grant(t, n, key)
	text := got[string](t)(n.Etcd.Ctl("lease", "timetolive", id, "--keys"))
	m := regexp.MustCompile(`granted with TTL\((\d+)s\), remaining\((\d+)s\), attached keys\(\[(.*)\]\)`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("timetolive: %s", text)
	}
	if left, err := strconv.Atoi(m[2]); err != nil || m[1] != "86400" || left > 86400 || left < 86000 || m[3] != flannel.Subnets+key {
		t.Errorf("timetolive: %s", text)
	}
	return id
}

// TestLastSubnets: of nodes that start at once, on as many free subnets, each
// gets one of its own. A node that comes too late says so, keeps running, and
// gets the subnet that becomes free. flanneld exits when another one was faster
// (interop.md 3.1.6 d).
func TestLastSubnets(t *testing.T) {
	t.Parallel()
	n := network(t, `{"Network":"10.244.0.0/16","SubnetMin":"10.244.1.0","SubnetMax":"10.244.3.0","Backend":{"Type":"vxlan"}}`)
	must(t, n.Etcd.Pause()) // all see the same when it goes on
	var nodes []*flannel.Node
	for _, name := range []string{"a", "b", "c"} {
		nodes = append(nodes, node(t, n, name))
		must(t, nodes[len(nodes)-1].StartVtepd())
	}
	must(t, n.Etcd.Resume())
	races := uint64(0)
	for _, node := range nodes {
		must(t, node.Vtepd.WaitFor("joined the network", 30*time.Second))
		races += leaseShow(t, node).Races
	}
	t.Logf("%d times somebody else was faster", races)
	keys := make(map[string]string)
	for _, node := range nodes {
		key, value := leaseOf(t, n, node)
		if l := leaseShow(t, node); l.Key != key || l.Value != value {
			t.Errorf("%s: lease show says %s %s, etcd %s %s", node.Name, l.Key, l.Value, key, value)
		}
		if other := keys[key]; other != "" {
			t.Errorf("%s and %s share %s", other, node.Name, key)
		}
		keys[key] = node.Name
		granted(t, n, key)
	}
	if leases := got[map[string]string](t)(n.Etcd.Leases()); len(leases) != len(nodes) {
		t.Errorf("leases: %v", leases)
	}
	late := node(t, n, "late")
	must(t, late.StartVtepd())
	eventually(t, "the node without a subnet says so", func() error {
		return present(ctl(t, late, "status"), "flannel: no lease yet: every subnet of the network is taken")
	})
	must(t, nodes[0].Vtepd.Stop())
	key, _ := leaseOf(t, n, nodes[0])
	must(t, n.Etcd.Delete(key))
	must(t, late.Vtepd.WaitFor("joined the network", 20*time.Second))
	if l := leaseShow(t, late); l.Key != key {
		t.Errorf("it has %s, free was %s", l.Key, key)
	}
}

// TestStoreFails: pods go on talking while etcd forgets, is away, and comes back
// without its data; what changed meanwhile is known soon after. On the way a
// lease is renewed, a reservation stays one, and an own key that somebody
// deletes comes back.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	n := network(t, plain)
	a, b := node(t, n, "a"), node(t, n, "b")
	must(t, n.Etcd.Put("10.244.177.0-24", flannel.Value(b.V4, "02:00:00:00:00:77", b.V6, "")))
	// 1439 minutes before its end is a minute after the beginning.
	file := a.File("renew.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, "flannel: {endpoints: [%q], interface: u0, subnet_file: %s, renew_margin: 1439m}\n", flannel.URL, a.Env), 0o600))
	var err error
	a.Vtepd, err = a.Host.Vtepd(bin, "--config", file)
	must(t, err)
	must(t, a.Vtepd.WaitFor("joined the network", 30*time.Second))
	began := time.Now()
	must(t, b.RunVtepd())
	asRecorded(t, n, a, "vxlan")
	keyA, valueA := leaseOf(t, n, a)
	first := granted(t, n, keyA)

	if key, value := leaseOf(t, n, b); key != "10.244.177.0-24" || grant(t, n, key) != "" || strings.Contains(value, "02:00:00:00:00:77") || !leaseShow(t, b).Reserved {
		t.Errorf("the reservation became %s %s with grant %q", key, value, grant(t, n, key))
	}
	podA, podB := pod(t, a), pod(t, b)
	must(t, n.Etcd.Delete(keyA))
	eventually(t, "the own lease that was deleted is there again", func() error {
		key, value, err := n.Etcd.LeaseOf(a)
		if err == nil && (key != keyA || value != valueA) {
			err = &lab.Final{Err: fmt.Errorf("another one: %s %s", key, value)}
		}
		return err
	})
	if id := granted(t, n, keyA); id == first {
		t.Error("it hangs on the grant from before")
	}
	must(t, podA.PingUntil(podB.V4.String(), soon))
	flow, err := podA.Start("ping", "-n", "-i", "0.05", podB.V4.String())
	must(t, err)

	knows := func(key string) {
		t.Helper()
		number, err := strconv.Atoi(strings.Split(key, ".")[2])
		must(t, err)
		must(t, n.Etcd.Put(key, flannel.Value(n.Foreign(number), "02:00:00:00:00:50", b.V6, "")))
		eventually(t, "a lease that comes is known", func() error {
			return present(run(t, a.Host, "ip", "route"), strings.Replace(key, "-", "/", 1)+" dev flannel.1")
		})
	}
	knows("10.244.50.0-24")
	must(t, n.Etcd.Compact())
	knows("10.244.51.0-24")

	must(t, n.Etcd.Kill())
	eventually(t, "status says that etcd is away", func() error {
		return present(ctl(t, a, "status"), "the store cannot be followed, the last state stays in force")
	})
	time.Sleep(*outage) // it is about this time
	if l := leaseShow(t, a); l.Peers != 3 {
		t.Errorf("after %v without etcd: %d peers", *outage, l.Peers)
	}
	must(t, n.Etcd.Start())
	must(t, n.Etcd.Delete("10.244.50.0-24"))
	must(t, n.Etcd.Compact())
	eventually(t, "a lease that went meanwhile is gone", func() error {
		return absent(run(t, a.Host, "ip", "route"), "10.244.50.0")
	})
	knows("10.244.52.0-24")

	renewed(t, n, a, keyA, began)

	must(t, n.Etcd.Wipe())
	eventually(t, "both nodes come back into the empty store", func() error {
		_, _, errA := n.Etcd.LeaseOf(a)
		_, _, errB := n.Etcd.LeaseOf(b)
		if errA != nil || errB != nil {
			return errNotYet
		}
		return nil
	})
	if key, value := leaseOf(t, n, a); key != keyA || value != valueA {
		t.Errorf("it came back as %s %s, before %s %s", key, value, keyA, valueA)
	}
	// The store forgot the other nodes, nobody deleted them: they stay, as they
	// would beside flanneld, until they write another lease.
	knows("10.244.53.0-24")
	must(t, present(state(t, a), "10.244.51.0", "10.244.52.0"))
	must(t, n.Etcd.Put("10.244.54.0-24", flannel.Value(n.Foreign(52), "02:00:00:00:00:50", b.V6, "")))
	eventually(t, "a node that is back has its new subnet only", func() error {
		return errors.Join(absent(state(t, a), "10.244.52.0"), present(state(t, a), "10.244.51.0", "10.244.54.0"))
	})
	unbroken(t, flow)
}

// renewed waits for the renewal that is due a minute after the beginning, which
// is a new grant that has a day to live.
func renewed(t *testing.T, n *flannel.Network, node *flannel.Node, key string, began time.Time) {
	t.Helper()
	before := leaseShow(t, node)
	old := granted(t, n, key)
	must(t, lab.Until(time.Until(began.Add(3*time.Minute)), func() error {
		if leaseShow(t, node).Renewals == before.Renewals {
			return errNotYet
		}
		return nil
	}))
	if id := granted(t, n, key); id == old {
		t.Error("the renewal is no new grant")
	}
}

// unbroken ends a ping and checks that every request was answered, but for one
// that is on its way at the end.
func unbroken(t *testing.T, flow *lab.Proc) {
	t.Helper()
	must(t, flow.Signal(os.Interrupt))
	_, err := flow.ExitCode(5 * time.Second)
	must(t, err)
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(flow.Output())
	if m == nil {
		t.Fatalf("ping said %s", flow.Output())
	}
	sent, _ := strconv.Atoi(m[1])
	back, _ := strconv.Atoi(m[2])
	if sent-back > 1 || sent < 100 {
		t.Errorf("%d pings sent, %d came back", sent, back)
	}
}
