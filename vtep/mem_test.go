package vtep

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"vtepd/encap"
	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

// A given frame is what a memPort hands over: bytes and what is left to do on
// them.
type given struct {
	bytes []byte
	gso   offload.GSO
}

// A written frame is what a memPort was handed.
type written struct {
	bytes []byte
	gso   offload.GSO
}

// memPort is a device in memory.
type memPort struct {
	caps    offload.Caps
	in      []given
	readErr error // when in is empty, instead of ErrAgain
	out     []written
	refuse  func(offload.GSO) error // says what Write returns

	loop, left int // with loop: in[0], so often a burst; what is written is not kept
}

func (p *memPort) FD() int            { return -1 }
func (p *memPort) Caps() offload.Caps { return p.caps }
func (p *memPort) Close() error       { return nil }

func (p *memPort) Read(f *offload.Frame) error {
	if p.loop > 0 {
		if p.left == 0 {
			p.left = p.loop
			return ErrAgain
		}
		p.left--
	}
	if len(p.in) == 0 {
		if p.readErr != nil {
			return p.readErr
		}
		return ErrAgain
	}
	g := p.in[0]
	if p.loop == 0 {
		p.in = p.in[1:]
	}
	if len(f.Buf) < offload.Headroom+offload.MaxFrame {
		return fmt.Errorf("a buffer of %d bytes", len(f.Buf))
	}
	f.Off, f.Len, f.GSO = offload.Headroom, len(g.bytes), g.gso
	copy(f.Bytes(), g.bytes)
	return nil
}

func (p *memPort) Write(gso offload.GSO, pieces [][]byte) error {
	if p.refuse != nil {
		if err := p.refuse(gso); err != nil {
			return err
		}
	}
	if p.loop == 0 {
		p.out = append(p.out, written{bytes.Join(pieces, nil), gso})
	}
	return nil
}

// memReceiver is a socket in memory.
type memReceiver struct {
	in   []Datagram
	most int // datagrams a Receive, 0 for as many as fit

	loop int      // so often in[0] a Receive, copied each time
	bufs [][]byte // for the copies
}

func (r *memReceiver) FD() int      { return -1 }
func (r *memReceiver) Close() error { return nil }

func (r *memReceiver) Receive(ds []Datagram) (int, error) {
	if r.loop > 0 {
		for i := range ds[:r.loop] {
			if i == len(r.bufs) {
				r.bufs = append(r.bufs, make([]byte, len(r.in[0].Payload)))
			}
			ds[i] = r.in[0]
			ds[i].Payload = r.bufs[i][:copy(r.bufs[i], r.in[0].Payload)]
		}
		return r.loop, nil
	}
	if len(r.in) == 0 {
		return 0, ErrAgain
	}
	if r.most > 0 {
		ds = ds[:min(r.most, len(ds))]
	}
	n := copy(ds, r.in)
	r.in = r.in[n:]
	return n, nil
}

// A sent train is what a memSender was handed, as it was at its flush.
type sent struct {
	to       netip.AddrPort
	payload  []byte
	segSize  int
	entropy  uint16
	tos, ttl uint8
	df       bool
	errno    syscall.Errno
}

// frames returns the inner frames of a train, without their headers.
func (s *sent) frames() (out [][]byte) {
	for rest := s.payload; len(rest) > 0; {
		n := min(s.segSize, len(rest))
		out = append(out, rest[min(encap.HeaderLen, n):n])
		rest = rest[n:]
	}
	return out
}

func (s *sent) vni() uint32 {
	vni, _ := encap.ParseHeader(s.payload)
	return vni
}

// memSender is a socket in memory. Like a real one it looks at payloads when it
// is flushed; it complains when they have changed since they were queued.
type memSender struct {
	tb      testing.TB
	queue   []Train
	early   [][]byte // payloads when they were queued
	out     []sent
	refuse  func(*Train) syscall.Errno
	discard bool
	closed  int

	refuseWhole func(*Train) syscall.Errno // nil: every path takes wire frames only
	whole       []wholeFrame
}

func (s *memSender) Send(t *Train) {
	if len(s.queue) == 128 {
		s.Flush()
	}
	s.queue = append(s.queue, *t)
	if !s.discard {
		s.early = append(s.early, bytes.Clone(t.Payload))
	}
}

