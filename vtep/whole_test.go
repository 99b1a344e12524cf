package vtep

import (
	"bytes"
	"net/netip"
	"slices"
	"syscall"
	"testing"
)

// takeWhole makes the sender take super-frames for the given remotes.
func (r *rig) takeWhole(to ...VTEP) {
	r.send.refuseWhole = func(t *Train) syscall.Errno {
		if slices.ContainsFunc(to, func(v VTEP) bool { return netip.AddrPortFrom(v.Addr, v.Port) == t.Path.Remote() }) {
			return 0
		}
		return ErrCut
	}
}

// A super-frame leaves whole where the path takes it, and stays as it is for
// the copies that are cut.
func TestSuperFramesWhole(t *testing.T) {
	for _, c := range []struct {
		name string
		in   given
		l3   int
	}{
		{"TCP", super(recipe{size: 5000, tos: 0x28, ttl: 9}, 1000), 14},
		{"TCP over IPv6", super(recipe{v6: true, size: 5001}, 1000), 14},
		{"UDP", super(recipe{udp: true, size: 3000}, 1000), 14},
		{"tagged", super(recipe{tags: []uint16{7}, size: 3000}, 1000), 18},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, vnet, func(o *Options) { o.PassVLAN = true; o.TTLInherit = true })
			r.flood(alpha, delta, beta)
			r.takeWhole(alpha, beta)
			out := r.fromDevice(c.in)
			if len(out) != 1 || out[0].to.Addr() != delta.Addr {
				t.Fatalf("cut for %v, want %v alone", to(out), delta.Addr)
			}
			wantWireFrames(t, c.in.bytes, int(c.in.gso.Size), out[0].frames())
			if len(r.send.whole) != 2 {
				t.Fatalf("%d super-frames left whole, want 2", len(r.send.whole))
			}
			for _, w := range r.send.whole {
				if !bytes.Equal(w.payload, c.in.bytes) || w.l3 != c.l3 {
					t.Errorf("to %v: another frame, or its IP header at %d", w.to, w.l3)
				}
				if w.tos != out[0].tos || w.ttl != out[0].ttl || w.entropy != out[0].entropy {
					t.Errorf("outer headers %+v, cut ones have %+v", w.sent, out[0])
				}
			}
			n := uint64(len(out[0].frames()))
			if c := r.seg.Counters(); c.Tx.Frames != 3*n || c.Events[OffloadRefused] != 0 {
				t.Errorf("counted %+v, want %d frames", c.Tx, 3*n)
			}
		})
	}
}

// Nothing of a flow is overtaken: what was queued leaves first, whatever mix
// of wire frames and super-frames a burst is.
func TestWholeKeepsOrder(t *testing.T) {
	r := newRig(t, vnet)
	r.flood(alpha)
	r.takeWhole(alpha)
	in := []given{wire(recipe{seq: 1, size: 10}.bytes()), super(recipe{seq: 2, size: 3000}, 1000),
		wire(recipe{seq: 3, size: 10}.bytes()), wire(recipe{seq: 4, size: 10}.bytes()), super(recipe{seq: 5, size: 3000}, 1000)}
	out := r.fromDevice(in...)
	if len(out) != 3 || len(r.send.whole) != 2 {
		t.Fatalf("%d trains and %d super-frames", len(out), len(r.send.whole))
	}
	if a, b := r.send.whole[0].behind, r.send.whole[1].behind; a != 1 || b != 3 {
		t.Errorf("super-frames left behind %d and %d trains, want 1 and 3", a, b)
	}
	for i, want := range []int{0, 2, 3} {
		if !bytes.Equal(out[i].frames()[0], in[want].bytes) {
			t.Errorf("train %d is not frame %d: its memory was used again", i, want)
		}
	}
}

// What the kernel refuses is cut, and counted.
func TestWholeRefused(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EINVAL, syscall.EIO, syscall.ENOBUFS, syscall.EMSGSIZE} {
		t.Run(errno.Error(), func(t *testing.T) {
			r := newRig(t, vnet)
			r.flood(alpha)
			r.send.refuseWhole = func(*Train) syscall.Errno { return errno }
			in := super(recipe{size: 3000}, 1000)
			out := r.fromDevice(in)
			if len(out) != 1 {
				t.Fatalf("%d trains", len(out))
			}
			wantWireFrames(t, in.bytes, 1000, out[0].frames())
			if e := r.events(); e["offload_refused"] != 1 || r.dropped() != nil {
				t.Errorf("events %v, dropped %v", e, r.dropped())
			}
		})
	}
}

// A super-frame whose checksum is finished is for the splitter: it finds out
// whether it is right.
func TestFinishedSuperFramesAreCut(t *testing.T) {
	r := newRig(t, vnet)
	r.flood(alpha)
	r.takeWhole(alpha)
	g := super(recipe{size: 3000}, 1000)
	g.bytes, g.gso.NeedsCsum = recipe{size: 3000}.bytes(), false
	if out := r.fromDevice(g); len(out) != 1 || len(r.send.whole) != 0 {
		t.Errorf("%d trains, %d whole", len(out), len(r.send.whole))
	}
}

func TestWholeAllocatesNothing(t *testing.T) {
	r := newRig(t, vnet)
	r.flood(alpha)
	r.takeWhole(alpha)
	r.send.discard = true
	in := []given{super(recipe{size: 60000}, 1400)}
	if n := testing.AllocsPerRun(100, func() { r.port.in = in; _, _, _ = r.w.fromLocal(r.a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
