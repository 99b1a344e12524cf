package fastpath

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
	"vtepd/vtep/underlay"
)

// Verdicts of tcx programs.
const (
	next       = 0xffffffff // TCX_NEXT: user space does it
	redirected = 7          // TCX_REDIRECT
)

// A rig is the programs with one segment and one VTEP in their maps.
type rig struct {
	t                *testing.T
	k                *Kernel
	m                *Mirror
	seg              *vtep.Segment
	remote           *vtep.Remote
	spec             Remote
	device, underlay int
	ns               *os.File
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t}
	r.device, r.underlay = namespace(t)
	var err error
	r.ns, err = os.Open("/proc/thread-self/ns/net")
	must(t, err)
	t.Cleanup(func() { must(t, r.ns.Close()) })
	r.k, err = Open()
	must(t, err)
	t.Cleanup(func() { must(t, r.k.Close()) })
	r.m = NewMirror(r.k, func() fdb.Tick { return 5000 })
	dialer, err := underlay.NewPools().Dialer(underlay.DialSpec{V4: vtepA, SrcPort: encap.PortRange{Min: 49152, Max: 65535}})
	must(t, err)
	t.Cleanup(func() { must(t, dialer.Close()) })
	r.seg = vtep.NewSegment(42, "vx42", 1, vtep.Options{FDB: fdb.Limits{Max: 1000, Share: 100}, PathMTU: 1500}, dialer)
	r.seg.FDB().SetNotify(func(c fdb.Change) { r.m.Changed(r.seg, c.Entry.MAC) })
	r.remote = r.name(vtepB)
	r.spec = Remote{Src: vtepA, Dst: vtepB, Port: encap.Port, VNI: 42, Heard: true, OurPort: encap.Port, OurVNI: 42, Egress: r.underlay, FrameLimit: 1464, DeviceLimit: 1464,
		TTL: 64, SrcPorts: dialer.SourcePorts()}
	r.seg.FDB().Learn(theirMAC, r.remote.Dest(), 100)
	must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: r.spec}))
	return r
}

// enter has a subtest, which has a thread of its own, go on in the rig's
// namespace.
func (r *rig) enter(t *testing.T) {
	t.Helper()
	r.t = t
	runtime.LockOSThread() // for good
	must(t, unix.Setns(int(r.ns.Fd()), unix.CLONE_NEWNET))
}

// name makes a VTEP a remote of the segment.
func (r *rig) name(a netip.Addr) *vtep.Remote {
	r.t.Helper()
	v := vtep.VTEP{Addr: a, Port: encap.Port, VNI: 42}
	must(r.t, r.seg.Change(func(c *vtep.Change) error { return c.AddFlood(v) }))
	for _, remote := range r.seg.Remotes() {
		if remote.VTEP() == v {
			return remote
		}
	}
	r.t.Fatal("no remote")
	return nil
}

// buff is the head of struct __sk_buff (include/uapi/linux/bpf.h).
type buff struct {
	_              [9]uint32
	IngressIfIndex uint32
	IfIndex        uint32
}

// run gives a frame to a program as the kernel would on a device, which it
// addresses it to if it comes from outside and to nobody else.
func (r *rig) run(p *ebpf.Program, ifIndex int, frame []byte) (verdict uint32, out []byte) {
	r.t.Helper()
	if p == r.k.in.ToLocal && bytes.Equal(frame[:6], make([]byte, 6)) {
		ifi, err := net.InterfaceByIndex(ifIndex)
		must(r.t, err)
		copy(frame, ifi.HardwareAddr)
	}
	o := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: buff{IfIndex: uint32(ifIndex)}}
	verdict, err := p.Run(o)
	must(r.t, err)
	return verdict, o.DataOut
}

func (r *rig) fromLocal(s segmentOf) (uint32, []byte) {
	r.t.Helper()
	return r.run(r.k.in.FromLocal, r.device, s.frame(r.t))
}

