package offload_test

import (
	"bytes"
	"testing"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// TestFollow says what Follow takes: full wire frames behind the one that was
// added last, and nothing that another byte makes another frame.
func TestFollow(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			rs := bulk(k)
			frames := build(t, append(rs, rs[2]))
			frames[3] = frames[3][:len(frames[3])-1] // shorter than it says
			c := offload.NewCoalescer(allCaps)
			drop := func(offload.GSO, [][]byte, int) {}
			add := func(f []byte) {
				p := parse(t, f)
				c.Add(f, p, p.L4Checksum(f), drop)
			}
			if c.Follow(frames[0]) {
				t.Error("follows on nothing")
			}
			add(frames[0])
			for i := range frames[1] {
				f := bytes.Clone(frames[1])
				f[i] ^= 0x10
				if c.Follow(f) {
					t.Errorf("another byte %d", i)
				}
			}
			if !c.Follow(frames[1]) || !c.Follow(frames[2]) {
				t.Error("full wire frames that follow on are not taken")
			}
			if c.Follow(frames[3]) {
				t.Error("a short one is taken")
			}
			c.Flush(drop)
			if c.Follow(frames[1]) {
				t.Error("follows on what is gone")
			}
			add(frames[0])
			other := k.recipe(text(0, 100))
			other.Csum = bad
			add(other.frame(t))
			if c.Follow(frames[1]) {
				t.Error("follows on a frame that was not held")
			}
		})
	}
}

// BenchmarkFollow joins what makes up to 64 KB, checksums checked.
func BenchmarkFollow(b *testing.B) {
	eachBulk(b, func(name string, r recipe, size, n int) {
		b.Run(name, func(b *testing.B) {
			one := newBurst(b, r, size)
			b.ReportAllocs()
			b.SetBytes(int64(n * size))
			for b.Loop() {
				one.follow()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/frame")
		})
	})
}

func (b *burst) follow() {
	copy(b.frames[0], b.header)
	for i, f := range b.frames {
		if b.c.Follow(f) {
			continue
		}
		b.c.Add(f, &b.parsed[i], packet.CsumGood, b.emit)
	}
	b.c.Flush(b.emit)
}
