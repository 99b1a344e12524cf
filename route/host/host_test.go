package host_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/route/host"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how fast what was disturbed is put right again.
const soon = time.Second

// namespace gives the test's thread a network namespace, which ends with it: an
// underlay eth0 with 192.0.2.1/24 and 2001:db8::1/64 and the router .254 for
// everything else, and vx1, the device of segment 1.
func namespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal(err)
	}
	sh(t, `ip link set lo up
		for d in all default; do echo 0 > /proc/sys/net/ipv6/conf/$d/accept_dad; done
		ip link add eth0 type veth peer name far
		ip link set eth0 up; ip link set far up
		ip addr add 192.0.2.1/24 dev eth0
		ip addr add 2001:db8::1/64 dev eth0
		ip route add default via 192.0.2.254
		ip tuntap add dev vx1 mode tun
		ip addr add 10.244.1.0/32 dev vx1
		ip addr add fd00:1::/128 dev vx1
		ip link set vx1 up`)
}

// sh runs a script in the thread's namespace and returns what it printed.
func sh(t testing.TB, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// A running Host is in the namespace of the test, in a thread of its own.
type running struct {
	*host.Host
	t testing.TB
	// halt ends Run, stop also closes.
	halt, stop func() error
	closing    chan struct{}

	mu  sync.Mutex
	log []host.Report
}

func start(t testing.TB, w host.Wanted) *running {
	t.Helper()
	r := &running{t: t, closing: make(chan struct{})}
	r.Host = host.New(host.Config{Report: func(rep host.Report) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = append(r.log, rep)
	}})
	ns, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	r.Set(w)
	go func() {
		runtime.LockOSThread() // for good, as the thread is in another namespace
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- err
			done <- nil
			return
		}
		done <- r.Run(ctx)
		<-r.closing
		done <- r.Close()
	}()
	r.halt = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	r.stop = sync.OnceValue(func() error {
		err := r.halt()
		close(r.closing)
		return errors.Join(err, <-done)
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// settle waits until every wanted prefix but refused ones has its route.
func (r *running) settle(refused int) host.Status {
	r.t.Helper()
	var s host.Status
	until(r.t, 5*time.Second, func() error {
		if s = r.Status(); s.Looks == 0 || s.Owned+refused != s.Wanted || len(s.Errors) > 0 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	return s
}

// until polls for a condition until a deadline.
func until(t testing.TB, patience time.Duration, f func() error) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// ours is the routes of our protocol, as `ip route` shows them.
func ours(t testing.TB) string {
	t.Helper()
	var out []string
	for _, v := range []string{"-4", "-6"} {
		for l := range strings.Lines(sh(t, "ip "+v+" route show table all proto 181")) {
			l = strings.NewReplacer(" metric 4789", "", " pref medium", "", " linkdown", "", "\t", " ").Replace(l)
			out = append(out, strings.Join(strings.Fields(l), " "))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func (r *running) expect(want string) {
	r.t.Helper()
	until(r.t, soon, func() error {
		if got := ours(r.t); got != want {
			return fmt.Errorf("after %v ours are\n%s\nwant\n%s\nstatus %+v", soon, got, want, r.Status())
		}
		return nil
	})
}

func entry(prefix, via string, way route.Way) route.Entry {
	return route.PrefixEntry(1, netip.MustParsePrefix(prefix),
		route.VTEP{Addr: netip.MustParseAddr(via), Port: 4789, VNI: 1}, packet.MAC{}, way)
}

func wanted(es ...route.Entry) host.Wanted {
	return host.Wanted{Segments: []host.Segment{{VNI: 1, Device: "vx1"}}, Prefixes: es}
}

const (
	tunnel2  = "10.244.2.0/24 dev vx1 scope link src 10.244.1.0"
	direct3  = "10.244.3.0/24 via 192.0.2.3 dev eth0"
	tunnel6  = "fd00:2::/64 dev vx1 src fd00:1::"
	allThree = tunnel2 + "; " + direct3 + "; " + tunnel6
)

func three() host.Wanted {
	return wanted(entry("10.244.2.0/24", "203.0.113.2", route.Tunnel), entry("10.244.3.0/24", "192.0.2.3", route.OnLink),
		entry("fd00:2::/64", "203.0.113.2", route.Tunnel))
}

// TestDisturbed has somebody else meddle with our routes: within a second they
// are as they were.
func TestDisturbed(t *testing.T) {
	namespace(t)
	r := start(t, three())
	r.settle(0)
	r.expect(allThree)
	for _, c := range []struct{ name, script string }{
		{"one removed", "ip route del 10.244.2.0/24"},
		{"all flushed", "ip route flush proto 181; ip -6 route flush proto 181"},
		{"another device", "ip route change 10.244.2.0/24 dev eth0 proto 181 metric 4789"},
		{"another source", "ip route change 10.244.2.0/24 dev vx1 src 192.0.2.1 proto 181 metric 4789"},
		{"an MTU", "ip route change 10.244.3.0/24 via 192.0.2.3 mtu 1000 proto 181 metric 4789"},
		{"another next hop", "ip route change 10.244.3.0/24 via 192.0.2.9 proto 181 metric 4789"},
		{"onlink", "ip route change 10.244.3.0/24 via 192.0.2.3 dev eth0 onlink proto 181 metric 4789"},
		{"a black hole", "ip route replace blackhole 10.244.2.0/24 proto 181 metric 4789"},
		{"an IPv6 route elsewhere", "ip -6 route change fd00:2::/64 dev eth0 proto 181 metric 4789"},
		{"one of our number nobody wants", "ip route add 10.99.0.0/16 dev eth0 proto 181; ip -6 route add fd99::/16 dev eth0 proto 181"},
		{"in another table", "ip route add 10.244.2.0/24 dev eth0 table 77 proto 181"},
		{"one appended in the same place", "ip route append 10.244.2.0/24 dev eth0 proto 181 metric 4789"},
		{"the device down and up", "ip link set vx1 down; ip link set vx1 up; ip addr add fd00:1::/128 dev vx1"},
		{"the underlay down and up", "ip link set eth0 down; ip link set eth0 up; ip addr add 2001:db8::1/64 dev eth0; ip route add default via 192.0.2.254"},
	} {
		// No t.Run: a subtest would run in a thread of another namespace.
		t.Log(c.name)
		sh(t, c.script)
		r.expect(allThree)
	}
	if s := r.Status(); s.Restored < 5 {
		t.Errorf("%d routes restored", s.Restored)
	}
}

// TestOthersAreLeftAlone puts routes of others beside and in the place of ours.
func TestOthersAreLeftAlone(t *testing.T) {
	namespace(t)
	const theirs = `ip route add 10.244.2.0/24 via 192.0.2.9
		ip route add 10.244.2.0/24 via 192.0.2.9 metric 9000
		ip route add 10.244.3.0/24 via 192.0.2.9 proto bird metric 4789
		ip -6 route add fd00:2::/64 via 2001:db8::9
		ip route add 10.250.0.0/16 dev vx1`
	sh(t, theirs)
	others := func() string { return sh(t, "ip route show; ip -6 route show") }
	before := others()
	r := start(t, three())
	s := r.settle(1)
	r.expect(tunnel2 + "; " + tunnel6)
	var used int
	for _, c := range s.Conflicts {
		if c.Used {
			used++
		}
	}
	if len(s.Conflicts) != 4 || used != 3 {
		t.Errorf("conflicts %v", s.Conflicts)
	}
	text := strings.Join(s.Problems(), "\n")
	for _, want := range []string{"ip route del 10.244.2.0/24 via 192.0.2.9 dev eth0 proto boot", "10.244.3.0/24: somebody's route is where ours should be"} {
		if !strings.Contains(text, want) {
			t.Errorf("problems lack %q:\n%s", want, text)
		}
	}
	if out := sh(t, "ip route get 10.244.2.7"); !strings.Contains(out, "via 192.0.2.9") {
		t.Errorf("theirs is not used: %s", out)
	}
	// What the problem says helps.
	sh(t, "ip route del 10.244.3.0/24 via 192.0.2.9 dev eth0 proto 12 metric 4789")
	r.expect(allThree)
	sh(t, "ip route add 10.244.3.0/24 via 192.0.2.9 proto bird metric 4789 2>/dev/null && exit 1 || true")
	r.Set(wanted())
	r.expect("")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	sh(t, "ip route add 10.244.3.0/24 via 192.0.2.9 proto bird metric 4789")
	if after := others(); after != before {
		t.Errorf("routes of others were\n%s\nand are\n%s", before, after)
	}
}

// TestStop: routes go when the devices have gone, which takes nearly all of them
// along, and a look at many does not hold up a stop.
func TestStop(t *testing.T) {
	namespace(t)
	const many = 20_000
	w := three()
	for i := range many {
		w.Prefixes = append(w.Prefixes, entry(fmt.Sprintf("20.%d.%d.0/24", i>>8, i&255), "192.0.2.2", route.Tunnel))
	}
	r := start(t, w)
	until(t, 5*time.Second, func() error {
		if ours(t) == "" {
			return errors.New("no route yet")
		}
		return nil
	})
	if err := r.halt(); err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Split(ours(t), "; ")); n >= many {
		t.Errorf("%d routes of %d when stopped at the first one", n, many)
	}
	sh(t, "ip link del vx1; ip route add 10.244.8.0/24 via 192.0.2.8 proto 181 metric 4789")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if out := ours(t); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

// TestLeftovers starts where a former run was killed.
func TestLeftovers(t *testing.T) {
	namespace(t)
	sh(t, `ip route add 10.244.2.0/24 dev vx1 scope link src 10.244.1.0 proto 181 metric 4789
		ip route add 10.244.8.0/24 via 192.0.2.8 proto 181 metric 4789
		ip route add 10.244.3.0/24 via 192.0.2.8 proto 181 metric 4789
		ip -6 route add fd00:8::/64 via 2001:db8::8 proto 181 metric 4789`)
	r := start(t, three())
	r.expect(allThree)
	r.mu.Lock()
	rep := r.log[0]
	r.mu.Unlock()
	if rep.Added != 1 || rep.Corrected != 1 || rep.Removed != 2 {
		t.Errorf("report %+v", rep)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if out := ours(t); out != "" {
		t.Errorf("left behind: %s", out)
	}
}

// TestNothingWanted: a host without routed segments removes leftovers, and then
// leaves the claim to whoever needs it.
func TestNothingWanted(t *testing.T) {
	namespace(t)
	sh(t, `ip route add 10.244.8.0/24 via 192.0.2.8 proto 181 metric 4789`)
	idle := start(t, host.Wanted{})
	idle.expect("")
	r := start(t, three())
	r.expect(allThree)
	if err := idle.stop(); err != nil {
		t.Error(err)
	}
	r.expect(allThree)
}

// TestTwoDaemons: the second of them says why it writes nothing, and takes over
// when the first ends.
func TestTwoDaemons(t *testing.T) {
	namespace(t)
	first := start(t, three())
	first.expect(allThree)
	second := start(t, wanted(entry("10.244.9.0/24", "203.0.113.2", route.Tunnel)))
	until(t, soon, func() error {
		s := second.Status()
		if text := fmt.Sprint(s.Errors); !strings.Contains(text, fmt.Sprintf("another vtepd (pid %d)", os.Getpid())) || s.Wanted != 1 {
			return errors.New(text)
		}
		return nil
	})
	first.expect(allThree)
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	second.Wake()
	second.expect("10.244.9.0/24 dev vx1 scope link src 10.244.1.0")
}

// TestOnLinkIsDecidedAnew changes what is on-link under routes.
func TestOnLinkIsDecidedAnew(t *testing.T) {
	namespace(t)
	r := start(t, wanted(entry("10.244.3.0/24", "192.0.2.3", route.OnLink), entry("10.244.4.0/24", "198.51.100.4", route.OnLink),
		entry("10.244.5.0/24", "198.51.100.5", route.HostOnly)))
	const three, three3 = "10.244.3.0/24 via 192.0.2.3 dev eth0", "10.244.3.0/24 dev vx1 scope link src 10.244.1.0"
	const tunnel4 = "10.244.4.0/24 dev vx1 scope link src 10.244.1.0"
	r.expect(three + "; " + tunnel4)
	if s := r.settle(1); len(s.Refused) != 1 || !strings.Contains(s.Refused[0].String(), "10.244.5.0/24 of segment 1 by 198.51.100.5: it is not on-link: the host reaches it by the router 192.0.2.254") {
		t.Errorf("refused %v", s.Refused)
	}
	sh(t, "ip addr add 198.51.100.1/24 dev eth0")
	r.expect(three + "; 10.244.4.0/24 via 198.51.100.4 dev eth0; 10.244.5.0/24 via 198.51.100.5 dev eth0")
	r.mu.Lock()
	last := r.log[len(r.log)-1]
	r.mu.Unlock()
	if len(last.Solved) != 1 {
		t.Errorf("report %+v", last)
	}
	sh(t, "ip addr del 198.51.100.1/24 dev eth0; ip route add 192.0.2.3/32 via 192.0.2.254")
	r.expect(three3 + "; " + tunnel4)
	sh(t, "ip route del 192.0.2.3/32")
	r.expect(three + "; " + tunnel4)
}

// TestMultipath spreads a prefix over several on-link VTEPs.
func TestMultipath(t *testing.T) {
	namespace(t)
	r := start(t, wanted(entry("10.244.3.0/24", "192.0.2.3", route.OnLink), entry("10.244.3.0/24", "192.0.2.4", route.OnLink),
		entry("fd00:3::/64", "2001:db8::3", route.HostOnly), entry("fd00:3::/64", "2001:db8::4", route.HostOnly)))
	const want = "10.244.3.0/24; fd00:3::/64; nexthop via 192.0.2.3 dev eth0 weight 1; nexthop via 192.0.2.4 dev eth0 weight 1; " +
		"nexthop via 2001:db8::3 dev eth0 weight 1; nexthop via 2001:db8::4 dev eth0 weight 1"
	r.expect(want)
	sh(t, `ip route change 10.244.3.0/24 proto 181 metric 4789 nexthop via 192.0.2.3 weight 7 nexthop via 192.0.2.4
		ip -6 route append fd00:3::/64 via 2001:db8::5 proto 181 metric 4789`)
	r.expect(want)
	r.Set(wanted(entry("10.244.3.0/24", "192.0.2.4", route.OnLink), entry("fd00:3::/64", "2001:db8::3", route.HostOnly)))
	r.expect("10.244.3.0/24 via 192.0.2.4 dev eth0; fd00:3::/64 via 2001:db8::3 dev eth0")
}

// TestDeviceComes: a segment's device that is not there yet, and one that goes
// and comes under another index.
func TestDeviceComes(t *testing.T) {
	namespace(t)
	sh(t, "ip link del vx1")
	r := start(t, wanted(entry("10.244.2.0/24", "203.0.113.2", route.Tunnel)))
	if s := r.settle(1); !strings.Contains(fmt.Sprint(s.Problems()), "vx1 is not there") {
		t.Errorf("problems %v", s.Problems())
	}
	for range 2 {
		sh(t, "ip tuntap add dev vx1 mode tun; ip link set vx1 up")
		r.expect("10.244.2.0/24 dev vx1 scope link")
		sh(t, "ip addr add 10.244.1.0/32 dev vx1")
		r.expect(tunnel2)
		sh(t, "ip link del vx1")
	}
}

// TestSettings: what forwards is told to, and only that.
func TestSettings(t *testing.T) {
	namespace(t)
	sh(t, `echo 0 > /proc/sys/net/ipv4/ip_forward
		echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter
		ip link add other type veth peer name other2`)
	w := three()
	w.Forward = []string{"cni0", "u1"}
	r := start(t, w)
	r.expect(allThree)
	setting := func(name string) string {
		b, err := os.ReadFile("/proc/sys/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	settings := func(want map[string]string) {
		t.Helper()
		until(t, soon, func() error {
			for name, v := range want {
				if got := setting(name); got != v {
					return fmt.Errorf("%s is %s, want %s", name, got, v)
				}
			}
			return nil
		})
	}
	settings(map[string]string{
		"ipv4/ip_forward": "0", "ipv4/conf/other/forwarding": "0", "ipv4/conf/default/forwarding": "0",
		"ipv4/conf/vx1/forwarding": "1", "ipv4/conf/vx1/rp_filter": "2",
		"ipv4/conf/eth0/forwarding": "1", // a direct route leads there
		"ipv4/conf/eth0/rp_filter":  setting("ipv4/conf/default/rp_filter"),
	})
	if _, err := os.Stat("/proc/sys/net/ipv6/conf/vx1/force_forwarding"); err == nil {
		settings(map[string]string{"ipv6/conf/all/forwarding": "0", "ipv6/conf/vx1/force_forwarding": "1", "ipv6/conf/other/force_forwarding": "0"})
	} else {
		settings(map[string]string{"ipv6/conf/all/forwarding": "1", "ipv6/conf/eth0/accept_ra": "2"})
	}
	sh(t, "ip link add cni0 type bridge; ip link set cni0 up")
	settings(map[string]string{"ipv4/conf/cni0/forwarding": "1"})
	sh(t, "echo 0 > /proc/sys/net/ipv4/conf/cni0/forwarding")
	r.Wake()
	settings(map[string]string{"ipv4/conf/cni0/forwarding": "1"})
	text := strings.Join(r.Status().Settings, "\n")
	if !strings.Contains(text, "net.ipv4.conf.vx1.forwarding = 1 (was 0)") || strings.Contains(text, "other") {
		t.Errorf("settings told: %s", text)
	}
}

// TestRefusedByTheKernel: what cannot be written is said, and does not keep the
// rest from being written.
func TestRefusedByTheKernel(t *testing.T) {
	namespace(t)
	w := three()
	w.Prefixes = append(w.Prefixes, entry("fd00:9::/64", "203.0.113.2", route.Tunnel))
	sh(t, "ip -6 addr flush dev vx1; echo 1 > /proc/sys/net/ipv6/conf/vx1/disable_ipv6")
	r := start(t, w)
	r.expect(tunnel2 + "; " + direct3)
	s := r.settle(2)
	if text := strings.Join(s.Problems(), "\n"); !strings.Contains(text, "no route to fd00:9::/64 of segment 1: the kernel refuses it") {
		t.Errorf("problems: %s", text)
	}
	sh(t, "echo 0 > /proc/sys/net/ipv6/conf/vx1/disable_ipv6; ip addr add fd00:1::/128 dev vx1")
	r.expect(tunnel2 + "; " + direct3 + "; " + tunnel6 + "; fd00:9::/64 dev vx1 src fd00:1::")
}

// many is what a network of n nodes wants: one prefix a node.
func many(n int, way route.Way) host.Wanted {
	var es []route.Entry
	for i := range n {
		es = append(es, entry(fmt.Sprintf("10.%d.%d.0/24", 100+i/256, i%256), fmt.Sprintf("192.0.%d.%d", 2+i/250, 2+i%250), way))
	}
	return wanted(es...)
}

// TestMany flushes a thousand routes: all are back within a second, whichever
// way they go.
func TestMany(t *testing.T) {
	for _, way := range []route.Way{route.Tunnel, route.HostOnly} {
		namespace(t)
		sh(t, "ip addr add 192.0.64.1/17 dev eth0")
		r := start(t, many(1000, way))
		r.settle(0)
		sh(t, "ip route flush proto 181")
		until(t, soon, func() error { return r.restored(1000) })
	}
}

func (r *running) restored(n uint64) error {
	if s := r.Status(); s.Restored < n || s.Owned != s.Wanted {
		return fmt.Errorf("%d routes restored, %d owned", s.Restored, s.Owned)
	}
	return nil
}

// BenchmarkRestore5000 is the time from a flush of all routes until they are
// back. For next hops the kernel takes most of it, whoever asks: it looks
// through those of the interface for each.
func BenchmarkRestore5000(b *testing.B) {
	for name, way := range map[string]route.Way{"tunnel": route.Tunnel, "direct": route.HostOnly} {
		namespace(b)
		sh(b, "ip addr add 192.0.64.1/17 dev eth0")
		r := start(b, many(5000, way))
		r.settle(0)
		took := time.Duration(0)
		n := 0
		for range 5 {
			before := r.Status().Restored
			sh(b, "ip route flush proto 181")
			began := time.Now()
			until(b, 10*time.Second, func() error { return r.restored(before + 5000) })
			took += time.Since(began)
			n++
		}
		b.ReportMetric(float64(took.Milliseconds())/float64(n), name+"-ms")
	}
}

func BenchmarkLook5000(b *testing.B) {
	namespace(b)
	sh(b, "ip addr add 192.0.64.1/17 dev eth0")
	r := start(b, many(5000, route.HostOnly))
	r.settle(0)
	for b.Loop() {
		n := r.Status().Looks
		r.Wake()
		until(b, 10*time.Second, func() error {
			if r.Status().Looks == n {
				return errors.New("not yet")
			}
			return nil
		})
	}
}