// begin has the programs see the beginning of a connection, both ways.
func (r *rig) begin(s segmentOf) {
	r.t.Helper()
	s.syn, s.back = true, false
	if v, _ := r.fromLocal(s); v != next {
		r.t.Fatalf("the first frame of a connection: verdict %d", v)
	}
	s.back = true
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, wrapped(r.t, fromThem(), s.frame(r.t))); v != next {
		r.t.Fatalf("the first frame of an answer: verdict %d", v)
	}
}

// TestFromLocalWraps has gopacket read what the program puts in front of a
// frame. Source port and TOS are to be those that user space chooses.
func TestFromLocalWraps(t *testing.T) {
	r := newRig(t)
	for i, c := range []struct {
		name string
		seg  segmentOf
		edit func(*Remote)
		want func(*encap.Outer)
	}{
		{"TCP over IPv4", segmentOf{payload: 100}, nil, nil},
		{"TCP over IPv6", segmentOf{v6: true, payload: 100}, nil, nil},
		{"no payload", segmentOf{}, nil, nil},
		{"full size", segmentOf{payload: 1450 - 40}, nil, nil},
		{"ECT(1), DSCP not copied", segmentOf{tos: 0xb9}, nil, nil},
		{"ECT(0), DSCP as configured", segmentOf{tos: 0xba}, func(s *Remote) { s.TOS = 0x20 }, nil},
		{"CE", segmentOf{tos: 0xbb}, nil, nil},
		{"TOS inherited", segmentOf{tos: 0xb9}, func(s *Remote) { s.TOSInherit = true }, nil},
		{"CE inherited", segmentOf{tos: 0xbb}, func(s *Remote) { s.TOSInherit = true }, nil},
		{"traffic class inherited", segmentOf{v6: true, tos: 0xb9}, func(s *Remote) { s.TOSInherit = true }, nil},
		{"DF and TTL", segmentOf{}, func(s *Remote) { s.DF, s.TTL = true, 3 }, func(o *encap.Outer) { o.DF, o.TTL = true, 3 }},
		{"another VNI and port", segmentOf{}, func(s *Remote) { s.VNI, s.Port = 0xabcdef, 8472 }, func(o *encap.Outer) { o.VNI, o.DstPort = 0xabcdef, 8472 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.enter(t)
			c.seg.src, c.seg.dst = uint16(20000+i), 80
			spec := r.spec
			if c.edit != nil {
				c.edit(&spec)
			}
			must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: spec}))
			start := c.seg
			start.syn = true
			if v, _ := r.fromLocal(start); v != next {
				t.Fatalf("SYN: verdict %d", v)
			}
			verdict, out := r.fromLocal(c.seg)
			if verdict != redirected {
				t.Fatalf("verdict %d", verdict)
			}
			inner := c.seg.frame(t)
			got, err := encap.NewDecoder().Decode(out)
			must(t, err)
			var p packet.Parsed
			p.Parse(inner)
			port := spec.SrcPorts[int(p.FlowHash(inner))*len(spec.SrcPorts)>>16]
			want := encap.Outer{Src: vtepA, Dst: vtepB, SrcPort: port, DstPort: encap.Port, VNI: 42, TTL: 64}
			base := spec.TOS
			if spec.TOSInherit {
				base = p.TOS
			}
			want.TOS = packet.OuterTOS(&p, base)
			if c.want != nil {
				c.want(&want)
			}
			want.SrcMAC, want.DstMAC = got.SrcMAC, got.DstMAC // the kernel fills them in
			if got.Outer != want {
				t.Errorf("\ngot  %+v\nwant %+v", got.Outer, want)
			}
			if !bytes.Equal(got.Inner, inner) {
				t.Errorf("inner frame\n%x, want\n%x", got.Inner, inner)
			}
			if sum := packet.Fold(packet.Sum(out[14:34], 0)); sum != 0xffff {
				t.Errorf("the outer IP header sums up to %#04x", sum)
			}
		})
	}
}