// SendWhole takes super-frames when the sender is made to, and says what
// refuseWhole says.
func (s *memSender) SendWhole(t *Train, f *offload.Frame, l3 int) syscall.Errno {
	if s.refuseWhole == nil {
		return ErrCut
	}
	if errno := s.refuseWhole(t); errno != 0 {
		return errno
	}
	s.Flush()
	frames, _ := offload.WireFrames(f.Len, &f.GSO)
	t.Account.Sent(frames, f.Len+(frames-1)*int(f.GSO.HdrLen), 0)
	clear(f.Buf[f.Off-24-14-40-16 : f.Off]) // the outer headers
	if !s.discard {
		s.whole = append(s.whole, wholeFrame{sent{t.Path.Remote(), bytes.Clone(f.Bytes()), f.Len, t.Entropy, t.TOS, t.TTL, t.DF, 0}, l3, len(s.out)})
	}
	return 0
}

// A wholeFrame is a super-frame that a memSender was handed whole.
type wholeFrame struct {
	sent
	l3     int
	behind int // trains that were sent before it
}

func (s *memSender) Flush() {
	for i := range s.queue {
		t := &s.queue[i]
		frames := (len(t.Payload) + t.SegSize - 1) / t.SegSize
		var errno syscall.Errno
		if s.refuse != nil {
			errno = s.refuse(t)
		}
		t.Account.Sent(frames, len(t.Payload)-frames*encap.HeaderLen, errno)
		if s.discard {
			continue
		}
		if !bytes.Equal(s.early[i], t.Payload) {
			s.tb.Error("a payload was changed between Send and Flush")
		}
		if h := t.Path.Header(); !bytes.Equal(t.Payload[:encap.HeaderLen], h[:]) {
			s.tb.Errorf("header % x on the path of % x", t.Payload[:encap.HeaderLen], h)
		}
		s.out = append(s.out, sent{t.Path.Remote(), bytes.Clone(t.Payload), t.SegSize, t.Entropy, t.TOS, t.TTL, t.DF, errno})
	}
	s.queue, s.early = s.queue[:0], s.early[:0]
}

func (s *memSender) Close() error { s.closed++; return nil }

type memPath struct {
	remote netip.AddrPort
	header encap.Header
}

func (p memPath) Remote() netip.AddrPort { return p.remote }
func (p memPath) Header() encap.Header   { return p.header }

// memDialer compiles paths to anywhere, but to bad.
type memDialer struct{ bad netip.Addr }

func (d memDialer) Path(remote netip.AddrPort, vni uint32) (Path, error) {
	if remote.Addr() == d.bad {
		return nil, syscall.ENETUNREACH
	}
	return memPath{remote, encap.MakeHeader(vni)}, nil
}

