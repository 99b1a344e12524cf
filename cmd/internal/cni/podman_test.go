package cni_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vtepd/cmd/internal/lab"
)

// A podmanNode is a host with vtepd and a Podman of its own, whose containers
// are by the conflist that vtepd wrote.
type podmanNode struct {
	*lab.Host
	daemon *lab.Daemon
	inside string // a process in whose mount namespace Podman runs
	dir    string
}

// nodeConfig is the configuration of node n of two: pods have 10.244.n.0/24 and
// fd44:n::/64, those of the other node are behind its VTEP.
const nodeConfig = `
segments:
  - vni: 1
    mode: route
    device: vx1
    local: 192.0.2.%[1]d
    mac: 02:00:00:00:0a:0%[1]d
    address: [10.244.%[1]d.0/32, "fd44:%[1]d::/128"]
    prefixes:
      - {prefix: 10.244.%[2]d.0/24, via: 192.0.2.%[2]d, mac: 02:00:00:00:0a:0%[2]d}
      - {prefix: "fd44:%[2]d::/64", via: 192.0.2.%[2]d, mac: 02:00:00:00:0a:0%[2]d}
cni: {enable: true, conf_dir: %[3]s/net.d, bin_dir: %[3]s/bin, subnet: [10.244.%[1]d.0/24, "fd44:%[1]d::/64"]}
`

// podmanConfig takes CNI where a release prefers something else, and asks for
// no more than a container in a laboratory may have.
const podmanConfig = `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["%[1]s/bin"]
network_config_dir = "%[1]s/net.d"
default_network = "vtepd"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
`

func newPodmanNode(t *testing.T, h *lab.Host, n, other int) *podmanNode {
	t.Helper()
	p := &podmanNode{Host: h, dir: h.File("podman")}
	for _, d := range []string{"bin", "net.d", "rootfs/bin", "rootfs/proc", "rootfs/sys", "rootfs/dev", "rootfs/etc", "rootfs/run", "rootfs/tmp"} {
		must(t, os.MkdirAll(filepath.Join(p.dir, d), 0o755))
	}
	must(t, os.Symlink(filepath.Join(stock, "portmap"), filepath.Join(p.dir, "bin", "portmap")))
	busybox, err := os.ReadFile("/bin/busybox")
	must(t, err)
	must(t, os.WriteFile(filepath.Join(p.dir, "rootfs/bin/busybox"), busybox, 0o755))
	must(t, os.WriteFile(filepath.Join(p.dir, "containers.conf"), fmt.Appendf(nil, podmanConfig, p.dir), 0o644))
	p.daemon, err = h.VtepdFile(bin, fmt.Sprintf(nodeConfig, n, other, p.dir))
	must(t, err)
	p.enter(t)
	return p
}

// enter makes the mount namespace in which Podman's traces, the address store
// and the cgroups of the machine are not those of the machine.
func (p *podmanNode) enter(t *testing.T) {
	t.Helper()
	holder, err := p.Start("sh", "-c", `mkdir -p /var/lib/cni && mount -t tmpfs none /var/lib/cni && mount -t tmpfs none /run/netns &&
		mount -t tmpfs none /sys/fs/cgroup && echo ready && exec sleep 3600`)
	must(t, err)
	must(t, holder.WaitFor("ready", patience))
	p.inside = fmt.Sprint(holder.PID())
}

// podman runs Podman on the node.
func (p *podmanNode) podman(args ...string) (string, error) {
	return p.Run("nsenter", append([]string{"-t", p.inside, "-m", "-n", "env", "CONTAINERS_CONF=" + p.dir + "/containers.conf", "podman",
		"--root", p.dir + "/store", "--runroot", p.dir + "/run", "--tmpdir", p.dir + "/tmp", "--storage-driver", "vfs"}, args...)...)
}

// start starts a container that waits, and returns its addresses.
func (p *podmanNode) start(t *testing.T, name string, args ...string) (v4, v6 string) {
	t.Helper()
	args = append([]string{"run", "-d", "--name", name, "--cgroups=disabled", "--network", "vtepd"}, args...)
	_, err := p.podman(append(args, "--rootfs", p.dir+"/rootfs", "/bin/busybox", "sleep", "3600")...)
	must(t, err)
	out, err := p.podman("inspect", name, "--format", "{{json .NetworkSettings.Networks.vtepd}}")
	must(t, err)
	var network struct{ IPAddress, GlobalIPv6Address string }
	must(t, json.Unmarshal([]byte(out), &network))
	return network.IPAddress, network.GlobalIPv6Address
}

// exec runs a busybox applet in a container.
func (p *podmanNode) exec(name string, args ...string) (string, error) {
	return p.podman(append([]string{"exec", name, "/bin/busybox"}, args...)...)
}

// TestPodman: containers of Podman on two nodes reach each other in both
// families, with full-size packets too; a published port answers; removed
// containers leave nothing.
func TestPodman(t *testing.T) {
	if testing.Short() {
		t.Skip("programs of their own, in which the race detector sees nothing")
	}
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := newPodmanNode(t, hosts[0], 1, 2), newPodmanNode(t, hosts[1], 2, 1)
	a4, a6 := a.start(t, "one")
	b4, b6 := b.start(t, "two", "-p", "8080:80")
	if a4 != "10.244.1.2" || a6 != "fd44:1::2" || b4 != "10.244.2.2" || b6 != "fd44:2::2" {
		t.Fatalf("addresses %s %s, %s %s", a4, a6, b4, b6)
	}
	for _, to := range []string{b4, b6} {
		must(t, lab.Until(patience, func() error { _, err := a.exec("one", "ping", "-c1", "-W1", to); return err }))
	}
	if out, err := b.exec("two", "ping", "-c2", "-W2", "-s", "1422", a4); err != nil { // 1450 with its headers
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := b.exec("two", "cat", "/sys/class/net/eth0/mtu"); err != nil || strings.TrimSpace(out) != "1450" {
		t.Errorf("the container's MTU is %s: %v", out, err)
	}
	must(t, os.WriteFile(b.dir+"/rootfs/tmp/hello", []byte("from two\n"), 0o644))
	_, err := b.exec("two", "httpd", "-p", "80", "-h", "/tmp")
	must(t, err)
	must(t, lab.Until(patience, func() error {
		out, err := hosts[0].Run("sh", "-c", `printf 'GET /hello HTTP/1.0\r\n\r\n' | socat -T2 - TCP:192.0.2.2:8080,connect-timeout=1`)
		if err == nil && !strings.Contains(out, "from two") {
			err = fmt.Errorf("answered %q", out)
		}
		return err
	}))
	for _, c := range []struct {
		node *podmanNode
		name string
	}{{a, "one"}, {b, "two"}} {
		_, err := c.node.podman("rm", "-f", "-t0", c.name)
		must(t, err)
		out, err := c.node.Run("nsenter", "-t", c.node.inside, "-m", "-n", "sh", "-c", "ls /var/lib/cni/vtepd/vtepd; ip -br link show type veth; iptables-save -t nat")
		must(t, err)
		if strings.Contains(out, ".2\n") || strings.Contains(out, "veth") || strings.Contains(out, "8080") {
			t.Errorf("left:\n%s", out)
		}
	}
}
