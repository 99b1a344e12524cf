package flannel

import (
	"syscall"
	"testing"
	"time"

	"vtepd/cmd/internal/lab/flannel"
)

// TestReplace follows docs/flannel.md, "replace one flanneld node in five
// minutes": vtepd in flanneld's place has its subnet, the pod keeps its address
// and is reached; and back again.
func TestReplace(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{"vxlan": plain, "host-gw": `{` + v4 + `"Backend":{"Type":"host-gw"}}`} {
		t.Run(name, func(t *testing.T) {
			n := network(t, config)
			a, c := node(t, n, "a"), node(t, n, "c")
			must(t, a.RunFlanneld())
			must(t, c.RunFlanneld())
			podA, podC := pod(t, a), pod(t, c)
			talk(t, podA, podC)
			key, _ := leaseOf(t, n, c)

			stopFlanneld(t, c)
			// Step by step as the page has it.
			run(t, c.Host, "sh", "-c", "ip link del flannel.1 2>/dev/null; ip route flush proto boot root 10.244.0.0/16")
			run(t, c.Host, "iptables", "-t", "nat", "-D", "POSTROUTING", "-m", "comment", "--comment", "flanneld masq", "-j", "FLANNEL-POSTRTG")
			run(t, c.Host, "iptables", "-D", "FORWARD", "-m", "comment", "--comment", "flanneld forward", "-j", "FLANNEL-FWD")
			must(t, c.RunVtepd())
			if l := leaseShow(t, c); l.Key != key || len(l.Problems) != 0 {
				t.Errorf("vtepd has %s, flanneld had %s; problems %v", l.Key, key, l.Problems)
			}
			alike(t, n, a, c)
			talk(t, podA, podC)
			status := ctl(t, c, "status")
			if err := absent(status, "problem"); err != nil {
				t.Error(err)
			}

			end(t, c, syscall.SIGTERM)
			must(t, c.RunFlanneld())
			if again, _ := leaseOf(t, n, c); again != key {
				t.Errorf("flanneld has %s, before %s", again, key)
			}
			talk(t, podA, podC)
		})
	}
}

func stopFlanneld(t *testing.T, n *flannel.Node) {
	t.Helper()
	must(t, n.Flanneld.Signal(syscall.SIGTERM))
	_, err := n.Flanneld.ExitCode(10 * time.Second)
	must(t, err)
}
