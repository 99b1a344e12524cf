package daemon

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vtepd/cmd/internal/api"
	"vtepd/config"
)

// TestNode: a control plane's subnets go before the file's; while it waits for
// them no container runtime is told that pods can start.
func TestNode(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "vtep-cni"), "vtepd/cmd/vtep-cni").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(dir, "10-vtepd.conflist")
	quiet := strings.Replace(loopback, "vni: 42", "vni: 42, mtu: 1300", 1)
	asked := quiet + "cni: {enable: true, conf_dir: " + dir + ", bin_dir: " + dir + ", subnet: 10.1.0.0/24}\n"
	inNamespace(t, func(t *testing.T) {
		text := quiet
		d, _ := start(t, text, func() (*config.Config, error) { return parse(t, text), nil })
		defer func() { must(t, d.Close()) }()
		node := func(what string, told bool, want api.Node) {
			t.Helper()
			if told {
				want.Conflist = file
			}
			same := cmpopts.EquateComparable(netip.Prefix{})
			if diff := cmp.Diff(want, d.Node(), same, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
			if _, err := os.Stat(file); (err == nil) != told {
				t.Errorf("%s: a conflist: %v, want %v", what, err, told)
			}
		}
		prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
		node("nothing asked for", false, api.Node{MTU: 1300})
		if st := d.Status(); st.Node != nil {
			t.Errorf("a status of pods that nobody asked for: %v", st.Node)
		}
		d.SetPodSubnets(api.Flannel, &PodSubnets{Waiting: "etcd does not answer"})
		text = asked
		if _, err := d.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		node("waiting", false, api.Node{Waiting: "etcd does not answer"})
		d.SetPodSubnets(api.Flannel, &PodSubnets{Subnets: prefix("10.244.1.0/24"), MTU: 1450})
		node("the lease", true, api.Node{Subnets: prefix("10.244.1.0/24"), MTU: 1450, Source: api.Flannel})
		d.SetPodSubnets(api.Flannel, nil)
		node("the file's", true, api.Node{Subnets: prefix("10.1.0.0/24"), MTU: 1300, Source: api.Config})
		must(t, os.Remove(file))
		must(t, os.WriteFile(file, []byte("{}"), 0o600))
		text = strings.Replace(asked, "10.1.0.0/24", "10.2.0.0/24", 1)
		if _, err := d.Reload(context.Background()); err != nil {
			t.Fatal(err)
		}
		if p := strings.Join(d.Status().Problems, "\n"); !strings.Contains(p, "cni: "+file+" is not vtepd's") {
			t.Errorf("problems: %s", p)
		}
		must(t, os.Remove(file)) // and a moment later runtimes are told
		d.mu.Lock()
		d.tellRuntimes()
		d.mu.Unlock()
		node("told again", true, api.Node{Subnets: prefix("10.2.0.0/24"), MTU: 1300, Source: api.Config})
	})
}
