package underlay

import (
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/vtep"
)

// namespace gives the benchmark's thread a network namespace with an
// interface d0 that has 198.18.0.1/15 and a wire to nobody. It ends with
// the thread.
func namespace(b *testing.B) {
	b.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Skip("network namespaces take root")
	}
	for _, args := range []string{"link add d0 type veth peer name d1", "link set d1 up", "link set d0 arp off up", "addr add 198.18.0.1/15 dev d0"} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			b.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
}

// BenchmarkFlood sends a broadcast to many remotes: the time is that of one
// copy, the kernel's part up to a device that takes it included.
func BenchmarkFlood(b *testing.B) {
	for _, remotes := range []int{10, 100, 1000} {
		for _, size := range []int{64, 1450} {
			b.Run(fmt.Sprintf("remotes=%d/bytes=%d", remotes, size), func(b *testing.B) {
				namespace(b)
				d, err := NewPools().Dialer(DialSpec{V4: netip.MustParseAddr("198.18.0.1"), SrcPort: encap.PortRange{Min: 49152, Max: 65535}})
				must(b, err)
				defer d.Close()
				paths := make([]vtep.Path, remotes)
				for i := range paths {
					a := netip.AddrFrom4([4]byte{198, 18, byte(1 + i>>8), byte(i)})
					paths[i], err = d.Path(netip.AddrPortFrom(a, 4789), 42)
					must(b, err)
				}
				s, payload, n := NewSender(SenderOptions{Segment: true}), make([]byte, encap.HeaderLen+size), new(tally)
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; i < b.N; i++ {
					s.Send(&vtep.Train{Path: paths[i%remotes], Payload: payload, SegSize: len(payload), Entropy: 7, Account: n})
					if i%remotes == remotes-1 {
						s.Flush()
					}
				}
				s.Flush()
				b.StopTimer()
				if n.frames != b.N {
					b.Errorf("%d of %d copies went: %v", n.frames, b.N, n.errs)
				}
			})
		}
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
