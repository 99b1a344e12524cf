package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
)

// refused runs vtepd, which must end by itself with the exit code, and returns
// what it said.
func refused(t *testing.T, h *lab.Host, code int, args ...string) string {
	t.Helper()
	p, err := h.Start(filepath.Join(bin, "vtepd"), append([]string{"run", "--control", h.File("refused")}, args...)...)
	must(t, err)
	got, err := p.ExitCode(10 * time.Second)
	must(t, err)
	if got != code {
		t.Errorf("exit code %d, want %d:\n%s", got, code, p.Output())
	}
	return p.Output()
}

func TestStopLeavesNothing(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	links := run(t, hosts[0], "ip", "-br", "link")
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		d := vtepd(t, hosts[0], "--vni", "42", "--remote", "192.0.2.2", "--address", "10.99.0.1/24")
		if out := run(t, hosts[0], "ip", "-br", "addr", "show", "vx42"); !strings.Contains(out, "10.99.0.1/24") {
			t.Errorf("no address: %s", out)
		}
		start := time.Now()
		must(t, d.Signal(sig))
		code, err := d.ExitCode(5 * time.Second)
		if took := time.Since(start); err != nil || code != 0 || took > 2*time.Second {
			t.Errorf("%v: exit code %d after %v, %v", sig, code, took, err)
		}
		if now := run(t, hosts[0], "ip", "-br", "link"); now != links {
			t.Errorf("links before:\n%safter:\n%s", links, now)
		}
		if out := run(t, hosts[0], "ss", "-Hulan"); strings.TrimSpace(out) != "" {
			t.Errorf("sockets are left:\n%s", out)
		}
	}
}

func TestRefusals(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	h := hosts[0]
	segment := []string{"--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2"}
	t.Run("usage", func(t *testing.T) {
		refused(t, h, 1, "--nonsense")
		refused(t, h, 1, "--vni", "16777216", "--remote", "192.0.2.2")
		refused(t, h, 1, "--config", "/nowhere.yaml", "--vni", "1")
		if out := refused(t, h, 1, "--vni", "42"); !strings.Contains(out, "remote") {
			t.Errorf("says %s", out)
		}
	})
	t.Run("a port that another vtepd holds", func(t *testing.T) {
		d := vtepd(t, h, segment...)
		out := refused(t, h, 2, "--vni", "43", "--local", "192.0.2.1", "--remote", "192.0.2.2")
		if !strings.Contains(out, fmt.Sprintf("process %d (vtepd)", d.PID())) {
			t.Errorf("says %s", out)
		}
		must(t, d.Stop())
	})
	t.Run("a port that a kernel device holds", func(t *testing.T) {
		must(t, h.KernelVXLAN(7, nil, "local", "192.0.2.1", "remote", "192.0.2.2"))
		defer run(t, h, "ip", "link", "del", "vx7")
		if out := refused(t, h, 2, segment...); !strings.Contains(out, "vxlan device vx7") {
			t.Errorf("says %s", out)
		}
	})
	t.Run("a device that exists", func(t *testing.T) {
		run(t, h, "ip", "link", "add", "name", "vx42", "type", "bridge")
		defer run(t, h, "ip", "link", "del", "vx42")
		for _, args := range [][]string{segment, append(segment, "--persist")} {
			if out := refused(t, h, 2, args...); !strings.Contains(out, "bridge") {
				t.Errorf("says %s", out)
			}
		}
	})
	t.Run("an address that is not ours", func(t *testing.T) {
		if out := refused(t, h, 2, "--vni", "42", "--local", "198.51.100.9", "--remote", "192.0.2.2"); !strings.Contains(out, "198.51.100.9") {
			t.Errorf("says %s", out)
		}
	})
	t.Run("an interface that is not there", func(t *testing.T) {
		if out := refused(t, h, 2, append(segment, "--interface", "eth77")...); !strings.Contains(out, "eth77") {
			t.Errorf("says %s", out)
		}
	})
	t.Run("without privilege", func(t *testing.T) {
		p, err := h.Start("setpriv", append([]string{"--bounding-set", "-all", "--inh-caps", "-all", "--", filepath.Join(bin, "vtepd"),
			"run", "--control", h.File("unprivileged")}, segment...)...)
		must(t, err)
		if code, err := p.ExitCode(patience); err != nil || code != 2 || !strings.Contains(p.Output(), "CAP_NET_ADMIN") {
			t.Errorf("exit code %d, %v:\n%s", code, err, p.Output())
		}
	})
	if out := run(t, h, "ip", "-br", "link"); strings.Contains(out, "vx4") {
		t.Errorf("a refused start left a device:\n%s", out)
	}
}

func TestNetAdminAlone(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	p, err := hosts[0].Start("setpriv", "--bounding-set", "-all,+net_admin", "--", filepath.Join(bin, "vtepd"), "run",
		"--control", hosts[0].File("admin"), "--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--address", "10.99.0.1/24")
	must(t, err)
	must(t, p.WaitFor("forwarding", patience))
	ping(t, hosts[0], "10.99.0.2")
}