// TestFromLocalLeaves has what is not for the fast path: it goes on unchanged.
func TestFromLocalLeaves(t *testing.T) {
	r := newRig(t)
	good := segmentOf{src: 30000, dst: 80, payload: 10}
	other := segmentOf{src: 30001, dst: 80, v6: true, payload: 10}
	r.begin(good)
	r.begin(other)
	edit := func(s segmentOf, f func(*segmentOf)) []byte {
		f(&s)
		return s.frame(t)
	}
	damaged := func(s segmentOf, at int, b byte) []byte {
		f := s.frame(t)
		f[at] = b
		return f
	}
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"UDP", edit(good, func(s *segmentOf) { s.udp = true })},
		{"a beginning", edit(good, func(s *segmentOf) { s.syn = true })},
		{"a VLAN tag", edit(good, func(s *segmentOf) { s.vlan = true })},
		{"a fragment", edit(good, func(s *segmentOf) { s.fragment = true })},
		{"IPv4 options", edit(good, func(s *segmentOf) { s.options = 4 })},
		{"a multicast MAC", edit(good, func(s *segmentOf) { s.multicast = true })},
		{"padding behind the packet", edit(good, func(s *segmentOf) { s.padding = 6 })},
		{"an unknown MAC", damaged(segmentOf{src: 30002, dst: 80, payload: 10}, 5, 9)},
		{"a multicast source", damaged(good, 6, 3)},
		{"another EtherType", damaged(good, 12, 0x88)},
		{"an IP version that is none", damaged(good, 14, 0x65)},
		{"a short TCP header", damaged(good, 14+20+12, 0x40)},
		{"a TCP header longer than the packet", damaged(segmentOf{src: 30000, dst: 80}, 14+20+12, 0x60)},
		{"an IPv6 extension header", damaged(other, 14+6, 60)},
		{"an IPv6 length that is too short", damaged(other, 14+5, 21)},
		{"a cut header", good.frame(t)[:14+20+10]},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.enter(t)
			verdict, out := r.run(r.k.in.FromLocal, r.device, c.frame)
			if verdict != next || !bytes.Equal(out, c.frame) {
				t.Errorf("verdict %d, frame\n%x, was\n%x", verdict, out, c.frame)
			}
		})
	}
	for _, s := range []segmentOf{good, other} {
		r.begin(s) // some of the above took it along
		if v, _ := r.fromLocal(s); v != redirected {
			t.Errorf("the connection itself: verdict %d", v)
		}
	}
	if v, _ := r.run(r.k.in.FromLocal, r.underlay, good.frame(t)); v != next {
		t.Errorf("on another device: verdict %d", v)
	}
}

// drained is DRAINED of bpf/fastpath.c, and somewhat more.
const drained = 260 * time.Millisecond

// TestOneWay holds a connection to one way: what has to go through user space
// takes all after it along, until user space has nothing of it any more.
func TestOneWay(t *testing.T) {
	r := newRig(t)
	large := segmentOf{src: 40000, dst: 80, payload: 1411} // one byte more than fits
	small := segmentOf{src: 40000, dst: 80, payload: 1}
	if v, _ := r.fromLocal(small); v != next {
		t.Fatalf("a connection whose beginning nobody saw: verdict %d", v)
	}
	r.begin(small)
	last := time.Now()
	for _, step := range []struct {
		name string
		seg  segmentOf
		want uint32
	}{
		{"begun", small, redirected}, {"too large", large, next}, {"after it", small, next}, {"again", small, next},
	} {
		v, _ := r.fromLocal(step.seg)
		if paused := time.Since(last); paused >= drained {
			t.Logf("%s: the machine paused for %v, and so did the flow", step.name, paused)
			return
		}
		if v != step.want {
			t.Fatalf("%s: verdict %d, want %d", step.name, v, step.want)
		}
		last = time.Now()
	}
	time.Sleep(drained)
	if v, _ := r.fromLocal(small); v != redirected {
		t.Errorf("after a pause: verdict %d", v)
	}
}

