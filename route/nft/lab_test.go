package nft_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"go.uber.org/goleak"

	"vtepd/route/nft"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how fast what was disturbed is put right again.
const soon = time.Second

// A node is a network namespace.
type node struct {
	t    testing.TB
	name string
}

var serial atomic.Int32

func newNode(t testing.TB) *node {
	t.Helper()
	if os.Geteuid() != 0 && os.Getenv("VTEPD_ROOT_TESTS") == "" {
		t.Skip("network namespaces take root; run `make test` as root")
	}
	n := &node{t, fmt.Sprintf("vtnft%x-%d", os.Getpid(), serial.Add(1))}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", n.name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	n.sh(`ip link set lo up; for d in all default; do echo 0 > /proc/sys/net/ipv6/conf/$d/accept_dad; done`)
	return n
}

// sh runs a script in the node and returns what it printed.
func (n *node) sh(script string) string {
	n.t.Helper()
	out, err := n.try(script)
	if err != nil {
		n.t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

func (n *node) try(script string) (string, error) {
	out, err := exec.Command("ip", "netns", "exec", n.name, "sh", "-ec", script).CombinedOutput()
	return string(out), err
}

// do calls f in the node.
func (n *node) do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good, as the thread is in another namespace
		ns, err := netns.GetFromName(n.name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// wire joins two nodes.
func wire(a *node, ifA string, b *node, ifB string) {
	a.t.Helper()
	a.sh(fmt.Sprintf("ip link add %s type veth peer name %s netns %s", ifA, ifB, b.name))
	a.sh("ip link set " + ifA + " up")
	b.sh("ip link set " + ifB + " up")
}

// running are Rules in a node.
type running struct {
	*nft.Rules
	stop func() error
	// halt is stop for a test that looks at the error itself.
	halt func() error

	mu  sync.Mutex
	log []nft.Report
}

func (n *node) start() *running {
	r := new(running)
	r.Rules = nft.New(nft.Config{Report: func(rep nft.Report) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.log = append(r.log, rep)
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.do(func() error { return r.Run(ctx) }) }()
	halted := false
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	r.halt = func() error {
		halted = true
		return r.stop()
	}
	n.t.Cleanup(func() {
		if err := r.stop(); err != nil && !halted {
			n.t.Error(err)
		}
	})
	return r
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

// listen opens a UDP socket in the node at an address and port 7.
func (n *node) listen(addr string) *net.UDPConn {
	n.t.Helper()
	var c *net.UDPConn
	err := n.do(func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 7)))
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// send sends a datagram from an address of the node until it arrives at the
// listening socket, at most so many times, and returns the source that it arrives with.
func (n *node) send(from string, to *net.UDPConn, times int) (string, error) {
	var c *net.UDPConn
	err := n.do(func() (err error) {
		c, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, to.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	text := fmt.Sprint("datagram ", serial.Add(1))
	buf := make([]byte, 100)
	for range times {
		if _, err := c.Write([]byte(text)); err != nil {
			return "", err
		}
		if err := to.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return "", err
		}
		for {
			k, src, err := to.ReadFromUDPAddrPort(buf)
			if err != nil {
				break // send again
			}
			if string(buf[:k]) == text {
				return src.Addr().Unmap().String(), nil
			}
		}
	}
	return "", fmt.Errorf("nothing arrives from %s at %v", from, to.LocalAddr())
}

// golden compares with a file of testdata.
func golden(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile("testdata/" + file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if strings.TrimSpace(got) != strings.TrimSpace(string(want)) {
		t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
	}
}
