package daemon

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/vtep/tap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inNamespace runs a test in a network namespace of its own. The namespace is
// its thread's: f must not start sub-tests, which have others.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal("network namespaces take root")
	}
	runtime.LockOSThread()
	old, err := netns.Get()
	must(t, err)
	ns, err := netns.New()
	must(t, err)
	defer func() {
		must(t, ns.Close())
		must(t, netns.Set(old))
		must(t, old.Close())
		runtime.UnlockOSThread()
	}()
	ip(t, "link", "set", "lo", "up")
	f(t)
}

func ip(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test.yaml", []byte(text))
	must(t, err)
	return c
}

// start makes a daemon in the test's namespace that reloads from the text that
// load returns, and its log.
func start(t *testing.T, text string, load func() (*config.Config, error)) (*Daemon, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	d, err := New(parse(t, text), Options{Log: zap.New(core), Level: zap.NewAtomicLevel(), Load: load})
	must(t, err)
	return d, logs
}

const loopback = `
underlay: {local: 127.0.0.1}
segments: [{vni: 42, remotes: [127.0.0.2]}]
`

// TestDropLog floods a daemon with bad datagrams: one line a reason with the
// count, however many they are, and nothing when none came.
func TestDropLog(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, logs := start(t, loopback, nil)
		defer func() { must(t, d.Close()) }()
		c, err := net.Dial("udp", "127.0.0.1:4789") // from our own address: a martian
		must(t, err)
		defer c.Close()
		martian := append([]byte{8, 0, 0, 0, 0, 0, 42, 0}, make([]byte, 60)...)
		flood := func(martians, invalid uint64) {
			before, host := d.running()[0].engine.Counters(), d.engine.Unowned()
			for range martians {
				_, err := c.Write(martian)
				must(t, err)
			}
			for range invalid {
				_, err := c.Write([]byte{0})
				must(t, err)
			}
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				now, top := d.running()[0].engine.Counters(), d.engine.Unowned()
				if sum(now.DropsRx[:])-sum(before.DropsRx[:]) == martians && sum(top[:])-sum(host[:]) == invalid {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("counted %v and %v", now.DropsRx, top)
				}
			}
		}
		for _, c := range []struct{ martians, invalid uint64 }{{300, 200}, {0, 0}, {7, 0}, {0, 9}} {
			flood(c.martians, c.invalid)
			logs.TakeAll()
			d.drops.look()
			want := map[string]uint64{}
			if c.martians > 0 {
				want["martian_source"] = c.martians
			}
			if c.invalid > 0 {
				want["invalid_header"] = c.invalid
			}
			lines := logs.TakeAll()
			if len(lines) != len(want) {
				t.Errorf("%+v makes %d lines: %v", c, len(lines), lines)
			}
			for _, l := range lines {
				f := l.ContextMap()
				if reason := f["reason"].(string); f["count"] != want[reason] || !strings.HasPrefix(l.Message, "dropped from the tunnel") {
					t.Errorf("%+v: %s %v", c, l.Message, f)
				}
			}
		}
	})
}

func sum(n []uint64) (s uint64) {
	for _, v := range n {
		s += v
	}
	return s
}

// TestOneLineAChange counts the lines of a segment's life.
func TestOneLineAChange(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		next := loopback
		d, logs := start(t, loopback, func() (*config.Config, error) { return config.Parse("test.yaml", []byte(next)) })
		said := func(want ...string) {
			t.Helper()
			var got []string
			for _, l := range logs.TakeAll() {
				got = append(got, l.Message)
			}
			if strings.Join(got, "; ") != strings.Join(want, "; ") {
				t.Errorf("log %q, want %q", got, want)
			}
		}
		said("device up", "forwarding")
		reload := func(text string) {
			t.Helper()
			next = text
			_, err := d.Reload(t.Context())
			must(t, err)
		}
		reload(loopback)
		said("reloaded")
		reload(strings.Replace(loopback, "]}]", "]}, {vni: 43, remotes: [127.0.0.2]}]", 1))
		said("device up", "reloaded")
		reload(loopback)
		said("device removed", "reloaded")
		for range 3 {
			d.followHost() // nothing changed
		}
		said()
		ip(t, "link", "set", "vx42", "mtu", "1400")
		d.followHost()
		d.followHost()
		said("device was changed from outside")
		next = "segments: [{vni: 42, remote: 1}]"
		if _, err := d.Reload(t.Context()); err == nil {
			t.Error("a bad file was taken")
		}
		said("reload refused, nothing changed")
		must(t, d.Close())
	})
}

