package vtep

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/encap/offload"
	"vtepd/vtep/fdb"
)

// always is a descriptor that always has something to read.
func always(t *testing.T) int {
	t.Helper()
	fd, err := unix.Eventfd(1, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// A lease tells of a use after what it is for was closed.
type lease struct {
	t      *testing.T
	what   string
	fd     int
	closed atomic.Bool
	used   atomic.Int64
}

func (l *lease) FD() int { return l.fd }

func (l *lease) use() {
	l.used.Add(1)
	if l.closed.Load() {
		l.t.Errorf("a %s is used after its end", l.what)
	}
}

func (l *lease) Close() error {
	l.closed.Store(true)
	return unix.Close(l.fd)
}

// A busyPort always has a frame, or none any more when it broke.
type busyPort struct {
	lease
	frame  given
	broken atomic.Bool
	told   atomic.Bool // its worker knows that it broke
}

func (p *busyPort) Caps() offload.Caps { return vnet }

func (p *busyPort) Read(f *offload.Frame) error {
	p.use()
	if p.told.Load() {
		p.t.Error("a device is read again after it failed")
	}
	if p.broken.Load() {
		p.told.Store(true)
		return syscall.EBADFD
	}
	f.Off, f.Len, f.GSO = offload.Headroom, len(p.frame.bytes), p.frame.gso
	copy(f.Bytes(), p.frame.bytes)
	return nil
}

func (p *busyPort) Write(offload.GSO, [][]byte) error {
	p.use()
	return nil
}

// A busyReceiver always has a frame from some source.
type busyReceiver struct {
	lease
	buf [256]byte
}

func (r *busyReceiver) Receive(ds []Datagram) (int, error) {
	r.use()
	runtime.Gosched() // for those who change things
	h := encap.MakeHeader(42)
	n := copy(r.buf[:], append(h[:], recipe{size: 10}.bytes()...))
	r.buf[encap.HeaderLen+11] = byte(rand.Uint32()) // of the source MAC
	ds[0] = Datagram{Payload: r.buf[:n], Src: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(rand.Uint32() | 2)}), 50000)}
	return 1, nil
}

// leasedDialer makes paths that end with it.
type leasedDialer struct{ *lease }

type leasedPath struct {
	memPath
	*lease
}

func (d leasedDialer) Path(remote netip.AddrPort, vni uint32) (Path, error) {
	return leasedPath{memPath{remote, encap.MakeHeader(vni)}, d.lease}, nil
}

// leasedSender uses a path when a train is queued and when it is flushed.
type leasedSender struct{ queued []Train }

func (s *leasedSender) Send(t *Train) {
	t.Path.(leasedPath).use()
	s.queued = append(s.queued, *t)
}

func (s *leasedSender) SendWhole(t *Train, _ *offload.Frame, _ int) syscall.Errno {
	if rand.IntN(2) == 0 {
		return ErrCut
	}
	s.Flush()
	t.Path.(leasedPath).use()
	return 0
}

func (s *leasedSender) Flush() {
	for _, t := range s.queued {
		t.Path.(leasedPath).use()
		t.Account.Sent(1, len(t.Payload), 0)
	}
	s.queued = s.queued[:0]
}

func (s *leasedSender) Close() error { return nil }

// TestChangesUnderTraffic changes everything that control may change while all
// workers are busy. Run under the race detector it finds what they share by
// mistake; without, what they use after it was given back.
func TestChangesUnderTraffic(t *testing.T) {
	const workers, rounds = 3, 20
	var failed atomic.Int64
	e := NewEngine(Config{Senders: []Sender{&leasedSender{}, &leasedSender{}, &leasedSender{}},
		DeviceFailed: func(*Segment, error) { failed.Add(1) }})
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	newDialer := func() leasedDialer { return leasedDialer{&lease{t: t, what: "path", fd: always(t)}} }
	dialer := newDialer()
	o := defaults()
	o.AcceptAny = true
	seg := NewSegment(42, "vx42", workers, o, dialer)
	frames := []given{wire(recipe{size: 50}.bytes()), super(recipe{size: 9000}, 1000)}
	open := func() (set *Set, ports []*busyPort, closers []func() error) {
		d, l := Device{Segment: seg}, Listener{Segments: map[uint32]*Segment{42: seg}}
		for i := range workers {
			p := &busyPort{lease: lease{t: t, what: "port", fd: always(t)}, frame: frames[i%2]}
			r := &busyReceiver{lease: lease{t: t, what: "receiver", fd: always(t)}}
			d.Ports, l.Receivers = append(d.Ports, p), append(l.Receivers, r)
			ports, closers = append(ports, p), append(closers, p.Close, r.Close)
		}
		return &Set{Devices: []Device{d}, Listeners: []Listener{l}}, ports, closers
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	churn := func(f func(i int)) {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
					runtime.Gosched()
				}
			}
		})
	}
	churn(func(i int) { o := o; o.TTL, o.AcceptAny = uint8(i), i%3 > 0; seg.SetOptions(o) })
	churn(func(i int) {
		v := []VTEP{alpha, beta, delta, group}[i%4]
		_ = seg.Change(func(c *Change) error {
			c.DelFlood(v)
			c.PutNeighbour(v.Addr, farMAC)
			c.DelMAC(farMAC)
			return c.PutMAC(otherMAC, fdb.Static, fdb.Config, e.Now(), v)
		})
		_ = seg.Change(func(c *Change) error { return c.AddFlood(v) })
	})
	churn(func(i int) { seg.Sweep(e.Now()); _ = seg.Counters(); e.Settle() })
	churn(func(int) {
		for _, r := range seg.Remotes() {
			_ = r.Counters()
		}
		seg.SetPathMTUs(func(netip.Addr) int { return 1400 + rand.IntN(200) })
	})
	var closers []func() error
	var ports []*busyPort
	for range rounds {
		if len(ports) > 0 {
			ports[rand.IntN(workers)].broken.Store(true) // while the set after it is on its way
		}
		set, nextPorts, next := open()
		if rand.IntN(2) == 0 && len(ports) > 0 { // the same device, with a broken queue
			set.Devices[0].Ports = nil
			for i, p := range ports {
				set.Devices[0].Ports = append(set.Devices[0].Ports, p)
				if err := nextPorts[i].Close(); err != nil {
					t.Fatal(err)
				}
				closers[2*i], next[2*i] = func() error { return nil }, closers[2*i]
			}
			nextPorts = ports
		}
		if err := e.Update(set); err != nil {
			t.Fatal(err)
		}
		for _, c := range closers {
			if err := c(); err != nil {
				t.Fatal(err)
			}
		}
		closers, ports = next, nextPorts
		old := dialer
		dialer = newDialer()
		if err := seg.SetDialer(dialer); err != nil {
			t.Fatal(err)
		}
		e.Settle()
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	wg.Wait()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range append(closers, dialer.Close) {
		if err := c(); err != nil {
			t.Fatal(err)
		}
	}
	if c := seg.Counters(); c.Tx.Frames == 0 || c.Rx.Frames == 0 || failed.Load() == 0 {
		t.Errorf("nothing happened: %+v, %d devices failed", c, failed.Load())
	}
}
