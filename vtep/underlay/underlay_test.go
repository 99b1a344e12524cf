package underlay

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/vtep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// A tally is the account of the trains of a test.
type tally struct {
	frames, bytes int
	errs          map[syscall.Errno]int
}

func (a *tally) Sent(frames, bytes int, errno syscall.Errno) {
	if errno != 0 {
		if a.errs == nil {
			a.errs = make(map[syscall.Errno]int)
		}
		a.errs[errno] += frames
		return
	}
	a.frames += frames
	a.bytes += bytes
}

var (
	loop4 = netip.MustParseAddr("127.0.0.1")
	loop6 = netip.MustParseAddr("::1")
)

// A rig is a receiver on loopback and a path to it.
type rig struct {
	t    testing.TB
	recv *Receiver
	path vtep.Path
	send *Sender
	tally
}

func newRig(t testing.TB, local netip.Addr, gro bool, edit func(*DialSpec)) *rig {
	t.Helper()
	port := freePort(t, local)
	rs, err := Listen(Spec{Addr: netip.AddrPortFrom(local, port), Workers: 1, GRO: gro, ZeroCsum6: true})
	must(t, err)
	spec := DialSpec{SrcPort: encap.PortRange{Min: 49152, Max: 65535}}
	if local.Is4() {
		spec.V4 = local
	} else {
		spec.V6 = local
	}
	if edit != nil {
		edit(&spec)
	}
	pools := NewPools()
	d, err := pools.Dialer(spec)
	must(t, err)
	p, err := d.Path(netip.AddrPortFrom(local, port), 42)
	must(t, err)
	t.Cleanup(func() {
		must(t, rs[0].Close())
		must(t, d.Close())
		if n := pools.Sockets(); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	})
	return &rig{t: t, recv: rs[0], path: p, send: NewSender(SenderOptions{Segment: ProbeGSO() == nil})}
}

