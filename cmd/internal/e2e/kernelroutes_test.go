package e2e

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// restoreTime is how soon the kernel has again what somebody took.
const restoreTime = time.Second

// routedNode is the file of node n of a routed network of two, with prefixes
// besides those of the other node. The device stays when the daemon is killed.
func routedNode(n int, more string) string {
	other := 3 - n
	return fmt.Sprintf(`
underlay: {local: 192.0.2.%[1]d}
segments:
  - {vni: 1, mode: route, device: flannel.1, persist: true, address: [10.244.%[1]d.0/32, "fd44:%[1]d::/128"], mac: "02:00:00:00:0a:0%[1]d",
     prefixes: [{prefix: 10.244.%[2]d.0/24, via: 192.0.2.%[2]d, mac: "02:00:00:00:0a:0%[2]d"},
       {prefix: "fd44:%[2]d::/64", via: 192.0.2.%[2]d, mac: "02:00:00:00:0a:0%[2]d"}%[3]s]}
`, n, other, more)
}

// routesOf is what a host has of our protocol.
func routesOf(t testing.TB, h *lab.Host) string {
	t.Helper()
	return run(t, h, "sh", "-c", "ip -4 route show table all proto 181; ip -6 route show table all proto 181")
}

func kernelStatus(t testing.TB, d *lab.Daemon) (k api.Kernel, problems string) {
	t.Helper()
	var s api.Status
	decode(t, ctl(t, d, "-j", "status"), &s)
	if s.Kernel != nil {
		k = *s.Kernel
	}
	return k, strings.Join(s.Problems, "\n")
}

// waitRoutes waits until a host has routes to all of the prefixes and no other.
func waitRoutes(t testing.TB, h *lab.Host, prefixes ...string) {
	t.Helper()
	must(t, lab.Until(restoreTime, func() error {
		got := routesOf(t, h)
		for _, p := range prefixes {
			if !strings.Contains(got, p+" dev flannel.1") {
				return fmt.Errorf("no route to %s among\n%s", p, got)
			}
		}
		if n := strings.Count(got, "\n"); n != len(prefixes) {
			return fmt.Errorf("%d routes, want %d:\n%s", n, len(prefixes), got)
		}
		return nil
	}))
}

// TestKernelRoutes is two nodes, a pod behind each, and nothing but vtepd that
// sets up routes and forwarding.
func TestKernelRoutes(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	podA, podB := pod(t, a, 1), pod(t, b, 2)
	for _, h := range hosts {
		sysctl(t, h, "net/ipv4/ip_forward", "0")
		sysctl(t, h, "net/ipv6/conf/all/forwarding", "0")
	}
	const another = `, {prefix: 10.244.9.0/24, via: 192.0.2.2, mac: "02:00:00:00:0a:02"}`
	d := vtepdFile(t, a, routedNode(1, another))
	peer := vtepdFile(t, b, routedNode(2, ""))
	waitRoutes(t, a, "10.244.2.0/24", "fd44:2::/64", "10.244.9.0/24")
	waitRoutes(t, b, "10.244.1.0/24", "fd44:1::/64")
	talk := func(t *testing.T) {
		t.Helper()
		ping(t, podA, "10.244.2.5")
		ping(t, podB, "10.244.1.5")
		ping(t, podA, "fd44:2::5")
		ping(t, a, "10.244.2.5")
		ping(t, b, "fd44:1::5")
	}

	t.Run("pods and nodes reach each other", func(t *testing.T) {
		talk(t)
		if got := run(t, a, "cat", "/proc/sys/net/ipv4/ip_forward"); strings.TrimSpace(got) != "0" {
			t.Errorf("ip_forward is %s: it is not ours to switch on", got)
		}
		if out := run(t, a, "ip", "route", "get", "10.244.2.5"); !strings.Contains(out, "src 10.244.1.0") {
			t.Errorf("the node speaks from elsewhere than its subnet: %s", out)
		}
	})
	t.Run("what somebody removes comes back", func(t *testing.T) {
		before, _ := kernelStatus(t, d)
		run(t, a, "ip", "route", "del", "10.244.2.0/24")
		waitRoutes(t, a, "10.244.2.0/24", "fd44:2::/64", "10.244.9.0/24")
		run(t, a, "sh", "-c", "ip route flush proto 181; ip -6 route flush proto 181")
		waitRoutes(t, a, "10.244.2.0/24", "fd44:2::/64", "10.244.9.0/24")
		talk(t)
		if k, _ := kernelStatus(t, d); k.Restored != before.Restored+4 || k.Routes != 3 || k.Wanted != 3 {
			t.Errorf("status %+v", k)
		}
	})
	t.Run("somebody's route is used, and told", func(t *testing.T) {
		run(t, a, "ip", "route", "add", "10.244.2.0/24", "via", "192.0.2.2")
		must(t, lab.Until(patience, func() error {
			if _, problems := kernelStatus(t, d); !strings.Contains(problems, "ip route del 10.244.2.0/24 via 192.0.2.2 dev u0 proto boot") {
				return errors.New("problems: " + problems)
			}
			return nil
		}))
		run(t, a, "ip", "route", "del", "10.244.2.0/24", "via", "192.0.2.2", "dev", "u0", "proto", "boot")
		talk(t)
	})
	t.Run("a firewall that drops is told, with what helps", func(t *testing.T) {
		run(t, a, "iptables-nft", "-P", "FORWARD", "DROP")
		var k api.Kernel
		must(t, lab.Until(patience, func() error {
			if k, _ = kernelStatus(t, d); len(k.Forward) != 1 || k.Forward[0].Passes {
				return fmt.Errorf("status %+v", k)
			}
			return nil
		}))
		if _, err := podA.Ping("10.244.2.5", "-c", "1", "-W", "1"); err == nil {
			t.Error("nothing was in the way")
		}
		run(t, a, "sh", "-ec", strings.ReplaceAll(k.Forward[0].Command, "iptables ", "iptables-nft "))
		talk(t)
		must(t, lab.Until(patience, func() error {
			if _, problems := kernelStatus(t, d); strings.Contains(problems, "forward") {
				return errors.New("problems: " + problems)
			}
			return nil
		}))
	})
	t.Run("a killed daemon's routes that nobody wants any more go", func(t *testing.T) {
		must(t, d.Signal(syscall.SIGKILL))
		_ = d.Wait(patience) // it was killed
		if got := routesOf(t, a); !strings.Contains(got, "10.244.9.0/24") {
			t.Fatalf("nothing is left behind: %s", got)
		}
		d = vtepdFile(t, a, routedNode(1, ""))
		waitRoutes(t, a, "10.244.2.0/24", "fd44:2::/64")
		talk(t)
	})
	t.Run("a clean stop leaves nothing", func(t *testing.T) {
		for _, x := range []*lab.Daemon{d, peer} {
			must(t, x.Stop())
		}
		for _, h := range hosts {
			if got := routesOf(t, h); got != "" {
				t.Errorf("routes are left: %s", got)
			}
			if got := run(t, h, "nft", "list", "tables"); strings.Contains(got, "vtepd") {
				t.Errorf("tables are left: %s", got)
			}
		}
	})
}
