package offload_test

import (
	"bytes"
	"fmt"
	"testing"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// each calls f for one kind of bulk transfer after the other: size is the
// payload of a wire frame, n their number.
func eachBulk(tb testing.TB, f func(name string, r recipe, size, n int)) {
	tb.Helper()
	for _, k := range kinds {
		for _, size := range []int{64, 1448, 8948} {
			if size == 64 && !k.udp {
				continue // TCP sends full segments
			}
			n := min(64, 65000/size)
			f(fmt.Sprintf("%s/%d", k.name, size), k.recipe(text(0, n*size)), size, n)
		}
	}
}

func TestAllocatesNothing(t *testing.T) {
	eachBulk(t, func(name string, r recipe, size, _ int) {
		frame, p, g := r.super(t, size)
		dst := make([]byte, 1<<17)
		var s offload.Splitter
		var hdr [offload.HdrLen]byte
		if n := testing.AllocsPerRun(20, func() {
			g.Encode(hdr[:])
			if err := g.Decode(hdr[:]); err != nil {
				t.Fatal(err)
			}
			if r := offload.Validate(frame, p, &g); r != 0 {
				t.Fatal(r)
			}
			if n, _, _ := s.Split(dst, nil, frame, p, &g); n == 0 {
				t.Fatal("not cut")
			}
			offload.SuperFromDatagram(frame, p, 1500, size)
		}); n != 0 {
			t.Errorf("cutting %s: %v allocations", name, n)
		}
		one := newBurst(t, r, size)
		if n := testing.AllocsPerRun(20, one.coalesce); n != 0 {
			t.Errorf("joining %s: %v allocations", name, n)
		}
		if n := testing.AllocsPerRun(20, one.follow); n != 0 {
			t.Errorf("following %s: %v allocations", name, n)
		}
	})
}

// A burst is wire frames that can be joined again and again, although joining
// writes to the first of them.
type burst struct {
	c      *offload.Coalescer
	frames [][]byte
	parsed []packet.Parsed
	state  []packet.CsumState
	header []byte // of the first frame
	emit   offload.Emit
	out    int
}

func newBurst(tb testing.TB, r recipe, size int) *burst {
	b := &burst{c: offload.NewCoalescer(allCaps)}
	b.emit = func(offload.GSO, [][]byte, int) { b.out++ }
	b.add(tb, cut(r, size))
	return b
}

func (b *burst) add(tb testing.TB, rs []recipe) {
	for _, f := range build(tb, rs) {
		p := parse(tb, f)
		b.frames = append(b.frames, f)
		b.parsed = append(b.parsed, *p)
		b.state = append(b.state, p.L4Checksum(f))
	}
	b.header = bytes.Clone(b.frames[0][:min(100, len(b.frames[0]))])
}

func (b *burst) coalesce() {
	copy(b.frames[0], b.header)
	for i, f := range b.frames {
		b.c.Add(f, &b.parsed[i], b.state[i], b.emit)
	}
	b.c.Flush(b.emit)
}

// BenchmarkSplit cuts a super-frame of up to 64 KB.
func BenchmarkSplit(b *testing.B) {
	eachBulk(b, func(name string, r recipe, size, _ int) {
		b.Run(name, func(b *testing.B) {
			frame, p, g := r.super(b, size)
			dst := make([]byte, 1<<17)
			var s offload.Splitter
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				if n, _, _ := s.Split(dst, dst[:0], frame, p, &g); n == 0 {
					b.Fatal("not cut")
				}
			}
		})
	})
}

// BenchmarkValidate looks whether a super-frame may be cut.
func BenchmarkValidate(b *testing.B) {
	eachBulk(b, func(name string, r recipe, size, _ int) {
		b.Run(name, func(b *testing.B) {
			frame, p, g := r.super(b, size)
			b.ReportAllocs()
			for b.Loop() {
				if reason := offload.Validate(frame, p, &g); reason != drop.None {
					b.Fatal(reason)
				}
			}
		})
	})
}

// BenchmarkCoalesce joins what makes up to 64 KB. Checking the wire frames'
// checksums is not in it.
func BenchmarkCoalesce(b *testing.B) {
	eachBulk(b, func(name string, r recipe, size, n int) {
		b.Run(name, func(b *testing.B) {
			one := newBurst(b, r, size)
			b.ReportAllocs()
			b.SetBytes(int64(n * size))
			for b.Loop() {
				one.coalesce()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/frame")
		})
	})
}

// BenchmarkCoalesceFlows has bursts of small datagrams of many flows.
func BenchmarkCoalesceFlows(b *testing.B) {
	for _, flows := range []int{1, 8, 16, 64} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			one := &burst{c: offload.NewCoalescer(allCaps)}
			one.emit = func(offload.GSO, [][]byte, int) { one.out++ }
			var rs []recipe
			for i := range 64 {
				r := datagram(false, uint16(i/flows), text(i, 64))
				r.Src = uint16(1000 + i%flows)
				rs = append(rs, r)
			}
			one.add(b, rs)
			b.ReportAllocs()
			for b.Loop() {
				one.coalesce()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/frame")
		})
	}
}