// connect opens a TCP connection between two addresses of this host, so that
// the kernel has sockets for it, and returns its ports.
func connect(t *testing.T, us, them netip.Addr) (ourPort, theirPort uint16) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	for _, a := range []netip.Addr{us, them} {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Flags: 2 /* IFA_F_NODAD */}
		must(t, netlink.AddrAdd(lo, addr))
	}
	l, err := net.Listen("tcp", netip.AddrPortFrom(us, 0).String())
	must(t, err)
	t.Cleanup(func() { l.Close() })
	d := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(them, 0))}
	c, err := d.Dial("tcp", l.Addr().String())
	for until := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(until); c, err = d.Dial("tcp", l.Addr().String()) {
		time.Sleep(time.Millisecond) // the kernel makes routes of IPv6 addresses in its own time
	}
	must(t, err)
	s, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), c.LocalAddr().(*net.TCPAddr).AddrPort().Port()
}

// TestToLocalUnwraps delivers what a known VTEP sends to a socket of this host,
// and nothing else.
func TestToLocalUnwraps(t *testing.T) {
	r := newRig(t)
	connections := make(map[bool]segmentOf)
	for _, v6 := range []bool{false, true} {
		us, them := ours4, theirs4
		if v6 {
			us, them = ours6, theirs6
		}
		s := segmentOf{v6: v6, back: true, payload: 20}
		s.src, s.dst = connect(t, us, them)
		connections[v6] = s
		r.begin(s)
	}
	good := connections[false]
	type outer = func(*encap.Outer)
	for _, c := range []struct {
		name  string
		outer outer
		inner []byte
		edit  func(datagram []byte) []byte
		want  uint32
	}{
		{"IPv4", nil, good.frame(t), nil, redirected},
		{"IPv6", nil, connections[true].frame(t), nil, redirected},
		{"with an outer checksum", func(o *encap.Outer) { o.Checksum = true }, good.frame(t), nil, redirected},
		{"any source port", func(o *encap.Outer) { o.SrcPort = 7 }, good.frame(t), nil, redirected},
		{"a stranger", func(o *encap.Outer) { o.Src = netip.MustParseAddr("192.0.2.9") }, good.frame(t), nil, next},
		{"to another address", func(o *encap.Outer) { o.Dst = netip.MustParseAddr("192.0.2.9") }, good.frame(t), nil, next},
		{"another VNI", func(o *encap.Outer) { o.VNI = 43 }, good.frame(t), nil, next},
		{"another port", func(o *encap.Outer) { o.DstPort = 8472 }, good.frame(t), nil, next},
		{"CE on what is not capable of ECN", func(o *encap.Outer) { o.TOS = 3 }, good.frame(t), nil, next},
		{"a bad IP checksum", nil, good.frame(t), func(b []byte) []byte { b[24]++; return b }, next},
		{"a frame for another host", nil, good.frame(t), func(b []byte) []byte { copy(b, theirMAC[:]); return b }, next},
		{"a fragment", nil, good.frame(t), func(b []byte) []byte { b[20] |= 0x20; b[24] -= 0x20; return b }, next},
		{"a reserved flag", nil, good.frame(t), func(b []byte) []byte { b[42] |= 1; return b }, next},
		{"reserved bits behind the VNI", nil, good.frame(t), func(b []byte) []byte { b[49] = 1; return b }, next},
		{"no I flag", nil, good.frame(t), func(b []byte) []byte { b[42] = 0; return b }, next},
		{"bytes behind the datagram", nil, good.frame(t), func(b []byte) []byte { return append(b, 0, 0) }, next},
		{"cut short", nil, good.frame(t), func(b []byte) []byte { return b[:60] }, next},
		{"a MAC that is elsewhere", nil, func() []byte { f := good.frame(t); f[11] = 9; return f }(), nil, next},
		{"padding in the inner frame", nil, func() []byte { s := good; s.padding = 4; return s.frame(t) }(), nil, next},
		{"a connection that ends elsewhere", nil, func() []byte { s := good; s.dst++; return s.frame(t) }(), nil, next},
		{"too large for the device", nil, func() []byte { s := good; s.payload = 1411; return s.frame(t) }(), nil, next},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.enter(t)
			o := fromThem()
			if c.outer != nil {
				c.outer(&o)
			}
			d := wrapped(t, o, c.inner)
			if c.edit != nil {
				d = c.edit(d)
			}
			verdict, out := r.run(r.k.in.ToLocal, r.underlay, d)
			want := d
			if c.want == redirected {
				want = c.inner
			}
			if verdict != c.want || !bytes.Equal(out, want) {
				t.Errorf("verdict %d, want %d; frame\n%x, want\n%x", verdict, c.want, out, want)
			}
			r.begin(good) // the next case finds the connection on the fast path
			r.begin(connections[true])
		})
	}
	if v, _ := r.run(r.k.in.ToLocal, r.device, wrapped(t, fromThem(), good.frame(t))); v != next {
		t.Errorf("by another interface: verdict %d", v)
	}
}