// freePort returns a port that nobody uses.
func freePort(t testing.TB, a netip.Addr) uint16 {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	must(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

func (r *rig) train(entropy uint16, seg int, payload []byte) *vtep.Train {
	return &vtep.Train{Path: r.path, Payload: payload, SegSize: seg, Entropy: entropy, Account: &r.tally}
}

// receive returns the datagrams that come, trains taken apart, until want have
// come.
func (r *rig) receive(want int) (out []vtep.Datagram) {
	r.t.Helper()
	ds := make([]vtep.Datagram, 64)
	for end := time.Now().Add(5 * time.Second); len(out) < want && time.Now().Before(end); {
		n, err := r.recv.Receive(ds)
		if errors.Is(err, vtep.ErrAgain) {
			fds := []unix.PollFd{{Fd: int32(r.recv.FD()), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, 100)
			continue
		}
		must(r.t, err)
		for _, d := range ds[:n] {
			size := d.SegSize
			if size == 0 {
				size = len(d.Payload)
			}
			for rest := d.Payload; len(rest) > 0; {
				one := d
				one.Payload = bytes.Clone(rest[:min(size, len(rest))])
				out = append(out, one)
				rest = rest[len(one.Payload):]
			}
		}
	}
	if len(out) != want {
		r.t.Fatalf("%d datagrams came, want %d", len(out), want)
	}
	return out
}

// numbered returns n datagrams of size bytes back to back, the last one
// shorter by short, each with its number.
func numbered(n, size, short int) []byte {
	b := make([]byte, n*size-short)
	for i := range n {
		copy(b[i*size:], fmt.Sprintf("\x08%06d|", i))
	}
	return b
}

func TestTrainsArriveAsDatagrams(t *testing.T) {
	for _, c := range []struct {
		name          string
		local         netip.Addr
		gro           bool
		edit          func(*DialSpec)
		n, seg, short int
	}{
		{"one datagram", loop4, false, nil, 1, 100, 0},
		{"a train", loop4, true, nil, 40, 1458, 0},
		{"a train with a short end", loop4, true, nil, 40, 1458, 77},
		{"more datagrams than one message may hold", loop4, true, nil, 200, 300, 5},
		{"more bytes than one message may hold", loop4, true, nil, 46, 1458, 3},
		{"a receiver without GRO", loop4, false, nil, 40, 1458, 9},
		{"without checksum", loop4, true, func(s *DialSpec) { s.NoChecksum = true }, 10, 1000, 0},
		{"IPv6", loop6, true, nil, 40, 1438, 12},
		{"IPv6 without checksum", loop6, true, func(s *DialSpec) { s.NoChecksum6 = true }, 10, 1000, 0},
		{"DF set", loop4, true, func(s *DialSpec) { s.DF = DFSet }, 3, 1000, 0},
		{"DF by datagram", loop4, true, func(s *DialSpec) { s.DF = DFBoth }, 3, 1000, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.local, c.gro, c.edit)
			payload := numbered(c.n, c.seg, c.short)
			r.send.Send(r.train(1234, c.seg, payload))
			r.send.Flush()
			var got []byte
			for _, d := range r.receive(c.n) {
				got = append(got, d.Payload...)
				if d.Src.Addr() != c.local || d.IfIndex == 0 {
					t.Fatalf("source %v, interface %d", d.Src, d.IfIndex)
				}
			}
			if !bytes.Equal(got, payload) {
				t.Error("the datagrams are not those that were sent")
			}
			if want := len(payload) - c.n*encap.HeaderLen; r.frames != c.n || r.bytes != want || len(r.errs) > 0 {
				t.Errorf("account says %d frames, %d bytes, errors %v; want %d, %d", r.frames, r.bytes, r.errs, c.n, want)
			}
		})
	}
}

// TestMessagesAreFilledUp sends trains that are a little more than a message
// holds: each message but the last is as full as can be, whichever trains that
// takes it from, and a short datagram ends one.
func TestMessagesAreFilledUp(t *testing.T) {
	const size, most = 1450, maxMessage / 1450
	for _, c := range []struct {
		name   string
		trains [][]byte
		want   []int // datagrams of each message
	}{
		{"equal trains", [][]byte{numbered(46, size, 0), numbered(46, size, 0), numbered(46, size, 0)}, []int{most, most, most, 138 - 3*most}},
		{"a short end", [][]byte{numbered(46, size, 9), numbered(46, size, 0)}, []int{most, 46 - most, most, 46 - most}},
		{"a short train", [][]byte{numbered(46, size, 0), numbered(1, 99, 0), numbered(2, size, 0)}, []int{most, 46 - most + 1, 2}},
		{"another size", [][]byte{numbered(3, size, 0), numbered(3, 999, 0), numbered(3, 999, 0)}, []int{3, 6}},
		{"as many as a message may hold", [][]byte{numbered(63, 70, 0), numbered(63, 70, 0)}, []int{maxSegments, 126 - maxSegments}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, loop4, true, nil)
			want, n := []byte(nil), 0
			for _, b := range c.trains {
				seg := bytes.IndexByte(b[1:], 8) + 1 // each datagram begins with 8
				if seg == 0 {
					seg = len(b)
				}
				n += (len(b) + seg - 1) / seg
				want = append(want, b...)
				r.send.Send(r.train(1, seg, b))
			}
			var got []int
			for i := range r.send.n {
				got = append(got, r.send.msgs[i].segments)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("messages of %v datagrams, want %v", got, c.want)
			}
			r.send.Flush()
			var all []byte
			for _, d := range r.receive(n) {
				all = append(all, d.Payload...)
			}
			if !bytes.Equal(all, want) || r.frames != n || r.bytes != len(want)-n*encap.HeaderLen {
				t.Errorf("%d bytes of %d came, the account says %d frames, %d bytes", len(all), len(want), r.frames, r.bytes)
			}
		})
	}
}

func TestTOSAndSourcePortGoWithTheTrain(t *testing.T) {
	for _, local := range []netip.Addr{loop4, loop6} {
		r := newRig(t, local, true, nil)
		tr := r.train(0x8000, 50, numbered(1, 50, 0))
		tr.TOS, tr.TTL = 0xb9, 7
		r.send.Send(tr)
		other := r.train(0x8000, 50, numbered(1, 50, 0))
		r.send.Send(other)
		r.send.Flush()
		ds := r.receive(2)
		if ds[0].TOS != 0xb9 || ds[1].TOS != 0 {
			t.Errorf("TOS %#x and %#x, want 0xb9 and 0", ds[0].TOS, ds[1].TOS)
		}
		if ds[0].Src.Port() != ds[1].Src.Port() || ds[0].Src.Port() < 49152 {
			t.Errorf("source ports %d and %d", ds[0].Src.Port(), ds[1].Src.Port())
		}
	}
}

