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

// load runs iperf3 both ways at once through the overlay until the test ends.
func load(t *testing.T, a, b *lab.Host, addr string) {
	t.Helper()
	server, err := b.Start("iperf3", "-s", "-B", addr, "--forceflush")
	must(t, err)
	must(t, server.WaitFor("Server listening", patience))
	client, err := a.Start("iperf3", "-c", addr, "-t", "60", "--bidir", "--forceflush", "-i", "0.2")
	must(t, err)
	must(t, client.WaitFor("bits/sec", 2*patience))
}

// TestStopUnderLoad asks the daemon to stop while it forwards all it can.
func TestStopUnderLoad(t *testing.T) {
	tiers(t, func(t *testing.T, tier string) {
		p := newPair(t, lab.Wire{}, false, "--tier", tier)
		ping(t, p.a, "10.99.0.2")
		load(t, p.a, p.b, "10.99.0.2")
		start := time.Now()
		must(t, p.daemon.Signal(syscall.SIGTERM))
		code, err := p.daemon.ExitCode(patience)
		if took := time.Since(start); err != nil || code != 0 || took > 2*time.Second {
			t.Errorf("exit code %d after %v, %v", code, took, err)
		}
		if out := run(t, p.a, "ip", "-br", "link"); strings.Contains(out, "vx42") {
			t.Errorf("the device is left:\n%s", out)
		}
		if _, err := os.Stat(p.daemon.Control()); !os.IsNotExist(err) {
			t.Errorf("the control socket is left: %v", err)
		}
	})
}

// TestReloadUnderLoad changes what it can of a segment, again and again, while
// a stream goes through it: it must arrive whole, and another segment's pings
// must all be answered.
func TestReloadUnderLoad(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	for _, vni := range []int{42, 43} {
		must(t, b.KernelVXLAN(vni, []string{fmt.Sprintf("10.%d.0.2/24", vni)}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	}
	config := func(of42, more string) string {
		return "underlay: {local: 192.0.2.1}\nsegments:\n" +
			"  - {vni: 42, address: 10.42.0.1/24, remotes: [192.0.2.2]" + of42 + "}\n" +
			"  - {vni: 43, address: 10.43.0.1/24, remotes: [192.0.2.2]}\n" + more
	}
	d := startReloading(t, a, config("", ""))
	ping(t, a, "10.42.0.2")
	ping(t, a, "10.43.0.2")
	unharmed := witness(t, a, "10.43.0.2")
	sent := make(chan error, 2)
	go func() { sent <- a.TCP(b, "10.42.0.2", 64<<20) }()
	go func() { sent <- b.TCP(a, "10.42.0.1", 64<<20) }()
	changes := []struct{ of42, more string }{
		{", ttl: 9", ""}, {", df: set", ""}, {", df: inherit, tos: 16", ""}, {", udp_csum: false", ""}, {", ageing: 7s, max_macs: 5", ""},
		{", interface: u0", ""}, {", accept: any", "  - {vni: 44, remotes: [192.0.2.2]}\n"}, {", srcport: 60000-60100", ""}, {"", ""},
	}
	running, reloads := 2, 0
	for running > 0 || reloads < 2*len(changes) {
		c := changes[reloads%len(changes)]
		d.write(t, config(c.of42, c.more))
		ctl(t, d.Daemon, "reload")
		reloads++
		select {
		case err := <-sent:
			must(t, err)
			running--
		default:
		}
	}
	t.Logf("%d reloads", reloads)
	unharmed()
}

// TestControlSocket: for root and its group only; one that a killed daemon left
// is replaced; one with a live daemon behind it is refused by pid.
func TestControlSocket(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	h := hosts[0]
	args := []string{"--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2"}
	d := vtepd(t, h, args...)
	info, err := os.Stat(d.Control())
	must(t, err)
	if info.Mode().Perm() != 0o660 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("mode %v", info.Mode())
	}
	second := func() (string, int) {
		p, err := h.Start(filepath.Join(bin, "vtepd"), "run", "--control", d.Control(), "--vni", "43", "--port", "4790", "--local", "192.0.2.1", "--remote", "192.0.2.2")
		must(t, err)
		if p.WaitFor("forwarding", patience) == nil {
			must(t, p.Stop())
		}
		code, err := p.ExitCode(patience)
		must(t, err)
		return p.Output(), code
	}
	if out, code := second(); code != 2 || !strings.Contains(out, fmt.Sprint(d.PID())) {
		t.Errorf("exit code %d, says %s", code, out)
	}
	ctl(t, d, "status") // the first one still answers
	must(t, d.Signal(syscall.SIGKILL))
	_, err = d.ExitCode(patience)
	must(t, err)
	if _, err := os.Stat(d.Control()); err != nil {
		t.Fatalf("the socket is gone, so this tests nothing: %v", err)
	}
	if _, err := d.Ctl("status"); err == nil {
		t.Error("a dead daemon answers")
	} else if !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("vtepctl without a daemon: %v", err)
	}
	if out, code := second(); code != 0 {
		t.Errorf("a stale socket: exit code %d, says %s", code, out)
	}
}

// TestFloodOfBadFrames: the log has one line a reason with the count, not one
// a frame, and the daemon goes on.
func TestFloodOfBadFrames(t *testing.T) {
	p := newPair(t, lab.Wire{}, false)
	ping(t, p.a, "10.99.0.2")
	wire := newForger(t, p.a, p.b)
	frame := vxlan(42, inner{}.bytes(t))
	for range 2000 {
		wire.send(outer{from: "192.0.2.77"}, frame)
	}
	must(t, p.daemon.WaitFor("source_not_accepted", 15*time.Second))
	ping(t, p.a, "10.99.0.2")
	if n := strings.Count(p.daemon.Output(), "source_not_accepted"); n > 2 {
		t.Errorf("%d lines for one flood", n)
	}
	if !strings.Contains(p.daemon.Output(), `"count": `) {
		t.Errorf("no count:\n%s", p.daemon.Output())
	}
}
