package fastpath

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/cilium/ebpf"

	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// macs returns which remote each MAC of the rig's device is behind.
func (r *rig) macs() map[packet.MAC]uint32 {
	out := make(map[packet.MAC]uint32)
	r.m.eachMAC(func(k *macKey, v *macValue) {
		if k.Device == uint32(r.device) {
			out[k.MAC] = v.Remote
		}
	})
	return out
}

// places returns the places of the rig's segment.
func (r *rig) places() map[*vtep.Remote]*place { return (*r.m.published.Load())[r.seg].remotes }

// TestMirrorFollowsTheFDB: the maps have the MACs behind the remotes that take
// the fast path, wherever an entry comes from.
func TestMirrorFollowsTheFDB(t *testing.T) {
	r := newRig(t)
	other := r.name(netip.MustParseAddr("192.0.2.3"))
	second := r.spec
	second.Dst = other.VTEP().Addr
	mac := packet.MAC{2, 0, 0, 0, 0, 9}
	table := r.seg.FDB()
	is := func(index uint32) func() bool {
		return func() bool { have, ok := r.macs()[mac]; return ok && have == index }
	}
	gone := func() bool { _, ok := r.macs()[mac]; return !ok }
	now := func(what string, f func() bool) { // at once, without anybody running
		t.Helper()
		if !f() {
			t.Errorf("%s: the maps have %v", what, r.macs())
		}
	}
	first := r.places()[r.remote].index

	table.Learn(mac, r.remote.Dest(), 100)
	now("learned", is(first))
	table.Learn(mac, other.Dest(), 100)
	now("moved to one that is not on the fast path", gone)
	must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: r.spec, other: second}))
	now("which is now", is(r.places()[other].index))
	table.Delete(mac)
	now("deleted", gone)
	table.Put(fdb.Entry{MAC: mac, Dest: other.Dest(), State: fdb.Permanent, Source: fdb.Operator})
	now("an operator's", is(r.places()[other].index))
	must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: r.spec}))
	now("its remote taken off", gone)
	if _, ok := r.macs()[theirMAC]; !ok {
		t.Error("the other remote's went with it")
	}
	must(t, r.m.Set(r.seg, 77, map[*vtep.Remote]Remote{r.remote: r.spec}))
	if n := len(r.macs()); n != 0 {
		t.Errorf("the device is another one: %d entries of the old one", n)
	}
	r.m.Keep(func(*vtep.Segment) bool { return false })
	r.m.eachMAC(func(k *macKey, _ *macValue) { t.Errorf("the segment is gone: %+v is not", k) })
	var peer peerKey
	var index uint32
	for it := r.k.in.Peers.Iterate(); it.Next(&peer, &index); {
		t.Errorf("the segment is gone: peer %+v is not", peer)
	}
	if len(r.m.places) != 0 || len(*r.m.published.Load()) != 0 {
		t.Errorf("left: %d places, %d segments", len(r.m.places), len(*r.m.published.Load()))
	}
}

// TestMirrorUnderFire has workers learn, move and lose MACs while remotes come
// and go: in the end the maps say what the FDB says.
func TestMirrorUnderFire(t *testing.T) {
	r := newRig(t)
	other := r.name(netip.MustParseAddr("192.0.2.3"))
	second := r.spec
	second.Dst = other.VTEP().Addr
	both := map[*vtep.Remote]Remote{r.remote: r.spec, other: second}
	one := map[*vtep.Remote]Remote{r.remote: r.spec}
	table := r.seg.FDB()
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for range 3000 {
				mac := packet.MAC{2, 0, 0, 0, 1, byte(rand.IntN(16))}
				switch rand.IntN(3) {
				case 0:
					table.Learn(mac, r.remote.Dest(), 100)
				case 1:
					table.Learn(mac, other.Dest(), 100)
				default:
					table.Delete(mac)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	for busy := true; busy; {
		for _, remotes := range []map[*vtep.Remote]Remote{both, one, nil, one} {
			if err := r.m.Set(r.seg, r.device, remotes); err != nil {
				t.Error(err)
			}
		}
		select {
		case <-done:
			busy = false
		default:
		}
	}
	must(t, r.m.Set(r.seg, r.device, both))
	want := make(map[packet.MAC]uint32)
	table.Range(func(e fdb.Entry) bool {
		want[e.MAC] = r.places()[r.seg.RemoteAt(e.Dest)].index
		return true
	})
	if got := r.macs(); !maps.Equal(got, want) {
		t.Errorf("the maps have\n%v, the FDB\n%v", got, want)
	}
}

// TestTallyCounts: frames that the programs moved are in the remote's counters,
// once, with the bytes that user space would count.
func TestTallyCounts(t *testing.T) {
	r := newRig(t)
	s := segmentOf{payload: 100}
	s.src, s.dst = connect(t, ours4, theirs4)
	r.begin(s)
	back := s
	back.back, back.payload = true, 7
	for range 3 {
		if v, _ := r.fromLocal(s); v != redirected {
			t.Fatalf("verdict %d", v)
		}
	}
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, wrapped(t, fromThem(), back.frame(t))); v != redirected {
		t.Fatalf("verdict %d", v)
	}
	want := vtep.RemoteCounters{Rx: vtep.Traffic{Frames: 1, Bytes: uint64(len(back.frame(t)))},
		Tx: vtep.Traffic{Frames: 3, Bytes: uint64(3 * len(s.frame(t)))}}
	for range 2 { // the second adds nothing
		r.m.Tally()
		if got := r.remote.Counters(); got.Rx != want.Rx || got.Tx != want.Tx {
			t.Errorf("counted %+v and %+v, want %+v and %+v", got.Rx, got.Tx, want.Rx, want.Tx)
		}
		if c := r.seg.Counters(); c.Rx != want.Rx || c.Tx != want.Tx {
			t.Errorf("the segment counted %+v and %+v", c.Rx, c.Tx)
		}
	}
	// Whoever has its index next starts with nothing.
	r.m.Keep(func(*vtep.Segment) bool { return false })
	must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: r.spec}))
	r.m.Tally()
	if got := r.remote.Counters(); got.Tx != want.Tx {
		t.Errorf("counted again: %+v", got.Tx)
	}
}

