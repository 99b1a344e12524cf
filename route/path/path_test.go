package path

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inNamespace runs a test in a network namespace of its own with an interface
// u0 that has 192.0.2.1/24 and 2001:db8::1/64. The namespace is its thread's:
// f must not start sub-tests, which have others.
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
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0))
	ip(t, "link", "set", "lo", "up")
	ip(t, "link", "add", "u0", "type", "veth", "peer", "name", "u1")
	ip(t, "link", "set", "u0", "up")
	ip(t, "link", "set", "u1", "up")
	ip(t, "addr", "add", "192.0.2.1/24", "dev", "u0")
	ip(t, "addr", "add", "2001:db8::1/64", "dev", "u0", "nodad")
	f(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs ip(8) in the test's namespace, which its thread is in.
func ip(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

// query1 asks a Resolver that remembers nothing.
func query1(t testing.TB, dst, from string, ifIndex int) (Lookup, error) {
	t.Helper()
	r, err := NewResolver()
	must(t, err)
	defer r.Close()
	return r.Query(addr(dst), addr(from), ifIndex)
}

func TestQuery(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "addr", "add", "192.0.2.9/24", "dev", "u0")
		ip(t, "addr", "add", "198.51.100.1/24", "dev", "u1")
		ip(t, "route", "add", "203.0.113.0/24", "via", "192.0.2.254", "src", "192.0.2.9")
		ip(t, "route", "add", "203.0.113.7", "via", "192.0.2.254", "mtu", "1400")
		ip(t, "route", "add", "203.0.113.8", "via", "192.0.2.254", "mtu", "lock", "1380")
		ip(t, "route", "add", "203.0.113.9", "via", "192.0.2.254", "mtu", "9000")
		ip(t, "route", "add", "203.0.113.10", "via", "192.0.2.254", "hoplimit", "9")
		ip(t, "route", "add", "198.18.0.0/24", "encap", "ip", "id", "1", "dst", "192.0.2.254", "dev", "u0")
		ip(t, "route", "add", "blackhole", "203.0.113.66")
		ip(t, "route", "add", "unreachable", "203.0.113.67")
		ip(t, "-6", "route", "add", "2001:db8:1::/64", "via", "2001:db8::fe", "mtu", "1400")
		for _, c := range []struct {
			name, dst, from string
			want            Lookup // index left out
		}{
			{"a neighbour", "192.0.2.2", "", Lookup{Source: addr("192.0.2.1"), Device: "u0", MTU: 1500}},
			{"from an address of our own", "192.0.2.2", "192.0.2.9", Lookup{Source: addr("192.0.2.9"), Device: "u0", MTU: 1500}},
			{"by another interface", "198.51.100.2", "", Lookup{Source: addr("198.51.100.1"), Device: "u1", MTU: 1500}},
			{"the route's source", "203.0.113.1", "", Lookup{Source: addr("192.0.2.9"), Device: "u0", MTU: 1500}},
			{"the route's MTU", "203.0.113.7", "", Lookup{Source: addr("192.0.2.1"), Device: "u0", MTU: 1400}},
			{"a locked MTU", "203.0.113.8", "", Lookup{Source: addr("192.0.2.1"), Device: "u0", MTU: 1380}},
			{"an MTU larger than the interface's", "203.0.113.9", "", Lookup{Source: addr("192.0.2.1"), Device: "u0", MTU: 1500}},
			{"the route's TTL", "203.0.113.10", "", Lookup{Source: addr("192.0.2.1"), Device: "u0", MTU: 1500, Hops: 9}},
			{"headers of the route's own", "198.18.0.1", "", Lookup{Source: addr("192.0.2.1"), Device: "u0", MTU: 1500, Encap: true}},
			{"ourselves", "192.0.2.1", "", Lookup{Source: addr("192.0.2.1"), Device: "lo", MTU: 65536}},
			{"IPv6", "2001:db8::2", "", Lookup{Source: addr("2001:db8::1"), Device: "u0", MTU: 1500}},
			{"IPv6, the route's MTU", "2001:db8:1::2", "", Lookup{Source: addr("2001:db8::1"), Device: "u0", MTU: 1400}},
		} {
			got, err := query1(t, c.dst, c.from, 0)
			if err != nil || got.IfIndex == 0 {
				t.Errorf("%s: %+v, %v", c.name, got, err)
			}
			got.IfIndex = 0
			if c.want.Hops == 0 {
				c.want.Hops = 64 // the kernel's default
			}
			c.want.Ethernet = c.want.Device != "lo"
			if got != c.want {
				t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
			}
		}
		for _, dst := range []string{"10.1.2.3", "203.0.113.66", "203.0.113.67", "2001:db8:9::1"} {
			if got, err := query1(t, dst, "", 0); err == nil {
				t.Errorf("%s: %+v, want no route", dst, got)
			}
		}
	})
}

