package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// An end is a host of the lab with a vtepd whose segment's device is vx42.
type end struct {
	*lab.Host
	d *lab.Daemon
}

// newTwins joins two hosts by vtepd, as newPair does, and waits until
// connections take the way through the kernel.
func newTwins(t *testing.T, w lab.Wire, args ...string) (a, b end) {
	t.Helper()
	hosts := lab.Hosts(t, 2, w)
	var ends []end
	for i, h := range hosts {
		ends = append(ends, end{h, vtepd(t, h, append([]string{"--vni", "42", "--local", fmt.Sprintf("192.0.2.%d", i+1),
			"--remote", fmt.Sprintf("192.0.2.%d", 2-i), "--address", fmt.Sprintf("10.99.0.%d/24,fd42::%d/64", i+1, i+1)}, args...)...)})
	}
	a, b = ends[0], ends[1]
	for _, e := range ends {
		needEBPF(t, e.d)
		tierIs(t, e.d, "ebpf", "")
	}
	ping(t, a.Host, "10.99.0.2")
	ping(t, a.Host, "fd42::2")
	return a, b
}

// needEBPF skips the test where the programs do not load (Linux before 6.6),
// for which status must give the reason.
func needEBPF(t *testing.T, d *lab.Daemon) {
	t.Helper()
	st := status(t, d)
	if slices.Contains(st.Capabilities, "tcx") {
		return
	}
	if st.Tier == "ebpf" || st.WhyNotFaster == "" {
		t.Fatalf("tier %s, and why not faster is %q", st.Tier, st.WhyNotFaster)
	}
	t.Skip(st.WhyNotFaster)
}

// carried is what crossed an end: all that its daemon counted, and what of it
// crossed the device's queues, which is what user space carried: the fast path
// goes past them. Bytes are of frames; of the device super-frames count as
// one.
type carried struct{ rx, tx api.Traffic }

// loads returns what crossed an end so far.
func (e end) loads(t testing.TB) (all, user carried) {
	t.Helper()
	s := segment(t, e.d, 42)
	all = carried{s.Rx, s.Tx}
	text := run(t, e.Host, "sh", "-c", "cd /sys/class/net/vx42/statistics && cat rx_packets rx_bytes tx_packets tx_bytes")
	// What the device receives is what came by the tunnel.
	_, err := fmt.Sscan(text, &user.rx.Frames, &user.rx.Bytes, &user.tx.Frames, &user.tx.Bytes)
	must(t, err)
	return all, user
}

func (l carried) since(before carried) carried {
	sub := func(a, b api.Traffic) api.Traffic {
		return api.Traffic{Frames: a.Frames - b.Frames, Bytes: a.Bytes - b.Bytes}
	}
	return carried{sub(l.rx, before.rx), sub(l.tx, before.tx)}
}

// during returns what crossed an end while f ran.
func (e end) during(t testing.TB, f func()) (all, user carried) {
	t.Helper()
	allBefore, userBefore := e.loads(t)
	f()
	allAfter, userAfter := e.loads(t)
	return allAfter.since(allBefore), userAfter.since(userBefore)
}

// sends checks which way a connection takes that sends size bytes to a server:
// user space sees next to nothing of them, or all. It waits until it is so: maps
// follow the FDB a moment later.
func (e end) sends(t *testing.T, to *lab.Host, addr string, fast bool) {
	t.Helper()
	const size = 1 << 20
	must(t, lab.Until(patience, func() error {
		var failed error
		all, user := e.during(t, func() { failed = e.TCP(to, addr, size) })
		if failed != nil {
			return failed
		}
		return asWanted(all.tx, user.tx, size, fast)
	}))
}

// receives is sends for the other direction.
func (e end) receives(t *testing.T, from *lab.Host, addr string, fast bool) {
	t.Helper()
	const size = 1 << 20
	must(t, lab.Until(patience, func() error {
		var failed error
		all, user := e.during(t, func() { failed = from.TCP(e.Host, addr, size) })
		if failed != nil {
			return failed
		}
		return asWanted(all.rx, user.rx, size, fast)
	}))
}

func asWanted(all, user api.Traffic, size uint64, fast bool) error {
	switch {
	case all.Bytes < size:
		return fmt.Errorf("%d bytes are counted of %d", all.Bytes, size)
	case fast && user.Bytes > size/50, !fast && user.Bytes < size:
		return fmt.Errorf("the fast path is wanted: %v, but user space carried %d of %d bytes", fast, user.Bytes, size)
	}
	return nil
}

