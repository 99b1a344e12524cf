package cni_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
)

// bin is where TestMain built vtepd, vtep-cni and cnitool; the stock plugins
// are linked into it.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vtep-cni")
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// stock is where Debian has the plugins of the CNI project.
const stock = "/usr/lib/cni"

func build(dir string) error {
	if err := lab.Build(dir); err != nil {
		return err
	}
	// The version is that of go.mod.
	if out, err := exec.Command("go", "build", "-o", dir+"/", "github.com/containernetworking/cni/cnitool").CombinedOutput(); err != nil {
		return fmt.Errorf("cnitool: %w\n%s", err, out)
	}
	for _, p := range []string{"portmap", "bandwidth"} {
		if err := os.Symlink(filepath.Join(stock, p), filepath.Join(dir, p)); err != nil {
			return err
		}
	}
	return nil
}

// patience is how long a test waits for what must happen soon.
const patience = 5 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A node is a host with an address store of its own and network configurations.
type node struct {
	*lab.Host
	lab  *lab.Lab
	data string // the address store
	conf string // the folder of network configurations
}

func newNode(t testing.TB) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("programs of their own, in which the race detector sees nothing")
	}
	l := lab.Start(t)
	h, err := l.Host("node")
	must(t, err)
	n := &node{h, l, h.File("data"), h.File("conf")}
	must(t, os.MkdirAll(n.conf, 0o755))
	must(t, os.MkdirAll(n.cache(), 0o755))
	return n
}

// cache is where libcni remembers its attachments, in place of /var/lib/cni.
func (n *node) cache() string { return n.File("cache") }

// pod makes a network namespace and returns its path.
func (n *node) pod(t testing.TB, name string) (*lab.Host, string) {
	t.Helper()
	h, err := n.lab.Host(name)
	must(t, err)
	return h, "/var/run/netns/" + h.Name
}

// write writes a network configuration with vtep-cni, keys and further plugins.
func (n *node) write(t testing.TB, version, name, keys string, more ...string) {
	t.Helper()
	plugins := append([]string{fmt.Sprintf(`{"type":"vtep-cni","dataDir":%q%s}`, n.data, comma(keys))}, more...)
	text := fmt.Sprintf(`{"cniVersion":%q,"name":%q,"plugins":[%s]}`, version, name, strings.Join(plugins, ","))
	must(t, os.WriteFile(filepath.Join(n.conf, name+".conflist"), []byte(text), 0o644))
}

func comma(keys string) string {
	if keys == "" {
		return ""
	}
	return "," + keys
}

// tool runs cnitool on the node.
func (n *node) tool(verb, network, netns string, env ...string) (string, error) {
	script := fmt.Sprintf(`mkdir -p /var/lib/cni && mount --bind %s /var/lib/cni && exec env CNI_PATH=%s NETCONFPATH=%s "$@"`, n.cache(), bin, n.conf)
	args := append([]string{"-c", script, "sh"}, env...)
	return n.Run("sh", append(args, filepath.Join(bin, "cnitool"), verb, network, netns)...)
}

// A result is what ADD answers, in any version.
type result struct {
	CNIVersion string `json:"cniVersion"`
	Interfaces []struct {
		Name, Mac, Sandbox string
		MTU                int
	} `json:"interfaces"`
	IPs []struct {
		Version   string       `json:"version"`
		Address   netip.Prefix `json:"address"`
		Gateway   netip.Addr   `json:"gateway"`
		Interface int          `json:"interface"`
	} `json:"ips"`
	Routes []struct {
		Dst netip.Prefix `json:"dst"`
		GW  netip.Addr   `json:"gw"`
	} `json:"routes"`
}

// add attaches a pod by cnitool.
func (n *node) add(t testing.TB, network, netns string, env ...string) result {
	t.Helper()
	out, err := n.tool("add", network, netns, env...)
	must(t, err)
	var r result
	must(t, json.Unmarshal([]byte(out), &r))
	return r
}

// A cniError is what a plugin prints when it refuses.
type cniError struct {
	Code    int    `json:"code"`
	Msg     string `json:"msg"`
	Details string `json:"details"`
}

func (e *cniError) Error() string { return fmt.Sprintf("code %d: %s; %s", e.Code, e.Msg, e.Details) }

// plugin runs vtep-cni itself, without cnitool. A refusal is a *cniError.
func (n *node) plugin(command, conf, id, netns, ifname string) (string, error) {
	f, err := os.CreateTemp(n.lab.Dir(), "stdin")
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteString(conf); err != nil {
		return "", err
	}
	out, err := n.Run("sh", "-c", `exec env -i CNI_COMMAND="$1" CNI_CONTAINERID="$2" CNI_NETNS="$3" CNI_IFNAME="$4" CNI_PATH="$5" "$5/vtep-cni" <"$6"`,
		"sh", command, id, netns, ifname, bin, f.Name())
	if err == nil {
		return out, nil
	}
	e := new(cniError)
	if json.Unmarshal([]byte(out), e) != nil || e.Code == 0 {
		return out, &lab.Final{Err: err}
	}
	return out, e
}

// code is that of a refusal, 0 of none.
func code(t testing.TB, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var e *cniError
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	return e.Code
}

// held lists the addresses that the store holds.
func (n *node) held(t testing.TB, network string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.data, network))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(t, err)
	var all []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name())
		}
	}
	return all
}

// veths lists the host's ends of the pods' interfaces.
func (n *node) veths(t testing.TB) []string {
	t.Helper()
	out, err := n.Run("ip", "-j", "link", "show", "type", "veth")
	must(t, err)
	var links []struct {
		Ifname string `json:"ifname"`
	}
	must(t, json.Unmarshal([]byte(out), &links))
	var all []string
	for _, l := range links {
		if strings.HasPrefix(l.Ifname, "veth") {
			all = append(all, l.Ifname)
		}
	}
	return all
}

// clean wants nothing of a network to be left on the node.
func (n *node) clean(t testing.TB, network string) {
	t.Helper()
	if held := n.held(t, network); len(held) > 0 {
		t.Errorf("still held: %v", held)
	}
	if veths := n.veths(t); len(veths) > 0 {
		t.Errorf("still there: %v", veths)
	}
	if rules, err := n.Run("nft", "list", "tables"); err != nil || strings.Contains(rules, "vtep-cni") {
		t.Errorf("still there: %s %v", rules, err)
	}
}

func ping(t testing.TB, h *lab.Host, to netip.Addr) {
	t.Helper()
	must(t, h.PingUntil(to.String(), 5*time.Second))
}