func TestQueryByTheDefaultRoute(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "addr", "add", "198.51.100.1/24", "dev", "u1")
		if got, err := query1(t, "0.0.0.0", "", 0); err == nil {
			t.Errorf("everywhere, without a default route: %+v", got)
		}
		ip(t, "route", "add", "default", "via", "198.51.100.254")
		if got, err := query1(t, "0.0.0.0", "", 0); err != nil || got.Device != "u1" || got.Source != addr("198.51.100.1") {
			t.Errorf("everywhere: %+v, %v", got, err)
		}
		u0, err := query1(t, "192.0.2.2", "", 0)
		must(t, err)
		// What is not on the named interface is still sent by it.
		if got, err := query1(t, "198.51.100.2", "", u0.IfIndex); err != nil || got.Device != "u0" {
			t.Errorf("by a named interface: %+v, %v", got, err)
		}
	})
}

func TestMTUOfTheInterface(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "link", "set", "u0", "mtu", "1450")
		for _, dst := range []string{"192.0.2.2", "2001:db8::2"} {
			if got, err := query1(t, dst, "", 0); err != nil || got.MTU != 1450 {
				t.Errorf("%s: %+v, %v", dst, got, err)
			}
		}
		// A router may say less for IPv6.
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/u0/mtu", []byte("1300"), 0))
		for dst, want := range map[string]int{"192.0.2.2": 1450, "2001:db8::2": 1300} {
			if got, err := query1(t, dst, "", 0); err != nil || got.MTU != want {
				t.Errorf("%s: %+v, %v; want %d", dst, got, err, want)
			}
		}
	})
}

func TestResolverRemembers(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		r, err := NewResolver()
		must(t, err)
		defer r.Close()
		before, err := r.Query(addr("192.0.2.2"), netip.Addr{}, 0)
		must(t, err)
		ip(t, "link", "set", "u0", "mtu", "1300")
		if again, err := r.Query(addr("192.0.2.2"), netip.Addr{}, 0); err != nil || again != before {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func TestConnected(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		l, err := query1(t, "192.0.2.2", "", 0)
		must(t, err)
		r, err := NewResolver()
		must(t, err)
		defer r.Close()
		got, err := r.Connected(l.IfIndex)
		must(t, err)
		for _, want := range []string{"192.0.2.0/24", "2001:db8::/64"} {
			if !slices.Contains(got, netip.MustParsePrefix(want)) {
				t.Errorf("no %s in %v", want, got)
			}
		}
		if _, err := r.Connected(9999); err == nil {
			t.Error("an interface that is not there has subnets")
		}
	})
}

// watching runs a Watcher on the test's namespace and counts its calls.
func watching(t *testing.T) (calls *atomic.Int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ns, err := netns.Get()
	must(t, err)
	calls = new(atomic.Int64)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never given back: it is in the namespace
		if err := netns.Set(ns); err != nil {
			done <- err
			return
		}
		w, err := Subscribe()
		if err == nil {
			err = w.Run(ctx, func() { calls.Add(1) })
		}
		done <- err
	}()
	stop = func() {
		cancel()
		select {
		case err := <-done:
			must(t, errors.Join(err, ns.Close()))
		case <-time.After(5 * time.Second):
			t.Error("the Watcher does not end")
		}
	}
	// It watches once it tells of something.
	poke := 0
	until(t, func() error {
		poke++
		ip(t, "link", "set", "u1", "mtu", fmt.Sprint(1400+poke%2))
		if calls.Load() == 0 {
			return errors.New("it does not watch")
		}
		return nil
	})
	return calls, stop
}