// The addresses of the tests.
var (
	local4  = netip.MustParseAddr("192.0.2.1")
	local6  = netip.MustParseAddr("2001:db8::1")
	alpha   = VTEP{netip.MustParseAddr("192.0.2.2"), 4789, 42}
	beta    = VTEP{netip.MustParseAddr("192.0.2.3"), 4790, 42}
	gamma   = VTEP{netip.MustParseAddr("2001:db8::4"), 4789, 42}
	delta   = VTEP{netip.MustParseAddr("192.0.2.5"), 4789, 99} // another VNI
	group   = VTEP{netip.MustParseAddr("239.1.1.1"), 4789, 42}
	self    = VTEP{local4, 4789, 42}
	strange = netip.MustParseAddr("203.0.113.9") // named by nobody

	devMAC   = packet.MAC{2, 0, 0, 0, 0, 1}
	hostMAC  = packet.MAC{2, 0, 0, 0, 1, 1} // on our side
	farMAC   = packet.MAC{2, 0, 0, 0, 2, 2} // on the other
	otherMAC = packet.MAC{2, 0, 0, 0, 3, 3}
	groupMAC = packet.MAC{0x01, 0, 0x5e, 1, 1, 1}
	allMAC   = packet.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func defaults() Options {
	return Options{Learning: true, AcceptKnown: true, TOSInherit: true, Local: []netip.Addr{local4, local6},
		MAC: devMAC, DeviceMTU: 1450, PathMTU: 1500, Port: 4789, FDB: fdb.Limits{Max: 1000, Share: 100}}
}

// A rig is a segment of VNI 42 and one worker that is stepped by hand.
type rig struct {
	testing.TB
	w    *Worker
	v    *view
	a    *attachment
	s    *socket
	seg  *Segment
	port *memPort
	recv *memReceiver
	send *memSender
}

func newRig(tb testing.TB, caps offload.Caps, change ...func(*Options)) *rig {
	tb.Helper()
	return newRigOf(NewSegment, tb, caps, change...)
}

// newRigOf makes a rig of a segment that a function makes.
func newRigOf(segment func(uint32, string, int, Options, Dialer) *Segment, tb testing.TB, caps offload.Caps, change ...func(*Options)) *rig {
	tb.Helper()
	r := &rig{TB: tb, port: &memPort{caps: caps}, recv: &memReceiver{}, send: &memSender{tb: tb}}
	o := defaults()
	for _, f := range change {
		f(&o)
	}
	r.seg = segment(42, "vx42", 1, o, memDialer{bad: netip.MustParseAddr("192.0.2.66")})
	r.w = NewEngine(Config{Senders: []Sender{r.send}}).workers[0]
	r.serve(&Set{
		Devices:      []Device{{r.seg, []Port{r.port}}},
		Listeners:    []Listener{{[]Receiver{r.recv}, map[uint32]*Segment{42: r.seg}}},
		OwnIfIndexes: []int32{77},
	})
	return r
}

// serve has the worker serve set. It adopts it without an epoll set.
func (r *rig) serve(set *Set) {
	r.w.adopt(newView(set, 0, r.w.current.Load(), nil))
	r.v = r.w.current.Load()
	r.a, r.s = r.v.attachments[0], r.v.sockets[0]
}

func (r *rig) change(f func(*Change) error) {
	r.Helper()
	if err := r.seg.Change(f); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) flood(to ...VTEP) {
	r.Helper()
	r.change(func(c *Change) error {
		for _, v := range to {
			if err := c.AddFlood(v); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *rig) static(mac packet.MAC, to ...VTEP) {
	r.Helper()
	r.change(func(c *Change) error { return c.PutMAC(mac, fdb.Permanent, fdb.Config, 0, to...) })
}

func (r *rig) options(f func(*Options)) {
	o := *r.seg.Options()
	f(&o)
	r.seg.SetOptions(o)
}

// fromDevice has the worker read frames from the device and returns what it
// sent.
func (r *rig) fromDevice(frames ...given) []sent {
	r.Helper()
	r.send.out = nil
	r.port.in = append(r.port.in, frames...)
	for len(r.port.in) > 0 {
		if _, _, err := r.w.fromLocal(r.a); err != nil {
			r.Fatal(err)
		}
	}
	return r.send.out
}

// fromTunnel has the worker receive datagrams and returns what it wrote to the
// device. Nothing of it may go back into the tunnel.
func (r *rig) fromTunnel(ds ...Datagram) []written {
	r.Helper()
	r.port.out, r.send.out = nil, nil
	r.recv.in = append(r.recv.in, ds...)
	for len(r.recv.in) > 0 {
		r.w.toLocal(r.v, r.s)
	}
	r.w.flush()
	if len(r.send.out) != 0 {
		r.Errorf("%d trains were sent because of received ones", len(r.send.out))
	}
	return r.port.out
}

// to returns where trains went, in words.
func to(out []sent) []string {
	var s []string
	for _, t := range out {
		s = append(s, fmt.Sprintf("%v vni %d", t.to, t.vni()))
	}
	slices.Sort(s)
	return s
}

func words(vteps ...VTEP) []string {
	var s []string
	for _, v := range vteps {
		s = append(s, fmt.Sprintf("%v vni %d", netip.AddrPortFrom(v.Addr, v.Port), v.VNI))
	}
	slices.Sort(s)
	return s
}

// dropped returns the counters of drops that are not zero, in words.
func (r *rig) dropped() (s []string) {
	c, unowned := r.seg.Counters(), r.w.engine.Unowned()
	for i := range drop.Count {
		for _, d := range []struct {
			name string
			n    uint64
			ok   bool
		}{{"rx", c.DropsRx[i], i.Rx()}, {"tx", c.DropsTx[i], i.Tx()}, {"unowned", unowned[i], i.Rx()}} {
			if d.n > 0 {
				s = append(s, fmt.Sprintf("%s %v %d", d.name, i, d.n))
			}
			if d.n > 0 && !d.ok {
				r.Errorf("%v is no reason for %s", i, d.name)
			}
		}
	}
	return s
}

func (r *rig) events() map[string]uint64 {
	m := map[string]uint64{}
	for i, n := range r.seg.Counters().Events {
		if n > 0 {
			m[Event(i).String()] = n
		}
	}
	return m
}

// from is a datagram of VNI 42 with one inner frame.
func from(src netip.Addr, frame []byte) Datagram { return fromVNI(src, 42, frame) }

func fromVNI(src netip.Addr, vni uint32, frame []byte) Datagram {
	h := encap.MakeHeader(vni)
	return Datagram{Payload: append(h[:], frame...), Src: netip.AddrPortFrom(src, 55555), IfIndex: 3}
}

func wire(frame []byte) given { return given{bytes: frame} }
