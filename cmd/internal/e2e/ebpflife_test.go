package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
)

// TestFastPathOutlivesWhatHappens keeps a connection while the daemon, its
// device and its underlay go and come.
func TestFastPathOutlivesWhatHappens(t *testing.T) {
	a, b := newTwins(t, lab.Wire{})
	bothFast(t, a, b)
	live := newLive(t, a.Host, b.Host, "10.99.0.2")
	again := func(t *testing.T) {
		t.Helper()
		tierIs(t, a.d, "ebpf", "")
		live.lives(t)
		bothFast(t, a, b)
	}
	t.Run("entries are deleted", func(t *testing.T) {
		for range 20 {
			ctl(t, a.d, "fdb", "del", mac(t, b.Host, "vx42"))
			live.lives(t)
		}
		again(t)
	})
	t.Run("the remote is deleted", func(t *testing.T) {
		ctl(t, a.d, "remote", "del", "192.0.2.2", "segment", "42")
		live.blocked(t)
		ctl(t, a.d, "remote", "add", "192.0.2.2", "segment", "42")
		again(t)
	})
	t.Run("the underlay goes down", func(t *testing.T) {
		run(t, a.Host, "ip", "link", "set", "u0", "down")
		live.blocked(t)
		run(t, a.Host, "ip", "link", "set", "u0", "up")
		again(t)
	})
	t.Run("the device is deleted", func(t *testing.T) {
		run(t, a.Host, "ip", "link", "del", "vx42")
		must(t, a.PingUntil("10.99.0.2", patience))
		again(t)
	})
	t.Run("the device goes down", func(t *testing.T) {
		run(t, a.Host, "ip", "link", "set", "vx42", "down")
		live.blocked(t)
		run(t, a.Host, "ip", "link", "set", "vx42", "up")
		run(t, a.Host, "ip", "addr", "replace", "fd42::1/64", "dev", "vx42") // the kernel takes it
		again(t)
	})
	t.Run("the daemon is killed", func(t *testing.T) {
		args := []string{"--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--address", "10.99.0.1/24,fd42::1/64"}
		must(t, a.d.Signal(syscall.SIGKILL))
		_, err := a.d.ExitCode(patience)
		must(t, err)
		live.blocked(t)
		a.d = vtepd(t, a.Host, args...)
		again(t)
	})
}

// TestFastPathFollowsMACs moves a MAC from one VTEP to another, under a
// connection with a host that is behind it.
func TestFastPathFollowsMACs(t *testing.T) {
	hosts := lab.Hosts(t, 3, lab.Wire{})
	a := end{hosts[0], vtepd(t, hosts[0], "--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2,192.0.2.3", "--address", "10.99.0.1/24")}
	needEBPF(t, a.d)
	tierIs(t, a.d, "ebpf", "")
	for i, h := range hosts[1:] {
		must(t, h.KernelVXLAN(42, nil, "local", fmt.Sprintf("192.0.2.%d", i+2), "remote", "192.0.2.1"))
		run(t, h, "ip", "link", "set", "vx42", "mtu", "1450", "address", "02:00:00:00:00:b2")
	}
	for _, i := range []int{1, 2, 1} {
		run(t, hosts[3-i], "ip", "link", "set", "vx42", "down")
		run(t, hosts[i], "ip", "link", "set", "vx42", "up")
		run(t, hosts[i], "ip", "addr", "replace", "10.99.0.2/24", "dev", "vx42")
		ping(t, hosts[i], "10.99.0.1") // it is heard at its new place
		must(t, lab.Until(patience, func() error {
			if out := ctl(t, a.d, "fdb", "get", "02:00:00:00:00:b2"); !strings.Contains(out, fmt.Sprintf("192.0.2.%d", i+1)) {
				return fmt.Errorf("%s", out)
			}
			return nil
		}))
		a.sends(t, hosts[i], "10.99.0.2", true)
		a.receives(t, hosts[i], "10.99.0.1", true)
	}
}

// TestFastPathKeepsMACs: a MAC that only the fast path hears does not age; one
// that nobody hears does.
func TestFastPathKeepsMACs(t *testing.T) {
	p := newPair(t, lab.Wire{}, false, "--ageing", "3s")
	needEBPF(t, p.daemon)
	a := end{p.a, p.daemon}
	ping(t, p.a, "10.99.0.2")
	quietMAC := "02:00:00:00:00:a1"
	wire := newForger(t, p.a, p.b)
	live := newLive(t, p.a, p.b, "10.99.0.2")
	// From here on no ARP is asked or answered by user space.
	run(t, p.a, "ip", "neigh", "replace", "10.99.0.2", "lladdr", mac(t, p.b, "vx42"), "dev", "vx42", "nud", "permanent")
	run(t, p.b, "ip", "neigh", "replace", "10.99.0.1", "lladdr", mac(t, p.a, "vx42"), "dev", "vx42", "nud", "permanent")
	a.sends(t, p.b, "10.99.0.2", true)
	wire.send(outer{}, vxlan(42, inner{src: quietMAC}.bytes(t)))
	must(t, lab.Until(patience, func() error {
		if !has(t, p.daemon, quietMAC) {
			return fmt.Errorf("it is not learned")
		}
		return nil
	}))
	_, user := a.during(t, func() {
		for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			live.lives(t)
			if !has(t, p.daemon, mac(t, p.b, "vx42")) {
				t.Fatal("the MAC of the connection aged")
			}
		}
	})
	if has(t, p.daemon, quietMAC) {
		t.Error("the silent MAC did not age")
	}
	if user.rx.Bytes > 2000 {
		t.Errorf("user space heard %d bytes: this tests nothing", user.rx.Bytes)
	}
}

// TestFastPathTooBig shrinks the path under a connection whose segments then
// are too large: its end is told, and it goes on.
func TestFastPathTooBig(t *testing.T) {
	a, b := newTwins(t, lab.Wire{}, "--mtu", "1450")
	bothFast(t, a, b)
	must(t, a.TCP(b.Host, "10.99.0.2", 4<<20))
	told := counters(t, a.d).Events["too_big_sent"]
	run(t, a.Host, "ip", "route", "add", "192.0.2.2/32", "dev", "u0", "src", "192.0.2.1", "mtu", "lock", "1400")
	must(t, lab.Until(patience, func() error {
		must(t, a.TCP(b.Host, "10.99.0.2", 1<<20))
		if counters(t, a.d).Events["too_big_sent"] == told {
			return fmt.Errorf("nobody was told")
		}
		return nil
	}))
	file := b.File("big.pcap")
	capture, err := b.Capture("u0", file, "src host 192.0.2.1 and udp and (ip[6:2] & 0x3fff != 0)")
	must(t, err)
	bothFast(t, a, b) // with segments that fit
	must(t, capture.Stop())
	if lines := tshark(t, file); len(lines) > 0 {
		t.Errorf("%d outer fragments", len(lines))
	}
}