func until(t *testing.T, f func() error) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// still waits until nothing more is told.
func still(calls *atomic.Int64) int64 {
	for {
		n := calls.Load()
		time.Sleep(3 * settle)
		if calls.Load() == n {
			return n
		}
	}
}

func TestWatch(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		calls, stop := watching(t)
		defer stop()
		for _, change := range []string{
			"route add 203.0.113.0/24 via 192.0.2.254",
			"route change 203.0.113.0/24 via 192.0.2.254 mtu 1400",
			"route del 203.0.113.0/24",
			"-6 route add 2001:db8:1::/64 via 2001:db8::fe",
			"addr add 192.0.2.7/24 dev u0",
			"addr del 192.0.2.7/24 dev u0",
			"-6 addr add 2001:db8::7/64 dev u0 nodad",
			"rule add ipproto udp dport 4789 table 100",
			"-6 rule add to 2001:db8:1::/64 table 100",
			"link set u0 mtu 1400",
			"link add name br0 type bridge",
			"link del br0",
		} {
			before := still(calls)
			ip(t, strings.Fields(change)...)
			until(t, func() error {
				if calls.Load() == before {
					return fmt.Errorf("not told of: ip %s", change)
				}
				return nil
			})
		}
	})
}

// TestWatchIgnores: routes that the caller writes itself are no news, whatever
// else happens is.
func TestWatchIgnores(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		w, err := Subscribe()
		must(t, err)
		w.Ignored = 181
		var calls atomic.Int64
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, func() { calls.Add(1) }) }()
		before := still(&calls) // the device that came up has its queue by then
		ip(t, "route", "add", "203.0.113.0/24", "dev", "u0", "proto", "181")
		ip(t, "-6", "route", "add", "2001:db8:1::/64", "dev", "u0", "proto", "181")
		ip(t, "route", "del", "203.0.113.0/24")
		if n := still(&calls) - before; n != 0 {
			t.Errorf("told %d times of our own routes", n)
		}
		before = calls.Load()
		ip(t, "route", "add", "203.0.113.0/24", "dev", "u0")
		until(t, func() error {
			if calls.Load() == before {
				return errors.New("not told of somebody's route")
			}
			return nil
		})
		cancel()
		must(t, <-done)
	})
}

// TestWatchLosesNothing makes more events than a netlink socket holds: what is
// lost counts as a change, and many changes are told as few.
func TestWatchLosesNothing(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		calls, stop := watching(t)
		defer stop()
		before := still(calls)
		var batch strings.Builder
		const n = 20000
		for i := range n {
			fmt.Fprintf(&batch, "route add 10.%d.%d.%d/32 dev u0\n", i>>16, i>>8&255, i&255)
		}
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(batch.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		until(t, func() error {
			if calls.Load() == before {
				return errors.New("not told")
			}
			return nil
		})
		if told := still(calls) - before; told > n/100 {
			t.Errorf("%d changes were told %d times", n, told)
		}
		after := still(calls)
		ip(t, "link", "set", "u0", "mtu", "1400")
		until(t, func() error {
			if calls.Load() == after {
				return errors.New("it watches no more after a flood of events")
			}
			return nil
		})
	})
}

// TestDrainMeetsLoss reads from a socket that has lost events (ENOBUFS).
func TestDrainMeetsLoss(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		must(t, err)
		f := os.NewFile(uintptr(fd), "netlink")
		defer f.Close()
		must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2048))
		must(t, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.RTNLGRP_LINK - 1)}))
		for i := range 40 {
			ip(t, "link", "set", "u1", "mtu", fmt.Sprint(1400+i))
		}
		buf := make([]byte, 1<<16)
		if _, err := f.Read(buf); !errors.Is(err, unix.ENOBUFS) {
			t.Fatalf("nothing was lost, so this tests nothing: %v", err)
		}
		start := time.Now()
		drain(f, buf)
		if took := time.Since(start); took < settle/2 || took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