// TestTrainsKeepOrder: user space takes trains of datagrams apart, which may be
// of several connections; none of them may be overtaken.
func TestTrainsKeepOrder(t *testing.T) {
	r := newRig(t)
	s := segmentOf{back: true, payload: 20}
	s.src, s.dst = connect(t, ours4, theirs4)
	r.begin(s)
	single := wrapped(t, fromThem(), s.frame(t))
	elsewhere := fromThem()
	elsewhere.SrcPort++
	other := wrapped(t, elsewhere, s.frame(t))
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, single); v != redirected {
		t.Fatalf("before: verdict %d", v)
	}
	foreign := s
	foreign.src++ // of another connection, behind the same outer headers
	train := wrapped(t, fromThem(), append(foreign.frame(t), single[42:]...))
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, train); v != next {
		t.Fatalf("a train: verdict %d", v)
	}
	sent := time.Now()
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, single); v != next && time.Since(sent) < drained {
		t.Errorf("a datagram behind a train: verdict %d", v)
	}
	r.begin(s)
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, other); v != redirected {
		t.Errorf("by another source port: verdict %d", v)
	}
	time.Sleep(drained)
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, single); v != redirected {
		t.Errorf("after a pause: verdict %d", v)
	}
}

// TestToLocalMergesECN holds the inner ECN bits to RFC 6040 §4.2.
func TestToLocalMergesECN(t *testing.T) {
	r := newRig(t)
	for _, v6 := range []bool{false, true} {
		us, them := ours4, theirs4
		if v6 {
			us, them = ours6, theirs6
		}
		s := segmentOf{v6: v6, back: true}
		s.src, s.dst = connect(t, us, them)
		for inner := range uint8(4) {
			for outer := range uint8(4) {
				t.Run(fmt.Sprintf("IPv6 %v, %02b in %02b", v6, inner, outer), func(t *testing.T) {
					r.enter(t)
					r.begin(s)
					s := s
					s.tos = 0x40 | inner
					o := fromThem()
					o.TOS = outer
					verdict, out := r.run(r.k.in.ToLocal, r.underlay, wrapped(t, o, s.frame(t)))
					want := inner
					switch {
					case outer == 3 && inner == 0, outer == 1 && inner == 2:
						if verdict != next { // user space drops it, or makes it ECT(1)
							t.Errorf("verdict %d", verdict)
						}
						return
					case outer == 3:
						want = 3
					}
					s.tos = 0x40 | want
					if verdict != redirected || !bytes.Equal(out, s.frame(t)) {
						t.Errorf("verdict %d, frame\n%x, want\n%x", verdict, out, s.frame(t))
					}
				})
			}
		}
	}
}
