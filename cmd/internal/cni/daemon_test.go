package cni_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// own is a network configuration that asks the daemon for the subnet.
func (n *node) own(version, keys string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"pods","type":"vtep-cni","dataDir":%q%s}`, version, n.data, comma(keys))
}

// TestSubnetFromTheDaemon: subnet and MTU are the daemon's; when it is down ADD
// is to be tried again and STATUS says so, DEL and GC do their work.
func TestSubnetFromTheDaemon(t *testing.T) {
	n := newNode(t)
	file := n.File("vtepd.yaml")
	must(t, os.WriteFile(file, []byte("cni: {subnet: [10.244.1.0/24, 'fd00:1::/64']}\nsegments: [{vni: 42, mtu: 1300, remotes: []}]\n"), 0o600))
	start := func() *lab.Daemon {
		d, err := n.Vtepd(bin, "--config", file)
		must(t, err)
		return d
	}
	d := start()
	conf := func() string { return n.own("1.1.0", fmt.Sprintf(`"control":%q`, d.Control())) }
	_, path := n.pod(t, "p")
	out, err := n.plugin("ADD", conf(), "c1", path, "eth0")
	must(t, err)
	var r result
	must(t, json.Unmarshal([]byte(out), &r))
	if r.IPs[0].Address.String() != "10.244.1.2/24" || r.IPs[1].Address.String() != "fd00:1::2/64" || r.Interfaces[2].MTU != 1300 {
		t.Errorf("%+v", r)
	}
	if _, err := n.plugin("STATUS", conf(), "", "", ""); err != nil {
		t.Error(err)
	}
	_, path2 := n.pod(t, "q")
	_, err = n.plugin("ADD", conf(), "c2", path2, "eth0")
	must(t, err)
	must(t, d.Stop())
	_, path3 := n.pod(t, "r")
	_, err = n.plugin("ADD", conf(), "c3", path3, "eth0")
	if code(t, err) != 11 || !strings.Contains(err.Error(), "vtepd does not answer") || !strings.Contains(err.Error(), d.Control()) {
		t.Errorf("ADD without a daemon: %v", err)
	}
	if _, err = n.plugin("STATUS", conf(), "", "", ""); code(t, err) != 50 {
		t.Errorf("STATUS without a daemon: %v", err)
	}
	// With a subnet of its own the network does not need the daemon.
	if _, err = n.plugin("STATUS", n.own("1.1.0", `"subnet":"10.9.0.0/24","control":"/nowhere"`), "", "", ""); err != nil {
		t.Error(err)
	}
	for range 2 {
		_, err = n.plugin("DEL", conf(), "c1", path, "eth0")
		must(t, err)
	}
	if held := n.held(t, "pods"); !slices.Equal(held, []string{"10.244.1.3", "fd00:1::3"}) {
		t.Errorf("held: %v", held)
	}
	_, err = n.plugin("GC", n.own("1.1.0", `"cni.dev/valid-attachments":[]`), "", "", "")
	must(t, err)
	n.clean(t, "pods")
	d = start()
	_, err = n.plugin("ADD", conf(), "c3", path3, "eth0")
	must(t, err)
}

// TestNoSubnet: a daemon that has no subnet is said so, with the file that might
// have helped and what to write.
func TestNoSubnet(t *testing.T) {
	n := newNode(t)
	d, err := n.Vtepd(bin, "--vni", "42", "--remote", "")
	must(t, err)
	file := n.File("subnet.env")
	keys := fmt.Sprintf(`"control":%q,"subnetFile":%q`, d.Control(), file)
	_, path := n.pod(t, "p")
	_, err = n.plugin("ADD", n.own("1.0.0", keys), "c1", path, "eth0")
	if code(t, err) != 7 || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), `write "subnet"`) {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(file, []byte("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_MTU=1350\nFLANNEL_IPMASQ=true\n"), 0o644))
	must(t, d.Stop()) // a file that is named serves without the daemon
	out, err := n.plugin("ADD", n.own("1.1.0", keys), "c1", path, "eth0")
	must(t, err)
	var r result
	must(t, json.Unmarshal([]byte(out), &r))
	if r.IPs[0].Address.String() != "10.244.7.2/24" || r.Interfaces[2].MTU != 1350 {
		t.Errorf("%+v", r)
	}
}

// TestParallel: 200 ADDs at once, the daemon restarted meanwhile, have 200
// addresses; whoever is told to try again does.
func TestParallel(t *testing.T) {
	const pods, each = 20, 10
	n := newNode(t)
	file, sock := n.File("vtepd.yaml"), n.File("sock")
	must(t, os.WriteFile(file, []byte("cni: {subnet: 10.244.1.0/24}\ncontrol: {path: "+sock+"}\n"), 0o600))
	start := func() *lab.Proc {
		p, err := n.Start(filepath.Join(bin, "vtepd"), "run", "--config", file)
		must(t, err)
		must(t, p.WaitFor("forwarding", 20*time.Second))
		return p
	}
	d := start()
	conf := n.own("1.0.0", fmt.Sprintf(`"control":%q,"isGateway":false`, sock))
	var g errgroup.Group
	g.SetLimit(50)
	addrs := make([]string, pods*each)
	for i := range pods {
		_, path := n.pod(t, fmt.Sprint(i))
		for j := range each {
			g.Go(func() error {
				id := fmt.Sprintf("c%d", i)
				return lab.Until(60*time.Second, func() error {
					out, err := n.plugin("ADD", conf, id, path, fmt.Sprintf("eth%d", j))
					if err == nil {
						addrs[i*each+j] = out
						return nil
					}
					var e *cniError
					if !errors.As(err, &e) || e.Code != 11 {
						return &lab.Final{Err: err}
					}
					_, err = n.plugin("DEL", conf, id, path, fmt.Sprintf("eth%d", j))
					return errors.Join(e, err)
				})
			})
		}
		if i == pods/2 {
			must(t, d.Stop())
			d = start()
		}
	}
	must(t, g.Wait())
	seen := map[string]bool{}
	for _, out := range addrs {
		var r result
		must(t, json.Unmarshal([]byte(out), &r))
		seen[r.IPs[0].Address.String()] = true
	}
	if len(seen) != pods*each || len(n.held(t, "pods")) != pods*each || len(n.veths(t)) != pods*each {
		t.Errorf("%d addresses, %d held, %d interfaces", len(seen), len(n.held(t, "pods")), len(n.veths(t)))
	}
	_, err := n.plugin("GC", n.own("1.1.0", ""), "", "", "")
	must(t, err)
	n.clean(t, "pods")
}

// TestReboot: the node starts anew, files kept and namespaces gone. GC frees
// what belonged to them, also what a crash cut short; those that are valid keep
// theirs.
func TestReboot(t *testing.T) {
	n := newNode(t)
	conf := n.own("1.1.0", `"subnet":"10.244.1.0/24","ipMasq":true`)
	for i := range 3 {
		_, path := n.pod(t, fmt.Sprint(i))
		_, err := n.plugin("ADD", conf, fmt.Sprintf("c%d", i), path, "eth0")
		must(t, err)
	}
	again := &node{Host: n.Host, lab: n.lab, data: n.data, conf: n.conf}
	h, err := n.lab.Host("rebooted")
	must(t, err)
	again.Host = h
	must(t, os.WriteFile(filepath.Join(n.data, "pods", "10.244.1.9"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(n.data, "pods", ".tmp-1"), []byte("c"), 0o600))
	_, path := again.pod(t, "new")
	_, err = again.plugin("ADD", conf, "new", path, "eth0")
	must(t, err)
	_, err = again.plugin("GC", again.own("1.1.0", `"cni.dev/valid-attachments":[{"containerID":"new","ifname":"eth0"}]`), "", "", "")
	must(t, err)
	if held := again.held(t, "pods"); !slices.Equal(held, []string{"10.244.1.5"}) || len(again.veths(t)) != 1 {
		t.Errorf("held %v, interfaces %v", held, again.veths(t))
	}
	if rules, err := again.Run("nft", "list", "tables"); err != nil || !strings.Contains(rules, "vtep-cni") {
		t.Errorf("the masquerade of a network with a pod is gone: %v", err)
	}
	_, err = again.plugin("GC", again.own("1.1.0", `"cni.dev/valid-attachments":[]`), "", "", "")
	must(t, err)
	again.clean(t, "pods")
}

// TestReallyRebooted: after a boot of the machine the first command frees what
// the one before left, for runtimes that know no GC.
func TestReallyRebooted(t *testing.T) {
	n := newNode(t)
	conf := n.own("1.0.0", `"subnet":"10.244.1.0/24"`)
	_, path := n.pod(t, "p")
	_, err := n.plugin("ADD", conf, "before", path, "eth0")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(n.data, "pods", ".boot"), []byte("11111111-2222-3333-4444-555555555555"), 0o600))
	_, path = n.pod(t, "q")
	_, err = n.plugin("ADD", conf, "after", path, "eth0")
	must(t, err)
	if held := n.held(t, "pods"); !slices.Equal(held, []string{"10.244.1.3"}) {
		t.Errorf("held: %v", held)
	}
}

// TestSubnetMoves: the node has another subnet than before. The old gateway
// stays for as long as a pod has an address of its subnet; then that subnet may
// be another node's.
func TestSubnetMoves(t *testing.T) {
	n := newNode(t)
	var paths []string
	add := func(id, subnets string) {
		t.Helper()
		_, path := n.pod(t, id)
		paths = append(paths, path)
		_, err := n.plugin("ADD", n.own("1.0.0", `"subnet":`+subnets), id, path, "eth0")
		must(t, err)
	}
	bridge := func(want ...string) {
		t.Helper()
		out, err := n.Run("ip", "-br", "addr", "show", "cni0", "scope", "global")
		must(t, err)
		if f := strings.Fields(out)[2:]; !slices.Equal(f, want) {
			t.Errorf("the bridge has %v, want %v", f, want)
		}
	}
	add("c1", `["10.244.1.0/24","fd00:1::/64"]`)
	_, err := n.Run("ip", "addr", "add", "10.9.0.1/24", "dev", "cni0") // somebody else's
	must(t, err)
	add("c2", `["10.244.2.0/24","fd00:2::/64"]`)
	bridge("10.244.1.1/24", "10.9.0.1/24", "10.244.2.1/24", "fd00:2::1/64", "fd00:1::1/64")
	_, err = n.plugin("DEL", n.own("1.0.0", ""), "c1", paths[0], "eth0")
	must(t, err)
	add("c3", `["10.244.2.0/24","fd00:2::/64"]`)
	bridge("10.9.0.1/24", "10.244.2.1/24", "fd00:2::1/64")
}

// TestStrayLink: GC removes an interface that an ADD left which was killed
// before, and no other.
func TestStrayLink(t *testing.T) {
	n := newNode(t)
	_, path := n.pod(t, "p")
	conf := n.own("1.1.0", `"subnet":"10.244.1.0/24"`)
	_, err := n.plugin("ADD", conf, "c1", path, "eth0")
	must(t, err)
	must(t, os.RemoveAll(n.data))
	_, err = n.Run("ip", "link", "add", "vethother", "type", "veth", "peer", "name", "vethpeer")
	must(t, err)
	_, err = n.plugin("GC", conf, "", "", "")
	must(t, err)
	if v := n.veths(t); len(v) != 2 || !slices.Contains(v, "vethother") {
		t.Errorf("left: %v", v)
	}
	// An ADD for the same attachment takes the place of what was left of it.
	_, err = n.plugin("ADD", conf, "c1", path, "eth0")
	must(t, err)
	must(t, os.RemoveAll(n.data))
	_, err = n.plugin("ADD", conf, "c1", path, "eth0")
	must(t, err)
}

// TestBadInput: what the runtime or a user got wrong has the specification's
// code and names the key.
func TestBadInput(t *testing.T) {
	n := newNode(t)
	_, path := n.pod(t, "p")
	for _, test := range []struct {
		conf string
		code int
		text string
	}{
		{`{"cniVersion":"1.0.0","name":"x"`, 6, ""},
		{n.own("2.0.0", ""), 1, ""},
		{n.own("1.0.0", `"subnet":1`), 7, "subnet: 1 is not a CIDR"},
		{n.own("1.0.0", `"subnet":"10.244.1.0"`), 7, `subnet: "10.244.1.0" is not a CIDR`},
		{n.own("1.0.0", `"subnet":["10.0.0.0/8","10.1.0.0/16"]`), 7, "overlaps"},
		{n.own("1.0.0", `"subnet":"10.0.0.0/31"`), 7, "subnet: subnet 10.0.0.0/31 is too small"},
		{n.own("1.0.0", `"mtu":"big"`), 7, `mtu: "big" is not a number`},
		{n.own("1.0.0", `"mtu":67`), 7, "mtu: 67 is not a number from 68 to 65535"},
		{n.own("1.0.0", `"mtu":1000,"subnet":"fd00::/64"`), 7, "mtu: 1000 is too small for IPv6"},
		{n.own("1.0.0", `"bridge":"a/b"`), 7, "bridge: "},
		{n.own("1.0.0", `"bridge":"abcdefghijklmnop"`), 7, "bridge: "},
		{n.own("1.0.0", `"isGateway":"yes"`), 7, `isGateway: "yes" is not true or false`},
		{n.own("1.0.0", `"hairpinMode":1`), 7, "hairpinMode: "},
		{n.own("1.0.0", `"ipMasq":[]`), 7, "ipMasq: "},
		{n.own("1.0.0", `"control":"relative"`), 7, "control: "},
		{n.own("1.0.0", `"subnetFile":""`), 7, "subnetFile: "},
		{n.own("1.0.0", `"dataDir":"../x"`), 7, "dataDir: "},
		{strings.Replace(n.own("1.0.0", ""), `"pods"`, `"../pods"`, 1), 7, "network name"},
		{strings.Replace(n.own("1.0.0", `"subnet":"10.0.0.0/24"`), `"pods"`, `"`+strings.Repeat("p", 201)+`"`, 1), 7, "name: "},
	} {
		_, err := n.plugin("ADD", test.conf, "c1", path, "eth0")
		if code(t, err) != test.code || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", test.conf, err)
		}
	}
	good := n.own("1.0.0", `"subnet":"10.0.0.0/24","args":{"x":1},"runtimeConfig":{},"capabilities":{"x":true},"ipam":{},"unknown":[1]`)
	for _, names := range [][2]string{{"../c1", "eth0"}, {"c1", "../eth0"}, {"c1", "e th0"}, {"c1", "abcdefghijklmnop"}} {
		if _, err := n.plugin("ADD", good, names[0], path, names[1]); code(t, err) != 4 {
			t.Errorf("%q: %v", names, err)
		}
	}
	if _, err := n.plugin("CHECK", good, "c1", path, "eth0"); code(t, err) != 7 || !strings.Contains(err.Error(), "prevResult") {
		t.Errorf("CHECK without prevResult: %v", err)
	}
	if held := n.held(t, "pods"); len(held) > 0 {
		t.Errorf("held: %v", held)
	}
	_, err := n.plugin("ADD", good, "c1", path, "eth0")
	must(t, err)
	out, err := n.plugin("VERSION", "", "", "", "")
	if err != nil || !strings.Contains(out, `["0.3.1","0.4.0","1.0.0","1.1.0"]`) {
		t.Errorf("VERSION: %s %v", out, err)
	}
}

// TestFull: a subnet without a free address is said so.
func TestFull(t *testing.T) {
	n := newNode(t)
	conf := n.own("1.0.0", `"subnet":"10.0.0.0/30","isGateway":false`)
	_, path := n.pod(t, "p")
	_, err := n.plugin("ADD", conf, "c1", path, "eth0")
	must(t, err)
	_, err = n.plugin("ADD", conf, "c1", path, "eth1")
	if code(t, err) != 100 || !strings.Contains(err.Error(), "subnet 10.0.0.0/30 is full: all 1 addresses are taken") {
		t.Errorf("%v", err)
	}
}

// TestConflist: the daemon tells runtimes, and a pod starts by what it wrote.
func TestConflist(t *testing.T) {
	n := newNode(t)
	confDir, binDir := n.File("net.d"), n.File("cni-bin")
	must(t, os.MkdirAll(binDir, 0o755))
	must(t, os.Symlink(filepath.Join(stock, "portmap"), filepath.Join(binDir, "portmap")))
	text := fmt.Sprintf("cni: {enable: true, conf_dir: %s, bin_dir: %s, subnet: 10.244.1.0/24}\n", confDir, binDir)
	d, err := n.VtepdFile(bin, text)
	must(t, err)
	file := filepath.Join(confDir, "10-vtepd.conflist")
	b, err := os.ReadFile(file)
	must(t, err)
	var list struct {
		CNIVersion, Name string
		Plugins          []struct{ Type, Control string }
	}
	must(t, json.Unmarshal(b, &list))
	if list.CNIVersion != "1.0.0" || list.Name != "vtepd" || len(list.Plugins) != 2 || list.Plugins[0].Type != "vtep-cni" ||
		list.Plugins[0].Control != d.Control() || list.Plugins[1].Type != "portmap" {
		t.Errorf("%s", b)
	}
	var st api.Status
	out, err := d.Ctl("-j", "status")
	must(t, err)
	must(t, json.Unmarshal([]byte(out), &st))
	if st.Node == nil || st.Node.Conflist != file || st.Node.Source != api.Config || len(st.Problems) != 0 {
		t.Errorf("%s", out)
	}
	_, path := n.pod(t, "p")
	script := fmt.Sprintf(`mkdir -p /var/lib/cni && mount --bind %s /var/lib/cni && exec env CNI_PATH=%s NETCONFPATH=%s "$@"`, n.cache(), binDir, confDir)
	_, err = n.Run("sh", "-c", script, "sh", filepath.Join(bin, "cnitool"), "add", "vtepd", path)
	must(t, err)
	must(t, d.Stop())
	if _, err := os.Stat(file); err != nil {
		t.Error("the conflist is gone with the daemon")
	}
	_, err = n.Run("sh", "-c", script, "sh", filepath.Join(bin, "cnitool"), "del", "vtepd", path)
	must(t, err)
}

// TestKilled: an ADD that is killed at any moment is cleaned up by the DEL that
// follows it.
func TestKilled(t *testing.T) {
	n := newNode(t)
	conf := n.own("1.0.0", `"subnet":["10.244.1.0/24","fd00:1::/64"],"ipMasq":true`)
	file := n.File("conf.json")
	must(t, os.WriteFile(file, []byte(conf), 0o600))
	_, path := n.pod(t, "p")
	finished := 0
	for i := range 20 {
		p, err := n.Start("sh", "-c", `exec env -i CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_NETNS="$1" CNI_IFNAME=eth0 CNI_PATH=/ "$2/vtep-cni" <"$3"`, "sh", path, bin, file)
		must(t, err)
		if err := p.Wait(time.Duration(6*i) * time.Millisecond); err == nil {
			finished++
		} else {
			must(t, p.Signal(os.Kill))
			_, err = p.ExitCode(patience)
			must(t, err)
		}
		_, err = n.plugin("DEL", conf, "c1", path, "eth0")
		must(t, err)
		n.clean(t, "pods")
	}
	t.Logf("%d of 20 had finished", finished)
	_, err := n.plugin("ADD", conf, "c1", path, "eth0")
	must(t, err)
}
