package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// A flannelNet is hosts with an etcd on the first.
type flannelNet struct {
	t     *testing.T
	hosts []*lab.Host
	etcd  *lab.Proc
	n     int // of etcd's data folder
}

const etcdAt = "http://192.0.2.1:2379"

// newFlannelNet makes n hosts, of which the first also runs etcd with a
// network's configuration in it.
func newFlannelNet(t *testing.T, n int, config string) *flannelNet {
	t.Helper()
	f := &flannelNet{t: t, hosts: lab.Hosts(t, n, lab.Wire{})}
	f.startEtcd()
	f.ctl("put", "/coreos.com/network/config", config)
	return f
}

func (f *flannelNet) startEtcd() {
	f.t.Helper()
	var err error
	f.etcd, err = f.hosts[0].Start("etcd", "--data-dir", f.hosts[0].File(fmt.Sprintf("etcd%d", f.n)), "--logger", "zap",
		"--listen-client-urls", etcdAt, "--advertise-client-urls", etcdAt,
		"--listen-peer-urls", "http://192.0.2.1:2380", "--initial-advertise-peer-urls", "http://192.0.2.1:2380", "--initial-cluster", "default=http://192.0.2.1:2380")
	must(f.t, err)
	must(f.t, f.etcd.WaitFor("serving client traffic", 20*time.Second))
}

// ctl runs etcdctl.
func (f *flannelNet) ctl(args ...string) string {
	f.t.Helper()
	return run(f.t, f.hosts[0], append([]string{"env", "ETCDCTL_API=3", "etcdctl", "--endpoints", etcdAt}, args...)...)
}

// A flannelNode is vtepd in the network.
type flannelNode struct {
	*lab.Daemon
	f      *flannelNet
	host   *lab.Host
	number int
	env    string // path of subnet.env
}

// node starts vtepd on host i, and waits until it has joined.
func (f *flannelNet) node(i int, args ...string) *flannelNode {
	f.t.Helper()
	n := f.start(i, args...)
	n.joined()
	return n
}

func (f *flannelNet) start(i int, args ...string) *flannelNode {
	f.t.Helper()
	h := f.hosts[i]
	n := &flannelNode{f: f, host: h, number: i, env: h.File("subnet.env")}
	n.Daemon = vtepd(f.t, h, append([]string{"--flannel-etcd", etcdAt, "--flannel-interface", "u0", "--subnet-file", n.env}, args...)...)
	return n
}

func (n *flannelNode) joined() {
	n.f.t.Helper()
	must(n.f.t, n.WaitFor("joined the network", 20*time.Second))
}

// lease is what `vtepctl lease show -j` says.
func (n *flannelNode) lease() api.Lease {
	n.f.t.Helper()
	out, err := n.Ctl("-j", "lease", "show")
	must(n.f.t, err)
	var all []api.Lease
	must(n.f.t, json.Unmarshal([]byte(out), &all))
	if len(all) != 1 {
		n.f.t.Fatalf("lease show: %s", out)
	}
	return all[0]
}

// eventually waits until ok, at most a second as users are promised where it is
// about one event, here with time for a slow machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// podOn puts a pod into the node's subnet, as a CNI plugin would.
func (n *flannelNode) podOn() (pod *lab.Host, addr string) {
	n.f.t.Helper()
	e := readEnv(n.f.t, n.env)
	gateway := e["FLANNEL_SUBNET"]
	addr = strings.TrimSuffix(gateway, ".1/24") + ".5"
	run(n.f.t, n.host, "ip", "link", "add", "name", "cni0", "type", "bridge")
	run(n.f.t, n.host, "ip", "link", "set", "cni0", "mtu", e["FLANNEL_MTU"], "up")
	run(n.f.t, n.host, "ip", "addr", "add", gateway, "dev", "cni0")
	var mtu int
	_, err := fmt.Sscan(e["FLANNEL_MTU"], &mtu)
	must(n.f.t, err)
	pod, err = n.host.Station(fmt.Sprintf("pod%d", n.number), "cni0", addr+"/24", mtu)
	must(n.f.t, err)
	run(n.f.t, pod, "ip", "route", "add", "default", "via", strings.TrimSuffix(gateway, "/24"))
	return pod, addr
}

// reaches waits until a pod reaches an address: forwarding by a bridge is
// switched on when the daemon sees it.
func reaches(t *testing.T, from *lab.Host, addr string) {
	t.Helper()
	eventually(t, "a ping to "+addr, func() bool {
		_, err := from.Run("ping", "-c", "1", "-W", "1", addr)
		return err == nil
	})
}

func readEnv(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	out := map[string]string{}
	for _, line := range strings.Fields(string(data)) {
		key, value, _ := strings.Cut(line, "=")
		out[key] = value
	}
	return out
}

// TestFlannelJoin: two nodes without a file join a network, and pods reach one
// another; a stop leaves the lease and subnet.env, and takes the device.
func TestFlannelJoin(t *testing.T) {
	f := newFlannelNet(t, 2, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`)
	a, b := f.node(0), f.node(1)
	podA, _ := a.podOn()
	_, addrB := b.podOn()
	l := b.lease()
	if !l.Connected || l.Device != "flannel.1" || l.Port != 8472 || l.MTU != 1450 || len(l.Problems) != 0 {
		t.Errorf("%+v", l)
	}
	if got := f.ctl("get", "/coreos.com/network/subnets/"+l.Key); !strings.Contains(got, l.Value) || !strings.Contains(got, `{"PublicIP":"192.0.2.2","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"`) {
		t.Errorf("etcd has %s", got)
	}
	if got := run(t, b.host, "ip", "-d", "addr", "show", "flannel.1"); !strings.Contains(got, strings.Replace(l.Subnets[0].String(), "/24", "/32", 1)) || !strings.Contains(got, "mtu 1450") {
		t.Errorf("the device: %s", got)
	}
	eventually(t, "a route", func() bool {
		return strings.Contains(run(t, a.host, "ip", "route"), l.Subnets[0].String()+" dev flannel.1")
	})
	reaches(t, podA, addrB)
	run(t, podA, "ping", "-c", "2", "-W", "2", "-M", "do", "-s", "1422", addrB)
	if out, err := a.Ctl("status"); err != nil || !strings.Contains(out, "source flannel connected, 1 leases of others, 0 refused") {
		t.Errorf("%s %v", out, err)
	}
	must(t, b.Stop())
	if got := f.ctl("get", "/coreos.com/network/subnets/"+l.Key); !strings.Contains(got, l.Value) {
		t.Errorf("after a stop etcd has %q", got)
	}
	if e := readEnv(t, b.env); e["FLANNEL_MTU"] != "1450" || e["FLANNEL_IPMASQ"] != "true" || e["FLANNEL_NETWORK"] != "10.244.0.0/16" {
		t.Errorf("%v", e)
	}
	if out := run(t, b.host, "ip", "-o", "link"); strings.Contains(out, "flannel.1") {
		t.Errorf("the device stayed: %s", out)
	}
	again := f.node(1)
	if got := again.lease(); got.Key != l.Key || got.Value != l.Value {
		t.Errorf("after a start %s %s, before %s %s", got.Key, got.Value, l.Key, l.Value)
	}
	reaches(t, podA, addrB)
}