// TestHeardStaysInTheFDB: a MAC that only the programs hear does not age.
func TestHeardStaysInTheFDB(t *testing.T) {
	r := newRig(t)
	s := segmentOf{back: true}
	s.src, s.dst = connect(t, ours4, theirs4)
	r.begin(s)
	silent := packet.MAC{2, 0, 0, 0, 0, 9}
	r.seg.FDB().Learn(silent, r.remote.Dest(), 100)
	if v, _ := r.run(r.k.in.ToLocal, r.underlay, wrapped(t, fromThem(), s.frame(t))); v != redirected {
		t.Fatalf("verdict %d", v)
	}
	r.m.Tally()
	for mac, want := range map[packet.MAC]fdb.Tick{theirMAC: r.m.now(), silent: 100} {
		if e, _ := r.seg.FDB().Get(mac); e.Updated != want {
			t.Errorf("%v was heard at %d, want %d", mac, e.Updated, want)
		}
	}
}

// TestMirrorIsBounded: more remotes than there is room for leave the others be.
func TestMirrorIsBounded(t *testing.T) {
	r := newRig(t)
	remotes := map[*vtep.Remote]Remote{r.remote: r.spec}
	must(t, r.seg.Change(func(c *vtep.Change) error {
		for i := range MaxRemotes {
			a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			if err := c.AddFlood(vtep.VTEP{Addr: a, Port: r.spec.Port, VNI: 42}); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, remote := range r.seg.Remotes() {
		spec := r.spec
		spec.Dst = remote.VTEP().Addr
		remotes[remote] = spec
	}
	if err := r.m.Set(r.seg, r.device, remotes); !errors.Is(err, ErrFull) {
		t.Errorf("Set of %d remotes: %v", len(remotes), err)
	}
	if n := len(r.m.places); n != MaxRemotes {
		t.Errorf("%d remotes have a place", n)
	}
	must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: r.spec}))
	must(t, r.m.Set(r.seg, r.device, map[*vtep.Remote]Remote{r.remote: r.spec}))
	if len(r.m.places) != 1 || len(r.m.free) != MaxRemotes-1 {
		t.Errorf("%d places, %d free", len(r.m.places), len(r.m.free))
	}
}

// TestRefused: a remote that the programs cannot reach is an error, and leaves
// nothing behind.
func TestRefused(t *testing.T) {
	r := newRig(t)
	for name, edit := range map[string]func(*Remote){
		"IPv6":           func(s *Remote) { s.Dst = netip.MustParseAddr("2001:db8::2") },
		"no ports":       func(s *Remote) { s.SrcPorts = nil },
		"too many ports": func(s *Remote) { s.SrcPorts = make([]uint16, 65) },
	} {
		t.Run(name, func(t *testing.T) {
			spec := r.spec
			edit(&spec)
			other := vtep.NewSegment(43, "vx43", 1, vtep.Options{}, nil)
			if err := r.m.Set(other, 9, map[*vtep.Remote]Remote{r.remote: spec}); err == nil {
				t.Error("accepted")
			}
			if len(*r.m.published.Load()) != 1 || len(r.m.places) != 1 {
				t.Errorf("%d segments, %d places", len(*r.m.published.Load()), len(r.m.places))
			}
		})
	}
	if err := r.k.in.MACs.Lookup(&macKey{}, &macValue{}); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Error(err)
	}
}
