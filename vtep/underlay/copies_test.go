package underlay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/underlay/tunnelgso"
)

const copyWorker = 1 // not the first queue

// A copyRig is a sender in a network namespace of its own, with many remotes
// behind d0.
type copyRig struct {
	t      testing.TB
	dev    *tunnelgso.Device
	copied []vtep.Path // to each remote, the kernel makes the copies
	plain  []vtep.Path // by sockets only
	send   *Sender
	raw    int
	tally
}

func newCopyRig(t testing.TB, v4, v6 int) *copyRig {
	t.Helper()
	namespace(t)
	ip(t, "-6 addr add 2001:db8::1/64 dev d0 nodad")
	ip(t, "link set d0 gso_max_segs 1") // no super-frame comes whole
	d0, err := net.InterfaceByName("d0")
	must(t, err)
	r := &copyRig{t: t, send: NewSender(SenderOptions{Segment: ProbeGSO() == nil, Worker: copyWorker})}
	if err := tunnelgso.Probe(); err != nil && strings.Contains(err.Error(), "6.17") {
		t.Skip(err)
	}
	r.dev, err = tunnelgso.Open(d0.Index, copyWorker+1)
	must(t, err)
	spec := DialSpec{V4: netip.MustParseAddr("198.18.0.1"), V6: netip.MustParseAddr("2001:db8::1"),
		SrcPort: encap.PortRange{Min: 49152, Max: 65535}, DF: DFBoth}
	d, err := NewPools().Dialer(spec)
	must(t, err)
	tunnels := make(map[netip.AddrPort]Tunnel)
	for i := range max(v4, v6) { // both families by turns
		if i < v4 {
			tunnels[netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(1 + i>>8), byte(i)}), 4789)] = Tunnel{r.dev, 64}
		}
		if i < v6 {
			tunnels[netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::1:%x", i)), 4789)] = Tunnel{r.dev, 64}
		}
	}
	for to := range tunnels { // in any order
		p, err := d.Path(to, 42)
		must(t, err)
		r.plain = append(r.plain, p)
	}
	d.SetTunnels(tunnels)
	for _, p := range r.plain {
		q, err := d.Path(p.Remote(), 42)
		must(t, err)
		r.copied = append(r.copied, q)
	}
	t.Cleanup(func() {
		must(t, d.Close())
		must(t, r.dev.Close())
	})
	return r
}