// TestCloseGivesAllBack counts descriptors and devices before and after, also
// where a start fails half way.
func TestCloseGivesAllBack(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		before := descriptors(t)
		for _, tier := range []string{"auto", "portable"} {
			d, _ := start(t, loopback+"datapath: {workers: 3, tier: "+tier+"}\n", nil)
			must(t, d.Close())
			must(t, d.Close()) // harmless
		}
		ip(t, "link", "add", "name", "vx50", "type", "bridge")
		core, _ := observer.New(zap.DebugLevel)
		_, err := New(parse(t, strings.Replace(loopback, "]}]", "]}, {vni: 50, remotes: [127.0.0.2]}]", 1)), Options{Log: zap.New(core)})
		var refused *SystemError
		var exists *tap.ErrExists
		if !errors.As(err, &refused) || !errors.As(err, &exists) || exists.Kind != "bridge" {
			t.Errorf("error %v", err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
		if out := ip(t, "-br", "link"); strings.Contains(out, "vx42") {
			t.Errorf("a device is left:\n%s", out)
		}
	})
}

func descriptors(t testing.TB) int {
	t.Helper()
	own, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(own)
}

// TestDeviceIsMadeAgain deletes a device from outside, also one whose name
// somebody else took meanwhile.
func TestDeviceIsMadeAgain(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, logs := start(t, loopback, nil)
		defer func() { must(t, d.Close()) }()
		index := d.segments[42].dev.Index
		ip(t, "link", "del", "vx42")
		if !d.followHost() || d.segments[42].dev.Index == index {
			t.Errorf("it was not made again: %v", logs.All())
		}
		if out := ip(t, "link", "show", "vx42"); !strings.Contains(out, "UP") {
			t.Errorf("it is not up: %s", out)
		}
		ip(t, "link", "del", "vx42")
		ip(t, "link", "add", "name", "vx42", "type", "bridge")
		before := descriptors(t)
		for range 3 {
			if d.followHost() {
				t.Error("a bridge was taken for our device")
			}
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors before, %d after trying in vain", before, after)
		}
		if st := d.Status(); len(st.Problems) == 0 {
			t.Error("status shows no problem")
		}
		ip(t, "link", "del", "vx42")
		if !d.followHost() {
			t.Error("the name is free again, and it was not made")
		}
	})
}

// TestDeletedUntilReload: what an operator deletes of the file's comes back
// with the next reload, and the answer says so.
func TestDeletedUntilReload(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, _ := start(t, loopback, func() (*config.Config, error) { return parse(t, loopback), nil })
		defer func() { must(t, d.Close()) }()
		two := netip.MustParseAddr("127.0.0.2")
		r, err := d.RemoteChange(api.RemoteChange{Op: api.OpDel, IP: two})
		if err != nil || r.Note != api.NoteNamed {
			t.Errorf("%+v, %v", r, err)
		}
		if rs, err := d.Remotes(api.Selector{}); err != nil || len(rs) != 0 {
			t.Errorf("remotes %v, %v", rs, err)
		}
		_, err = d.Reload(t.Context())
		must(t, err)
		if rs, err := d.Remotes(api.Selector{}); err != nil || len(rs) != 1 || rs[0].IP != two {
			t.Errorf("remotes after a reload: %v, %v", rs, err)
		}
	})
}

// TestMTUFollowsTheRemotes: with `mtu: auto` the narrowest path counts as long
// as something leads there.
func TestMTUFollowsTheRemotes(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "link", "add", "u0", "type", "veth", "peer", "name", "u1")
		ip(t, "link", "set", "u0", "up")
		ip(t, "link", "set", "u1", "up")
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "u0")
		ip(t, "route", "add", "192.0.2.3", "dev", "u0", "mtu", "1400")
		d, _ := start(t, "segments: [{vni: 42, local: 192.0.2.1, remotes: [192.0.2.2]}]", nil)
		defer func() { must(t, d.Close()) }()
		narrow, mac := netip.MustParseAddr("192.0.2.3"), packet.MAC{2, 0, 0, 0, 0, 1}
		want := func(mtu int) {
			t.Helper()
			if st, err := tap.Look("vx42"); err != nil || st.MTU != mtu {
				t.Errorf("mtu %d, want %d; %v", st.MTU, mtu, err)
			}
		}
		remote := func(op api.Op) {
			t.Helper()
			_, err := d.RemoteChange(api.RemoteChange{Op: op, IP: narrow})
			must(t, err)
		}
		entry := func(op api.Op) {
			t.Helper()
			_, err := d.FDBChange(api.FDBChange{Op: op, MAC: mac, Dst: narrow})
			must(t, err)
		}
		want(1450)
		remote(api.OpAdd)
		want(1350)
		entry(api.OpAdd)
		remote(api.OpDel)
		want(1350) // the entry still leads there
		entry(api.OpDel)
		want(1450)
		entry(api.OpAdd)
		want(1350)
		_, err := d.FDBFlush(api.FDBFlush{All: true})
		must(t, err)
		want(1450)
	})
}