func TestPersistentDevice(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	h := hosts[0]
	segment := []string{"--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--address", "10.99.0.1/24", "--persist"}
	must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	t.Run("made, kept, attached to again", func(t *testing.T) {
		var addr string
		for range 2 {
			d := vtepd(t, h, segment...)
			ping(t, h, "10.99.0.2")
			must(t, d.Stop())
			now := mac(t, h, "vx42")
			if addr != "" && now != addr {
				t.Errorf("the MAC was %s and is %s", addr, now)
			}
			addr = now
		}
		run(t, h, "ip", "link", "del", "vx42")
	})
	t.Run("an operator's device is left as found", func(t *testing.T) {
		run(t, h, "ip", "tuntap", "add", "dev", "vx42", "mode", "tap", "multi_queue")
		run(t, h, "ip", "link", "set", "vx42", "mtu", "1400", "address", "02:00:00:00:00:77")
		before := run(t, h, "ip", "-d", "-o", "link", "show", "vx42")
		d := vtepd(t, h, segment...)
		ping(t, h, "10.99.0.2")
		if got := mac(t, h, "vx42"); got != "02:00:00:00:00:77" {
			t.Errorf("its MAC became %s", got)
		}
		must(t, d.Stop())
		after := run(t, h, "ip", "-d", "-o", "link", "show", "vx42")
		for _, want := range []string{"mtu 1400", "02:00:00:00:00:77", "persist on", "state DOWN"} {
			if !strings.Contains(after, want) {
				t.Errorf("no %q any more:\nbefore %s\nafter  %s", want, before, after)
			}
		}
		if out := run(t, h, "ip", "-br", "addr", "show", "vx42"); strings.Contains(out, "10.99.0.1") {
			t.Errorf("our address stays: %s", out)
		}
	})
}

func TestDeviceDeletedFromOutside(t *testing.T) {
	p := newPair(t, lab.Wire{}, false)
	ping(t, p.a, "10.99.0.2")
	run(t, p.a, "ip", "link", "del", "vx42")
	must(t, p.a.PingUntil("10.99.0.2", patience))
	ticks := cpuTicks(t, p)
	time.Sleep(time.Second)
	if n := cpuTicks(t, p) - ticks; n > 20 {
		t.Errorf("%d ms of CPU in a second of silence: it spins", n*10)
	}
}

// cpuTicks is how much processor time the daemon used, in hundredths of a
// second.
func cpuTicks(t *testing.T, p *pair) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.daemon.PID()))
	must(t, err)
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var user, system int
	_, err = fmt.Sscan(f[11]+" "+f[12], &user, &system)
	must(t, err)
	return user + system
}

func TestUnderlayFailures(t *testing.T) {
	hosts := lab.Hosts(t, 3, lab.Wire{})
	d := vtepd(t, hosts[0], "--vni", "42", "--local", "192.0.2.1", "--address", "10.99.0.1/24",
		"--remote", "192.0.2.2,192.0.2.3,192.0.2.99,203.0.113.5") // .3 refuses, .99 is silent, the last has no route
	must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	ping(t, hosts[0], "10.99.0.2")
	t.Run("a remote that refuses, one that is silent, one without a route", func(t *testing.T) {
		if _, err := hosts[0].Run("ping", "-n", "-c", "50", "-i", "0.01", "-W", "1", "10.99.0.2"); err != nil {
			t.Error(err)
		}
		run(t, hosts[0], "sh", "-c", "ping -n -c 2 -i 0.1 -W 0.1 10.99.0.77; true") // floods ARP
		must(t, lab.Until(patience, func() error {
			for _, r := range counters(t, d).Segments[0].Remotes {
				if r.IP.String() == "203.0.113.5" && r.Errors["enetunreach"] > 0 {
					return nil
				}
			}
			return fmt.Errorf("no enetunreach for 203.0.113.5")
		}))
	})
	t.Run("the link goes and comes", func(t *testing.T) {
		run(t, hosts[0], "ip", "link", "set", "u0", "down")
		run(t, hosts[0], "sh", "-c", "ping -n -c 2 -i 0.1 -W 0.1 10.99.0.2; true")
		run(t, hosts[0], "ip", "link", "set", "u0", "up")
		must(t, hosts[0].PingUntil("10.99.0.2", patience))
	})
	t.Run("the address goes and comes", func(t *testing.T) {
		run(t, hosts[0], "ip", "addr", "del", "192.0.2.1/24", "dev", "u0")
		run(t, hosts[0], "sh", "-c", "ping -n -c 2 -i 0.1 -W 0.1 10.99.0.2; true")
		run(t, hosts[0], "ip", "addr", "add", "192.0.2.1/24", "dev", "u0")
		must(t, hosts[0].PingUntil("10.99.0.2", patience))
	})
	t.Run("a firewall says EPERM", func(t *testing.T) {
		run(t, hosts[0], "nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }; add rule inet t o ip daddr 192.0.2.2 udp dport 4789 drop")
		run(t, hosts[0], "sh", "-c", "ping -n -c 2 -i 0.1 -W 0.1 10.99.0.2; true")
		run(t, hosts[0], "nft", "delete table inet t")
		must(t, hosts[0].PingUntil("10.99.0.2", patience))
		for _, r := range counters(t, d).Segments[0].Remotes {
			if r.IP.String() == "192.0.2.2" && r.Errors["eperm"] == 0 {
				t.Errorf("EPERM is not counted: %v", r.Errors)
			}
		}
	})
}