// The kernel's device sends flow label 0, and so do we: what tells flows apart
// is the source port.
func TestNoFlowLabel(t *testing.T) {
	r := newRig(t, loop6, false, nil)
	const ipv6FlowInfo = 11 // include/uapi/linux/in6.h
	must(t, unix.SetsockoptInt(r.recv.FD(), unix.IPPROTO_IPV6, ipv6FlowInfo, 1))
	r.send.Send(r.train(1, 50, numbered(1, 50, 0)))
	r.send.Flush()
	must(t, unix.SetNonblock(r.recv.FD(), false))
	buf, oob := make([]byte, 100), make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(r.recv.FD(), buf, oob, 0)
	must(t, err)
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	must(t, err)
	for _, m := range msgs {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == ipv6FlowInfo && m.Data[1]&15|m.Data[2]|m.Data[3] != 0 {
			t.Errorf("flow label % x", m.Data[1:])
		}
	}
}

func TestSourcePortIsAFunctionOfTheFlow(t *testing.T) {
	r := newRig(t, loop4, false, nil)
	again := NewSender(SenderOptions{}) // another worker, another tier
	seen := make(map[uint16]bool)
	for e := 0; e < 1<<16; e += 1021 {
		b := numbered(1, 20, 0)
		r.send.Send(r.train(uint16(e), len(b), b))
		r.send.Flush()
		again.Send(r.train(uint16(e), len(b), b))
		again.Flush()
		ds := r.receive(2)
		if ds[0].Src != ds[1].Src {
			t.Fatalf("flow %d leaves by %v and %v", e, ds[0].Src, ds[1].Src)
		}
		seen[ds[0].Src.Port()] = true
	}
	if len(seen) < poolSize*3/4 {
		t.Errorf("65 flows use %d source ports", len(seen))
	}
}

func TestFlowsKeepTheirOrder(t *testing.T) {
	r := newRig(t, loop4, true, nil)
	const n = 300 // more than the queue holds
	for i := range n {
		b := numbered(1, 40+i%3*7, 0)
		copy(b[10:], fmt.Sprintf("%03d", i))
		r.send.Send(r.train(uint16(i%5)*9000, len(b), b))
	}
	r.send.Flush()
	last := make(map[uint16]string)
	for _, d := range r.receive(n) {
		p, number := d.Src.Port(), string(d.Payload[10:13])
		if number <= last[p] {
			t.Fatalf("%s after %s on port %d", number, last[p], p)
		}
		last[p] = number
	}
	if r.frames != n {
		t.Errorf("account says %d frames, want %d", r.frames, n)
	}
}

func TestErrorOfOneRemoteIsItsOwn(t *testing.T) {
	r := newRig(t, loop4, false, nil)
	// Nobody listens there: ICMP port unreachable comes back.
	dead, err := r.path.(*path).dialerPath(t)
	must(t, err)
	for range 20 {
		b := numbered(1, 30, 0)
		var lost tally
		r.send.Send(&vtep.Train{Path: dead, Payload: b, SegSize: len(b), Entropy: 7, Account: &lost})
		r.send.Flush()
		r.send.Send(r.train(7, len(b), b)) // the same socket
		r.send.Flush()
	}
	r.receive(20)
}

// dialerPath is a path like p to a port where nobody listens.
func (p *path) dialerPath(t *testing.T) (vtep.Path, error) {
	q := *p
	q.remote = netip.AddrPortFrom(loop4, freePort(t, loop4))
	q.setName(q.remote, 0)
	return &q, nil
}

