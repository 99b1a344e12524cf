package offload_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// eachSeed calls f with super-frames and wire frames of every kind.
func eachSeed(tb testing.TB, f func(frame []byte, g offload.GSO)) {
	tb.Helper()
	for _, k := range kinds {
		for _, edit := range []func(*recipe){
			func(*recipe) {},
			func(r *recipe) { r.Body = text(1, 5000) },
			func(r *recipe) { r.Body = "12345" },
			func(r *recipe) { r.Tags = vlan(1, 2) },
			func(r *recipe) { r.IPOptions = 8 },
			func(r *recipe) { r.Csum = bad },
			func(r *recipe) { r.Csum = zero },
			func(r *recipe) { r.Padding = 7 },
			func(r *recipe) { r.BadIPCsum = !r.V6 },
		} {
			r := k.recipe(text(0, 250))
			edit(&r)
			frame, _, g := r.super(tb, 100)
			f(frame, g)
			g.NeedsCsum = false
			f(r.frame(tb), g)
			g.Type, g.NeedsCsum = offload.None, true
			f(frame, g)
		}
	}
}

// FuzzSplit gives frames with any virtio_net_hdr. Whatever it says, nothing
// outside the frame is read, and the wire frames are of the size that was said,
// have its payload, and checksums as good or bad as it had.
func FuzzSplit(f *testing.F) {
	eachSeed(f, func(frame []byte, g offload.GSO) {
		hdr := make([]byte, offload.HdrLen)
		g.Encode(hdr)
		f.Add(hdr, frame)
		lie := bytes.Clone(hdr)
		lie[2], lie[5], lie[6], lie[8] = 0xff, 0, 0xff, 0xff
		f.Add(lie, frame)
	})
	var s offload.Splitter // is reused, as a worker does
	dst := make([]byte, 1<<17)
	f.Fuzz(func(t *testing.T, hdr, frame []byte) {
		var g offload.GSO
		var p packet.Parsed
		if len(frame) > offload.MaxFrame || g.Decode(hdr) != nil || !p.Parse(frame) {
			return
		}
		frame = append(make([]byte, 0, len(frame)), frame...)[:len(frame):len(frame)]
		before := bytes.Clone(frame)
		switch {
		case offload.Validate(frame, &p, &g) != drop.None:
		case g.Type == offload.None:
			if g.NeedsCsum {
				checkComplete(t, frame, &p, &g)
			}
		default:
			n, size, frames := s.Split(dst, []byte("prefix"), frame, &p, &g)
			if !bytes.Equal(before, frame) {
				t.Error("the frame was changed")
			}
			checkWireFrames(t, frame, &p, &g, dst[:n], size, frames)
		}
	})
}

// checkComplete completes a checksum: two bytes change at most.
func checkComplete(t *testing.T, frame []byte, p *packet.Parsed, g *offload.GSO) {
	want := bytes.Clone(frame)
	at := int(g.CsumStart) + int(g.CsumOffset)
	offload.Complete(frame, p, g)
	copy(want[at:at+2], frame[at:at+2])
	if g.NeedsCsum || !bytes.Equal(want, frame) {
		t.Error("Complete wrote beside the checksum")
	}
}

// checkWireFrames checks what frame was cut into. Nothing says that it had to
// be: its checksum may be bad, or the wire frames too many.
func checkWireFrames(t *testing.T, frame []byte, p *packet.Parsed, g *offload.GSO, out []byte, size, frames int) {
	c := state(t, frame)
	unfit := !g.NeedsCsum && (c == bad || c == zero && p.Kind == packet.IPv6) || p.Kind == packet.IPv4 && naiveSum(0, frame[p.L3:p.L4]) != 0xffff
	count, largest := offload.WireFrames(p.End, g)
	need := p.End + (count-1)*int(g.HdrLen) + 6*count
	if unfit || need > 1<<17 {
		if len(out) != 0 {
			t.Fatalf("cut although unfit: %v, of %d bytes", unfit, need)
		}
		return
	}
	if frames != count || size != largest+6 || len(out) != need {
		t.Fatalf("%d bytes in %d wire frames of %d, want %d in %d of %d", len(out), frames, size, need, count, largest+6)
	}
	wrong := g.NeedsCsum && !unfinished(t, frame) // and so it stays
	var payload []byte
	for rest := out; len(rest) > 0; rest = rest[min(size, len(rest)):] {
		one := rest[6:min(size, len(rest))]
		var w packet.Parsed
		if !w.Parse(one) || w.Kind != p.Kind || w.L4 != p.L4 || w.End != len(one) {
			t.Fatalf("a wire frame that does not parse: %x", one)
		}
		if w.Kind == packet.IPv4 && naiveSum(0, one[w.L3:w.L4]) != 0xffff {
			t.Fatalf("bad header checksum: %x", one)
		}
		if c := state(t, one); (!wrong && c == bad || wrong && c == good) && !extended(&w) {
			t.Fatalf("a checksum of the state %d: %x", c, one)
		}
		payload = append(payload, one[g.HdrLen:]...)
	}
	if !bytes.Equal(payload, frame[g.HdrLen:p.End]) {
		t.Error("another payload")
	}
}

