package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// A reloading daemon has a file that tests rewrite.
type reloading struct {
	*lab.Daemon
	file string
}

func startReloading(t *testing.T, h *lab.Host, config string) *reloading {
	t.Helper()
	r := &reloading{file: h.File("vtepd.yaml")}
	r.write(t, config)
	r.Daemon = vtepd(t, h, "--config", r.file)
	return r
}

func (r *reloading) write(t *testing.T, config string) {
	t.Helper()
	must(t, os.WriteFile(r.file, []byte(config), 0o600))
}

const base = `
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2]}
`

func TestReload(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	must(t, b.KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	must(t, b.KernelVXLAN(43, []string{"10.98.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	d := startReloading(t, a, base)
	ping(t, a, "10.99.0.2")

	// An untouched segment must not lose a frame whatever happens beside it.
	unharmed := witness(t, a, "10.99.0.2")

	t.Run("a segment comes", func(t *testing.T) {
		d.write(t, base+"  - {vni: 43, address: 10.98.0.1/24, remotes: [192.0.2.2]}\n")
		ctl(t, d.Daemon, "reload")
		ping(t, a, "10.98.0.2")
	})
	t.Run("its address, MTU and remotes change", func(t *testing.T) {
		d.write(t, base+"  - {vni: 43, address: 10.98.0.7/24, mtu: 1300, remotes: []}\n")
		ctl(t, d.Daemon, "reload")
		out := run(t, a, "ip", "addr", "show", "vx43")
		if !strings.Contains(out, "10.98.0.7/24") || strings.Contains(out, "10.98.0.1/24") || !strings.Contains(out, "mtu 1300") {
			t.Errorf("device: %s", out)
		}
		if out := ctl(t, d.Daemon, "remote", "show", "dev", "vx43"); strings.Contains(out, "192.0.2.2") {
			t.Errorf("remotes: %s", out)
		}
	})
	t.Run("it gets another VNI under the same device name", func(t *testing.T) {
		d.write(t, base+"  - {vni: 44, device: vx43, address: 10.98.0.1/24, remotes: [192.0.2.2]}\n")
		ctl(t, d.Daemon, "reload")
		if out := ctl(t, d.Daemon, "segment", "show"); !strings.Contains(out, "44") || strings.Contains(out, "segment 43") {
			t.Errorf("segments: %s", out)
		}
	})
	t.Run("it goes, by SIGHUP", func(t *testing.T) {
		d.write(t, base)
		must(t, d.Signal(syscall.SIGHUP))
		must(t, lab.Until(patience, func() error {
			if out := run(t, a, "ip", "-br", "link"); strings.Contains(out, "vx43") {
				return fmt.Errorf("vx43 is still there: %s", out)
			}
			return nil
		}))
	})
	t.Run("a bad file changes nothing and says why", func(t *testing.T) {
		before := ctl(t, d.Daemon, "-j", "segment", "show")
		d.write(t, base+"  - {vni: 42, device: toolongadevicename, remotes: [nonsense]}\n  - {vnj: 5}\n")
		out, err := d.Ctl("reload")
		if err == nil {
			t.Fatal("accepted")
		}
		for _, want := range []string{d.file + ":5:", "vni", "device", "nonsense", "vnj"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
		if after := ctl(t, d.Daemon, "-j", "segment", "show"); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
	})
	t.Run("what the system refuses changes nothing", func(t *testing.T) {
		run(t, a, "ip", "link", "add", "name", "vx50", "type", "bridge")
		d.write(t, base+"  - {vni: 49, remotes: [192.0.2.2]}\n  - {vni: 50, remotes: [192.0.2.2]}\n")
		if out, err := d.Ctl("reload"); err == nil || !strings.Contains(out, "vx50") {
			t.Errorf("error %v, says %s", err, out)
		}
		if out := run(t, a, "ip", "-br", "link"); strings.Contains(out, "vx49") {
			t.Errorf("half of it was done: %s", out)
		}
	})
	t.Run("a file that everyone may write", func(t *testing.T) {
		d.write(t, base)
		must(t, os.Chmod(d.file, 0o666))
		if out, err := d.Ctl("reload"); err == nil || !strings.Contains(out, "writ") {
			t.Errorf("error %v, says %s", err, out)
		}
		must(t, os.Chmod(d.file, 0o600))
	})
	unharmed()
}

func TestReloadKeepsWhatWasLearned(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	must(t, b.KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	d := startReloading(t, a, base)
	ping(t, a, "10.99.0.2")
	ctl(t, d.Daemon, "fdb", "add", "02:00:00:00:00:77", "dst", "192.0.2.9")
	ctl(t, d.Daemon, "remote", "del", "192.0.2.2")
	if has(t, d.Daemon, mac(t, b, "vx42")) {
		t.Error("a MAC behind a remote that is gone is still there")
	}
	d.write(t, strings.Replace(base, "remotes:", "ageing: 77, ttl: 9, remotes:", 1))
	ctl(t, d.Daemon, "reload")
	ping(t, a, "10.99.0.2") // the file's remote is back
	before := fdbShow(t, d.Daemon)
	ctl(t, d.Daemon, "reload")
	if after := fdbShow(t, d.Daemon); len(after) != len(before) || !has(t, d.Daemon, mac(t, b, "vx42")) {
		t.Errorf("before %v\nafter %v", before, after)
	}
	if !has(t, d.Daemon, "02:00:00:00:00:77") {
		t.Error("an operator's entry is gone after a reload")
	}
}

func has(t *testing.T, d *lab.Daemon, mac string) bool {
	t.Helper()
	for _, e := range fdbShow(t, d) {
		if e.MAC.String() == mac {
			return true
		}
	}
	return false
}

func TestOperator(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	must(t, b.KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	d := vtepd(t, a, "--vni", "42", "--local", "192.0.2.1", "--remote", "", "--address", "10.99.0.1/24")
	t.Run("an empty list of remotes is filled at run time", func(t *testing.T) {
		if _, err := a.Run("ping", "-c", "1", "-W", "0.3", "10.99.0.2"); err == nil {
			t.Error("frames cross without a remote")
		}
		ctl(t, d, "remote", "add", "192.0.2.2")
		ping(t, a, "10.99.0.2")
	})
	peer := mac(t, b, "vx42")
	t.Run("a static entry replaces the learned one, and frames obey it", func(t *testing.T) {
		ctl(t, d, "fdb", "add", peer, "dst", "192.0.2.77")
		if _, err := a.Run("ping", "-c", "1", "-W", "0.3", "10.99.0.2"); err == nil {
			t.Error("frames still go to the learned place")
		}
		if n := counters(t, d).Segments[0].Drops.Rx["entry_exists"]; n == 0 {
			// The peer's ARP comes from where the static entry says it is not.
			run(t, b, "sh", "-c", "ip neigh flush all; ping -c 1 -W 0.3 10.99.0.1; true")
			if n := counters(t, d).Segments[0].Drops.Rx["entry_exists"]; n == 0 {
				t.Error("a frame that contradicts it is not dropped as entry_exists")
			}
		}
		ctl(t, d, "fdb", "del", peer)
		ping(t, a, "10.99.0.2")
	})
	t.Run("flush takes dynamic entries only", func(t *testing.T) {
		ctl(t, d, "fdb", "add", "02:00:00:00:00:01", "dst", "192.0.2.2", "static")
		ctl(t, d, "fdb", "flush")
		if has(t, d, peer) || !has(t, d, "02:00:00:00:00:01") {
			t.Errorf("entries: %v", fdbShow(t, d))
		}
		ctl(t, d, "fdb", "flush", "all")
		if has(t, d, "02:00:00:00:00:01") {
			t.Error("flush all left an operator's entry")
		}
	})
	t.Run("errors say what is wrong", func(t *testing.T) {
		for _, c := range [][]string{
			{"fdb", "add", "02:00:00:00:00:01", "dst", "2001:db8::9"},
			{"fdb", "add", "02:00:00:00:00:01", "dst", "239.1.1.1"},
			{"fdb", "del", "02:00:00:00:00:99"},
			{"remote", "del", "192.0.2.200"},
			{"fdb", "show", "dev", "vx77"},
		} {
			if out, err := d.Ctl(c...); err == nil || len(out) < 20 {
				t.Errorf("%v: error %v, says %s", c, err, out)
			}
		}
	})
	t.Run("monitor", func(t *testing.T) {
		m, err := a.Start(bin+"/vtepctl", "--control", d.Control(), "monitor", "fdb", "remote")
		must(t, err)
		must(t, lab.Until(patience, func() error { // until it is connected
			ctl(t, d, "fdb", "replace", "02:00:00:00:00:05", "dst", "192.0.2.9") // a change each time
			ctl(t, d, "fdb", "replace", "02:00:00:00:00:05", "dst", "192.0.2.2")
			if !strings.Contains(m.Output(), "02:00:00:00:00:05") {
				return fmt.Errorf("monitor says %q", m.Output())
			}
			return nil
		}))
		ctl(t, d, "fdb", "del", "02:00:00:00:00:05")
		must(t, m.WaitFor("Deleted 02:00:00:00:00:05", patience))
		ctl(t, d, "remote", "add", "192.0.2.3")
		must(t, m.WaitFor("192.0.2.3", patience))
	})
	t.Run("log level", func(t *testing.T) {
		ctl(t, d, "log", "level", "debug")
		var st api.Status
		decode(t, ctl(t, d, "-j", "status"), &st)
		if st.LogLevel != "debug" {
			t.Errorf("log level %q", st.LogLevel)
		}
	})
}