func TestUnroutableRemoteIsCounted(t *testing.T) {
	r := newRig(t, loop4, false, nil)
	q := *r.path.(*path)
	q.setName(netip.MustParseAddrPort("192.0.2.99:4789"), 0) // from 127.0.0.1: EINVAL
	b := numbered(4, 30, 0)
	r.send.Send(&vtep.Train{Path: &q, Payload: b, SegSize: 30, Account: &r.tally})
	r.send.Send(r.train(1, 30, numbered(1, 30, 0)))
	r.send.Flush()
	r.receive(1)
	if r.frames != 1 || r.errs[unix.EINVAL] != 4 {
		t.Errorf("%d frames went, errors %v", r.frames, r.errs)
	}
	if !r.send.Segments() && ProbeGSO() == nil {
		t.Error("a remote that cannot be reached switched UDP_SEGMENT off")
	}
}

func TestPortInUseNamesTheHolder(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: loop4.AsSlice()})
	must(t, err)
	defer c.Close()
	addr := c.LocalAddr().(*net.UDPAddr).AddrPort()
	_, err = Listen(Spec{Addr: addr, Workers: 1})
	var inUse *PortInUse
	if !errors.As(err, &inUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("error %v", err)
	}
}

func TestListenFindsAnotherDaemonOfTheSameUser(t *testing.T) {
	addr := netip.AddrPortFrom(loop4, freePort(t, loop4))
	first, err := Listen(Spec{Addr: addr, Workers: 2})
	must(t, err)
	defer func() {
		for _, r := range first {
			must(t, r.Close())
		}
	}()
	if _, err := Listen(Spec{Addr: addr, Workers: 2}); err == nil {
		t.Error("two daemons share a port")
	}
	joined, err := Listen(Spec{Addr: addr, Workers: 1, Join: true})
	must(t, err)
	must(t, joined[0].Close())
}

func TestListenOnAnAddressThatIsNotOurs(t *testing.T) {
	_, err := Listen(Spec{Addr: netip.MustParseAddrPort("203.0.113.77:4789"), Workers: 1})
	if err == nil || !strings.Contains(err.Error(), "does not have that address") {
		t.Errorf("error %v", err)
	}
}

func TestPoolSkipsBusyPorts(t *testing.T) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4zero})
	must(t, err)
	defer c.Close()
	busy := uint16(c.LocalAddr().(*net.UDPAddr).Port)
	pools := NewPools()
	d, err := pools.Dialer(DialSpec{V4: loop4, SrcPort: encap.PortRange{Min: busy - 1, Max: busy + 1}})
	must(t, err)
	if n := pools.Sockets(); n < 1 || n > 2 {
		t.Errorf("%d sockets, want those that are free of 3", n)
	}
	must(t, d.Close())
	if _, err := pools.Dialer(DialSpec{V4: loop4, SrcPort: encap.PortRange{Min: busy, Max: busy}}); err == nil {
		t.Error("a pool without a free port opens")
	}
}

func TestPoolsAreShared(t *testing.T) {
	pools := NewPools()
	spec := DialSpec{V4: loop4, SrcPort: encap.PortRange{Min: 49152, Max: 65535}}
	a, err := pools.Dialer(spec)
	must(t, err)
	n := pools.Sockets()
	spec.V4 = netip.MustParseAddr("127.0.0.2")
	b, err := pools.Dialer(spec)
	must(t, err)
	if pools.Sockets() != n || n != poolSize {
		t.Errorf("%d sockets, then %d", n, pools.Sockets())
	}
	must(t, a.Close())
	must(t, a.Close())
	if pools.Sockets() != n {
		t.Error("sockets in use were closed")
	}
	must(t, b.Close())
}

func TestSendAndReceiveDoNotAllocate(t *testing.T) {
	r := newRig(t, loop4, true, nil)
	b := numbered(20, 1000, 0)
	tr := r.train(5, 1000, b)
	ds := make([]vtep.Datagram, 64)
	if n := testing.AllocsPerRun(200, func() {
		r.send.Send(tr)
		r.send.Flush()
		_, _ = r.recv.Receive(ds)
	}); n != 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

func FuzzControl(f *testing.F) {
	f.Add(appendHeaders(packetInfo(loop4, 3), false, 64, 0xb8, 1400))
	f.Add(appendHeaders(packetInfo(loop6, 3), true, 64, 0xb8, 1400))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var d vtep.Datagram
		readControl(&d, b)
	})
}