// bothFast checks that connections between two ends go the fast path in both
// directions and over both families.
func bothFast(t *testing.T, a, b end) {
	t.Helper()
	for _, c := range []struct {
		from, to end
		addr     string
	}{{a, b, "10.99.0.2"}, {b, a, "fd42::1"}} {
		c.from.sends(t, c.to.Host, c.addr, true)
		c.to.receives(t, c.from.Host, c.addr, true)
	}
}

// alike reports whether two ends count the same, but for a frame or two that a
// host sent by itself, such as of MLD, between the looks at both.
func alike(a, b api.Traffic) bool {
	apart := func(a, b uint64) uint64 { return max(a, b) - min(a, b) }
	return apart(a.Frames, b.Frames) <= 2 && apart(a.Bytes, b.Bytes) <= 2*150
}

// TestFastPath sends data over it, which must be the very same at the other
// end; both ends count the same frames, and user space sees next to none.
func TestFastPath(t *testing.T) {
	size := int64(100 << 20)
	if testing.Short() {
		size = 10 << 20
	}
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("mtu %d", mtu), func(t *testing.T) {
			a, b := newTwins(t, lab.Wire{MTU: mtu})
			bothFast(t, a, b)
			for _, c := range []struct {
				name     string
				from, to end
				addr     string
			}{{"IPv4", a, b, "10.99.0.2"}, {"IPv6", b, a, "fd42::1"}} {
				t.Run(c.name, func(t *testing.T) {
					sentBefore, sentUser := c.from.loads(t)
					gotBefore, gotUser := c.to.loads(t)
					must(t, c.from.TCP(c.to.Host, c.addr, size))
					var sent carried
					must(t, lab.Until(patience, func() error { // the end of it is still under way
						all, user := c.to.loads(t)
						got := all.since(gotBefore)
						must(t, asWanted(got.rx, user.since(gotUser).rx, uint64(size), true))
						all, user = c.from.loads(t)
						sent = all.since(sentBefore)
						must(t, asWanted(sent.tx, user.since(sentUser).tx, uint64(size), true))
						if !alike(sent.tx, got.rx) || !alike(sent.rx, got.tx) {
							return fmt.Errorf("sent %+v, the other end counts %+v", sent, got)
						}
						return nil
					}))
					// Frames are those of the wire: headers and a full payload each.
					if per := sent.tx.Bytes / sent.tx.Frames; per < uint64(mtu)*9/10-50 {
						t.Errorf("%d bytes a frame", per)
					}
				})
			}
			if s := segment(t, a.d, 42); s.Drops.Rx.Sum()+s.Drops.Tx.Sum() != 0 {
				t.Errorf("drops %+v", s.Drops)
			}
		})
	}
}

// TestFastPathWithTheKernel has the kernel's vxlan device at the other end.
func TestFastPathWithTheKernel(t *testing.T) {
	for _, w := range []lab.Wire{{}, {MTU: 9000}} {
		t.Run(fmt.Sprintf("mtu %d", max(1500, w.MTU)), func(t *testing.T) {
			p := newPair(t, w, false)
			needEBPF(t, p.daemon)
			ping(t, p.a, "10.99.0.2")
			ping(t, p.a, "fd42::2")
			a := end{p.a, p.daemon}
			for _, c := range []struct{ ours, its string }{{"10.99.0.1", "10.99.0.2"}, {"fd42::1", "fd42::2"}} {
				a.sends(t, p.b, c.its, true)
				a.receives(t, p.b, c.ours, true)
			}
			bothWays(t, p, 20<<20)
		})
	}
}

// hostCounter reads a counter of a host: of a group in a file of two lines a
// group, or by its name.
func hostCounter(t testing.TB, h *lab.Host, file, group, name string) (n int) {
	t.Helper()
	var rows [][]string
	for _, line := range strings.Split(run(t, h, "cat", "/proc/net/"+file), "\n") {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == name {
			rows = [][]string{{name}, {f[1]}}
			break
		}
		if strings.HasPrefix(line, group) {
			rows = append(rows, f)
		}
	}
	if len(rows) == 2 {
		if at := slices.Index(rows[0], name); at >= 0 {
			_, err := fmt.Sscan(rows[1][at], &n)
			must(t, err)
			return n
		}
	}
	t.Fatalf("no %s in /proc/net/%s", name, file)
	return 0
}

// disorder is how many TCP segments a host got ahead of others, and how many
// it sent again.
func disorder(t testing.TB, h *lab.Host) [2]int {
	t.Helper()
	return [2]int{hostCounter(t, h, "netstat", "TcpExt:", "TCPOFOQueue"), hostCounter(t, h, "snmp", "Tcp:", "RetransSegs")}
}