// listen opens a socket that sees what arrives at d1.
func (r *copyRig) listen() {
	r.t.Helper()
	d1, err := net.InterfaceByName("d1")
	must(r.t, err)
	const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	r.raw, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, unix.Close(r.raw)) })
	must(r.t, unix.SetsockoptInt(r.raw, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	must(r.t, unix.Bind(r.raw, &unix.SockaddrLinklayer{Ifindex: d1.Index, Protocol: all}))
}

func ip(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

// arrive returns the outer packets to each destination, in order, when want
// have come and no more for a while.
func (r *copyRig) arrive(want int) map[string][][]byte {
	r.t.Helper()
	out := make(map[string][][]byte)
	buf := make([]byte, 1<<16)
	n, wait := 0, 5*time.Second
	for {
		fds := []unix.PollFd{{Fd: int32(r.raw), Events: unix.POLLIN}}
		if ready, _ := unix.Poll(fds, int(wait.Milliseconds())); ready == 0 {
			break
		}
		size, _, err := unix.Recvfrom(r.raw, buf, 0)
		must(r.t, err)
		b := bytes.Clone(buf[packet.EthernetLen:size])
		switch {
		case b[0]>>4 == 4 && b[9] == packet.ProtoUDP:
			out[string(b[16:20])] = append(out[string(b[16:20])], b)
		case b[0]>>4 == 6 && b[6] == packet.ProtoUDP:
			out[string(b[24:40])] = append(out[string(b[24:40])], b)
		default: // a neighbour's or router's
			continue
		}
		if n++; n >= want {
			wait = 50 * time.Millisecond
		}
	}
	if n != want {
		r.t.Fatalf("%d datagrams came, want %d", n, want)
	}
	return out
}

// flood sends a frame to all paths and, in between, one to the last of them
// alone.
func (r *copyRig) flood(paths []vtep.Path, frame []byte, entropy uint16, tos, ttl uint8, df bool) {
	t := vtep.Train{Payload: frame, SegSize: len(frame), Entropy: entropy, TOS: tos, TTL: ttl, DF: df, Account: &r.tally}
	t.Copies = len(paths)
	for _, t.Path = range paths {
		r.send.Send(&t)
	}
	single := bytes.Clone(frame[:len(frame)-3])
	t.Payload, t.SegSize, t.Copies = single, len(single), 1
	r.send.Send(&t)
}

// TestCopiesAreWhatSocketsSend floods by the kernel's copies and by sockets,
// and compares all that arrives, and its order.
func TestCopiesAreWhatSocketsSend(t *testing.T) {
	r := newCopyRig(t, 290, 20)
	r.listen()
	frames := 0
	floods := func(paths []vtep.Path) map[string][][]byte {
		frames = 0
		for i, size := range []int{40, 1000, 41, 1360, 1359, 64} {
			header := paths[0].Header()
			b := append(header[:], bytes.Repeat([]byte{byte(i + 1)}, size)...)
			r.flood(paths, b, uint16(i/2*20000), uint8(i<<2), uint8(i*i), i%3 == 0)
			frames += len(paths) + 1
		}
		r.send.Flush()
		return r.arrive(frames)
	}
	want := floods(r.plain)
	if r.frames != frames || len(r.errs) != 0 {
		t.Fatalf("%d of %d went by sockets: %v", r.frames, frames, r.errs)
	}
	bytesWant := r.bytes
	r.tally = tally{}
	got := floods(r.copied)
	if r.frames != frames || r.bytes != bytesWant || len(r.errs) != 0 {
		t.Errorf("account says %d frames and %d bytes, want %d and %d: %v", r.frames, r.bytes, frames, bytesWant, r.errs)
	}
	if !r.dev.Copies() {
		t.Error("the device makes no copies any more")
	}
	for to, ws := range want {
		gs := got[to]
		if len(gs) != len(ws) {
			t.Fatalf("%d datagrams came to % x, want %d", len(gs), to, len(ws))
		}
		for i := range ws {
			if !bytes.Equal(unidentified(t, gs[i]), unidentified(t, ws[i])) {
				t.Fatalf("datagram %d to % x is\n% x, want\n% x", i, to, gs[i], ws[i])
			}
		}
	}
}

// unidentified is an outer packet without its IPv4 ID and the checksum, which
// must be right.
func unidentified(t testing.TB, b []byte) []byte {
	t.Helper()
	if b[0]>>4 == 6 {
		return b
	}
	if packet.Fold(packet.Sum(b[:20], 0)) != 0xffff {
		t.Errorf("bad header checksum: % x", b[:20])
	}
	out := bytes.Clone(b)
	binary.BigEndian.PutUint16(out[4:], 0)
	binary.BigEndian.PutUint16(out[10:], 0)
	return out
}

// TestCopiesThatTheKernelRefuses go by the sockets, each once.
func TestCopiesThatTheKernelRefuses(t *testing.T) {
	r := newCopyRig(t, 200, 0)
	r.listen()
	ip(t, "link set "+r.dev.Name()+" down")
	frame := make([]byte, 100)
	const floods = 20
	for range floods {
		r.flood(r.copied, frame, 7, 0, 0, false)
		r.send.Flush()
	}
	want := floods * (len(r.copied) + 1)
	r.arrive(want)
	if r.frames != want || len(r.errs) != 0 {
		t.Errorf("%d frames, want %d: %v", r.frames, want, r.errs)
	}
	if r.dev.Copies() {
		t.Error("a device that refuses is still asked")
	}
}

func TestCopiesDoNotAllocate(t *testing.T) {
	r := newCopyRig(t, 200, 0)
	frame := make([]byte, 100)
	train := &vtep.Train{Payload: frame, SegSize: len(frame), Account: &r.tally, Copies: len(r.copied)}
	if n := testing.AllocsPerRun(50, func() {
		for _, train.Path = range r.copied {
			r.send.Send(train)
		}
		r.send.Flush()
	}); n != 0 {
		t.Errorf("%v allocations a flood", n)
	}
}
