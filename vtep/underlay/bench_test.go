package underlay

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/vtep"
)

// namespace gives the thread of a test or benchmark a network namespace with an
// interface d0 that has 198.18.0.1/15 and a wire to nobody, until its end.
func namespace(b testing.TB) {
	b.Helper()
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(b, err)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") != "" {
			b.Fatal(err)
		}
		b.Skip("network namespaces take root")
	}
	b.Cleanup(func() {
		must(b, errors.Join(unix.Setns(home, unix.CLONE_NEWNET), unix.Close(home)))
		runtime.UnlockOSThread()
	})
	for _, args := range []string{"link add d0 type veth peer name d1", "link set d1 up", "link set d0 arp off up", "addr add 198.18.0.1/15 dev d0"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			b.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
}

// BenchmarkFlood sends a broadcast to many remotes: the time is that of one
// copy, the kernel's part up to a device that takes it included.
func BenchmarkFlood(b *testing.B) {
	for _, c := range []struct {
		remotes, size int
		copied        bool // by the kernel
	}{
		{minCopies, 64, false}, {minCopies, 64, true}, {minCopies, 1450, false}, {minCopies, 1450, true},
		{100, 64, false}, {100, 64, true}, {1000, 64, false}, {1000, 64, true}, {1000, 1450, false}, {1000, 1450, true},
	} {
		b.Run(fmt.Sprintf("remotes=%d/bytes=%d/copied=%v", c.remotes, c.size, c.copied), func(b *testing.B) {
			benchmarkFlood(b, c.remotes, c.size, c.copied)
		})
	}
}

func benchmarkFlood(b *testing.B, remotes, size int, copied bool) {
	r := newCopyRig(b, remotes, 0)
	paths := r.plain
	if copied {
		paths = r.copied
	}
	payload := make([]byte, encap.HeaderLen+size)
	t := &vtep.Train{Payload: payload, SegSize: len(payload), Entropy: 7, Copies: remotes, Account: &r.tally}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		t.Path = paths[i%remotes]
		r.send.Send(t)
		if i%remotes == remotes-1 {
			r.send.Flush()
		}
	}
	r.send.Flush()
	b.StopTimer()
	if r.frames != b.N {
		b.Errorf("%d of %d copies went: %v", r.frames, b.N, r.errs)
	}
}

// BenchmarkTurn sends trains to a socket of the same host and receives them:
// one operation is one train, in both directions of the underlay.
func BenchmarkTurn(b *testing.B) {
	for _, n := range []int{1, 44} {
		b.Run(fmt.Sprintf("datagrams=%d", n), func(b *testing.B) {
			namespace(b)
			if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			r := newRig(b, loop4, true, nil)
			tr := r.train(5, 1450, make([]byte, n*1450))
			ds := make([]vtep.Datagram, 64)
			bytes := 0
			b.SetBytes(int64(len(tr.Payload)))
			b.ReportAllocs()
			for b.Loop() {
				r.send.Send(tr)
				r.send.Flush()
				got, err := r.recv.Receive(ds)
				must(b, err)
				for _, d := range ds[:got] {
					bytes += len(d.Payload)
				}
			}
			if want := b.N * len(tr.Payload); bytes != want {
				b.Errorf("%d bytes came, want %d", bytes, want)
			}
		})
	}
}
