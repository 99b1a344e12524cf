package e2e

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// procStatus returns a number of /proc/PID/status of the daemon.
func procStatus(t testing.TB, d *lab.Daemon, key string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	must(t, err)
	for _, line := range strings.Split(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			var n int
			_, err := fmt.Sscan(rest, &n)
			must(t, err)
			return n
		}
	}
	t.Fatalf("no %s in /proc/PID/status", key)
	return 0
}

// TestThousandSegments has no thread for any of them.
func TestThousandSegments(t *testing.T) {
	n := 1000
	if testing.Short() {
		n = 50
	}
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	const head = "underlay: {local: 192.0.2.1}\nsegments:\n"
	line := func(vni int) string {
		return fmt.Sprintf("  - {vni: %d, address: 10.%d.%d.1/24, remotes: [192.0.2.2]}\n", vni, vni>>8, vni&255)
	}
	d := startReloading(t, a, head+line(1))
	for _, vni := range []int{1, n} {
		must(t, b.KernelVXLAN(vni, []string{fmt.Sprintf("10.%d.%d.2/24", vni>>8, vni&255)}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	}
	ping(t, a, "10.0.1.2")
	threads := procStatus(t, d.Daemon, "Threads")

	all := head
	for vni := 1; vni <= n; vni++ {
		all += line(vni)
	}
	d.write(t, all)
	start := time.Now()
	ctl(t, d.Daemon, "reload")
	t.Logf("%d segments came in %v, %d MB", n, time.Since(start), procStatus(t, d.Daemon, "VmRSS")>>10)
	both := func(d *lab.Daemon) {
		t.Helper()
		for _, vni := range []int{1, n} {
			peer := fmt.Sprintf("10.%d.%d.2", vni>>8, vni&255)
			ping(t, a, peer)
			must(t, a.TCP(b, peer, 1<<20))
		}
	}
	both(d.Daemon)
	// The runtime may add a thread or two of its own for blocking calls.
	if now := procStatus(t, d.Daemon, "Threads"); now > threads+4 {
		t.Errorf("%d threads with one segment, %d with %d", threads, now, n)
	}
	d.write(t, head+line(1))
	ctl(t, d.Daemon, "reload")
	if out := run(t, a, "ip", "-br", "link"); strings.Count(out, "vx") != 1 {
		t.Errorf("devices are left:\n%s", out)
	}
	must(t, d.Stop())

	t.Run("from the start", func(t *testing.T) {
		d.write(t, all)
		start := time.Now()
		d := vtepd(t, a, "--config", d.file)
		took := time.Since(start)
		t.Logf("%d segments started in %v", n, took)
		if took > 15*time.Second { // thirty with a queueing discipline for each possible queue
			t.Errorf("%d segments started in %v", n, took)
		}
		both(d)
		start = time.Now()
		must(t, d.Signal(syscall.SIGTERM))
		must(t, d.Wait(20*time.Second))
		t.Logf("stopped in %v", time.Since(start))
		// Two seconds on a machine with nothing else to do; this is for one
		// that is busy. One after the other they took twenty and more.
		if took := time.Since(start); took > 12*time.Second {
			t.Errorf("%d segments stopped in %v", n, took)
		}
	})
}

// TestMillionMACs learns a million stations from the wire and keeps them in
// little memory.
func TestMillionMACs(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	quiet(t, a)
	d := vtepdFile(t, a, fmt.Sprintf(`
underlay: {local: 192.0.2.1}
segments: [{vni: 42, max_macs: %d, remotes: [192.0.2.2]}]
`, n))
	before := procStatus(t, d, "VmRSS")
	train := udpSocket(t, b)
	const each = 100
	one := vxlan(42, append(hw(t, broadcast), []byte{2, 1, 0, 0, 0, 0, 0x88, 0xb5, 0, 0, 0, 0}...))
	frames := bytes.Repeat(one, each)
	start := time.Now()
	for first := 0; first < n; first += each {
		for i := range each {
			source, mac := frames[i*len(one)+8+6:], first+i
			source[3], source[4], source[5] = byte(mac>>16), byte(mac>>8), byte(mac)
		}
		must(t, train(len(one), frames))
		if sent := first + each; sent%(n/20) == 0 { // before the socket is full
			waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.FDB.Entries == uint64(sent) })
		}
	}
	after := procStatus(t, d, "VmRSS")
	t.Logf("%d MACs in %v; RSS %d MB, was %d MB", n, time.Since(start), after>>10, before>>10)
	if grown := after - before; grown > 128<<10 {
		t.Errorf("%d MACs take %d MB", n, grown>>10)
	}
	t.Run("one more is forwarded, not learned", func(t *testing.T) {
		before := segment(t, d, 42)
		rx, full := before.Rx.Frames, before.FDB.Full
		newForger(t, a, b).send(outer{}, vxlan(42, inner{src: "02:aa:00:00:00:01"}.bytes(t)))
		waitSegment(t, d, 42, func(s api.SegmentCounters) bool {
			return s.Rx.Frames == rx+1 && s.FDB.Full > full && s.FDB.Entries == uint64(n)
		})
	})
	t.Run("the last is found, all are flushed", func(t *testing.T) {
		last := fmt.Sprintf("02:01:00:%02x:%02x:%02x", (n-1)>>16, (n-1)>>8&255, (n-1)&255)
		if out := ctl(t, d, "fdb", "get", last); !strings.Contains(out, "192.0.2.2") {
			t.Errorf("the last one: %s", out)
		}
		ctl(t, d, "fdb", "flush")
		if got := segment(t, d, 42).FDB.Entries; got != 0 {
			t.Errorf("%d entries after a flush", got)
		}
	})
}
