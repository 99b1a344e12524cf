package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

const copyRemotes = 150 // more than one write makes

// TestBroadcastReachesEachRemoteOnce floods frames to many VTEPs on a wire that
// leaves checksums to the kernels, where a wrong one is a lost datagram. None of
// their neighbours is known before.
func TestBroadcastReachesEachRemoteOnce(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %v", v6), func(t *testing.T) {
			hosts := lab.Hosts(t, 2, lab.Wire{NoOffload: true})
			a, b := hosts[0], hosts[1]
			quiet(t, a)
			remotes, sockets := manyVTEPs(t, b, v6)
			local := "192.0.2.1"
			if v6 {
				local = "2001:db8::1"
			}
			d := vtepdFile(t, a, fmt.Sprintf("underlay: {local: %q}\nsegments: [{vni: 42, remotes: [\"%s\"]}]\ndatapath: {tier: tunnel-gso}\n",
				local, strings.Join(remotes, `", "`)))
			needWhole(t, d)
			tierIs(t, d, "tunnel-gso", "")
			dev := device(t, a, "vx42")
			frames := [][]byte{bumFrame(60, 1), bumFrame(1300, 2), bumFrame(61, 3)}
			for _, f := range frames {
				must(t, dev.Send(f))
			}
			for i, s := range sockets {
				datagrams(t, remotes[i], s, frames, 0)
			}
			counted(t, d, frames)
			if got := strings.TrimSpace(run(t, a, "sh", "-c", "cat /sys/class/net/vtgso*/statistics/rx_packets")); got != "6" {
				t.Errorf("%s writes for %d frames to %d VTEPs, want 6", got, len(frames), copyRemotes)
			}

			// The program may not run inside the write any more: then a copy may
			// come twice, once for each worker.
			run(t, a, "sh", "-c", "for q in /sys/class/net/vtgso*/queues/rx-*; do echo 3 > $q/rps_cpus; done")
			late := [][]byte{bumFrame(62, 4), bumFrame(63, 5), bumFrame(64, 6), bumFrame(65, 7)}
			for _, f := range late {
				must(t, dev.Send(f))
			}
			for i, s := range sockets {
				datagrams(t, remotes[i], s, late, 2)
			}
		})
	}
}

// manyVTEPs gives a host the addresses of many VTEPs, each with a socket.
func manyVTEPs(t *testing.T, h *lab.Host, v6 bool) (addrs []string, sockets []*net.UDPConn) {
	t.Helper()
	var script strings.Builder
	for i := range copyRemotes {
		a, bits := fmt.Sprintf("192.0.2.%d", i+10), 24
		if v6 {
			a, bits = fmt.Sprintf("2001:db8::1:%x", i), 64
		}
		addrs = append(addrs, a)
		fmt.Fprintf(&script, "ip addr add %s/%d dev u0;", a, bits)
	}
	run(t, h, "sh", "-ec", script.String())
	must(t, h.Do(func() error {
		for _, a := range addrs {
			s, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(a), 4789)))
			if err != nil {
				return err
			}
			t.Cleanup(func() { must(t, s.Close()) })
			sockets = append(sockets, s)
		}
		return nil
	}))
	return addrs, sockets
}

// bumFrame is a frame to all.
func bumFrame(size int, fill byte) []byte {
	head := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5} // local experimental
	return append(head, bytes.Repeat([]byte{fill}, size-len(head))...)
}

// datagrams checks that a socket gets the frames in order, and nothing more but
// some of them, of the given number, twice.
func datagrams(t *testing.T, to string, s *net.UDPConn, frames [][]byte, twice int) {
	t.Helper()
	b := make([]byte, 2000)
	for next, wait := 0, patience; ; {
		if next == len(frames) {
			wait = time.Millisecond
		}
		must(t, s.SetReadDeadline(time.Now().Add(wait)))
		n, err := s.Read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && next == len(frames):
			return
		case err != nil:
			t.Fatalf("%s, frame %d: %v", to, next, err)
		case next < len(frames) && bytes.Equal(b[8:n], frames[next]):
			next++
		case twice > 0 && slices.ContainsFunc(frames[:next], func(f []byte) bool { return bytes.Equal(b[8:n], f) }):
			twice--
		default:
			t.Fatalf("to %s came % x", to, b[:n])
		}
	}
}

// counted waits until the counters are those of frames to all VTEPs.
func counted(t *testing.T, d *lab.Daemon, frames [][]byte) {
	t.Helper()
	var size uint64
	for _, f := range frames {
		size += uint64(len(f))
	}
	waitSegment(t, d, 42, func(s api.SegmentCounters) bool {
		sum := api.Traffic{}
		for _, r := range s.Remotes {
			if r.Tx != (api.Traffic{Frames: uint64(len(frames)), Bytes: size}) {
				return false
			}
			for _, n := range r.Errors {
				if n != 0 {
					return false
				}
			}
			sum.Frames += r.Tx.Frames
			sum.Bytes += r.Tx.Bytes
		}
		return sum == s.Tx && len(s.Remotes) == copyRemotes
	})
}