// extended reports whether headers stand between those of IPv6 and L4: then the
// pseudo-header may be another one than the IPv6 header's.
func extended(p *packet.Parsed) bool { return p.Kind == packet.IPv6 && p.Options }

// FuzzCoalesce takes bursts apart into frames and gives them to a Coalescer: two
// bytes of length in front of each. Each must come out once, in the order of its
// flow, and no bad checksum good. So that much can be joined, some bursts get
// right checksums first.
func FuzzCoalesce(f *testing.F) {
	for _, k := range kinds {
		for _, c := range joinCases {
			rs := bulk(k)
			if c.edit != nil && (c.of == "" || k.name == c.of+"4" || k.name == c.of) {
				rs = c.edit(rs)
			}
			f.Add(frameList(build(f, rs)), uint8(7))
			f.Add(frameList(build(f, rs)), uint8(15))
		}
	}
	coalescers := make(map[offload.Caps]*offload.Coalescer)
	f.Fuzz(func(t *testing.T, list []byte, bits uint8) {
		caps := offload.Caps{VNetHdr: true, TSO: bits&2 != 0, USO: bits&4 != 0}
		if coalescers[caps] == nil {
			coalescers[caps] = offload.NewCoalescer(caps)
		}
		var frames [][]byte
		for len(list) > 2 && len(frames) < 200 {
			n := min(int(binary.BigEndian.Uint16(list)), len(list)-2)
			if n >= 14 {
				frame := append(make([]byte, 0, n), list[2:2+n]...)
				if bits&8 != 0 {
					repair(t, frame)
				}
				frames = append(frames, frame)
			}
			list = list[2+n:]
		}
		checkFollow(t, frames)
		checkWhole(t, coalescers[caps], frames)
	})
}

// repair gives a frame right checksums.
func repair(tb testing.TB, frame []byte) {
	p := parse(tb, frame)
	if p.Kind == packet.IPv4 && p.L4 != 0 {
		frame[p.L3+10], frame[p.L3+11] = 0, 0
		binary.BigEndian.PutUint16(frame[p.L3+10:], ^naiveSum(0, frame[p.L3:p.L4]))
	}
	p.CompleteChecksum(frame)
}

func frameList(frames [][]byte) (list []byte) {
	for _, f := range frames {
		list = append(binary.BigEndian.AppendUint16(list, uint16(len(f))), f...)
	}
	return list
}

// FuzzSuperFromDatagram takes any frame for one that a kernel peer sent whole.
// What is said of it is true, and its wire frames fit the device.
func FuzzSuperFromDatagram(f *testing.F) {
	eachSeed(f, func(frame []byte, g offload.GSO) {
		f.Add(frame, uint16(150), uint16(0))
		f.Add(frame, uint16(1450), g.Size)
		f.Add(frame, uint16(20), uint16(65535))
	})
	dst := make([]byte, 1<<17)
	f.Fuzz(func(t *testing.T, frame []byte, mtu, segment uint16) {
		var p packet.Parsed
		if len(frame) > offload.MaxFrame || !p.Parse(frame) {
			return
		}
		frame = append(make([]byte, 0, len(frame)), frame...)[:len(frame):len(frame)]
		g, ok := offload.SuperFromDatagram(frame, &p, int(mtu), int(segment))
		if !ok {
			if g != (offload.GSO{}) {
				t.Errorf("%+v of what is none", g)
			}
			return
		}
		said := g
		if r := offload.Validate(frame, &p, &g); r != drop.None || g != said {
			t.Fatalf("%v: %+v said, %+v true", r, said, g)
		}
		if _, largest := offload.WireFrames(len(frame), &g); largest-p.L3 > int(mtu) {
			t.Fatalf("a wire frame of %d bytes for an MTU of %d", largest, mtu)
		}
		var s offload.Splitter
		n, size, frames := s.Split(dst, []byte("prefix"), frame, &p, &g)
		checkWireFrames(t, frame, &p, &g, dst[:n], size, frames)
	})
}
