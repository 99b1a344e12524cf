package offload_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// onWire is what a host that takes a device's frames sees of them: super-frames
// cut, unfinished checksums completed.
func onWire(tb rapid.TB, out []emitted) (frames [][]byte) {
	tb.Helper()
	for _, e := range out {
		p, g := parse(tb, e.bytes), e.gso
		if r := offload.Validate(e.bytes, p, &g); r != drop.None || g != e.gso && g.Type != offload.None {
			tb.Fatalf("%v: %+v is said of a frame of which %+v is true", r, e.gso, g)
		}
		if g.Type != offload.None {
			frames = append(frames, split(tb, "", e.bytes, p, g)...)
			continue
		}
		if g.NeedsCsum {
			offload.Complete(e.bytes, p, &g)
		}
		frames = append(frames, e.bytes)
	}
	return frames
}

// TestCoalesceThenSplitIsTheIdentity: what was joined is cut into what it was
// joined from, byte for byte.
func TestCoalesceThenSplitIsTheIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, size := drawSuper(t)
		r.Csum = good
		given := cut(r, size)
		want := build(t, given)
		for i := range given {
			if rapid.IntRange(0, 3).Draw(t, "left unfinished") == 0 {
				given[i].Csum = partial
			}
		}
		out := coalesce(t, offload.NewCoalescer(allCaps), build(t, given))
		got := onWire(t, out)
		same(t, want, got)
		var body string
		for _, w := range got {
			d := read(t, w)
			body += d.Body
			if d.Csum != good || d.BadIPCsum {
				t.Errorf("gopacket reads %+v", d)
			}
		}
		if body != r.Body {
			t.Error("another payload")
		}
		if r.Flags&psh == 0 && len(out) != 1 {
			t.Errorf("%d frames of one flow were joined to %d", len(given), len(out))
		}
	})
}

// TestSplitThenCoalesceIsTheIdentity: what was cut is joined to what it was.
func TestSplitThenCoalesceIsTheIdentity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, size := drawSuper(t)
		frame, p, g := r.super(t, size)
		cut := split(t, "", frame, p, g)
		for i := range cut {
			cut[i] = bytes.Clone(cut[i])
		}
		out := coalesce(t, offload.NewCoalescer(allCaps), cut)
		if len(out) != 1 {
			t.Fatalf("%d frames joined to %d", len(cut), len(out))
		}
		if diff := cmp.Diff(g, out[0].gso); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		same(t, [][]byte{frame}, [][]byte{out[0].bytes})
	})
}

// TestBurstsComeOutWhole mixes frames of some flows, good and bad, of every
// kind that the table of TestCoalesce knows.
func TestBurstsComeOutWhole(t *testing.T) {
	var pool [][]recipe
	for _, c := range joinCases {
		for i, k := range kinds {
			rs := bulk(k)
			if c.edit != nil && strings.Contains(k.name, c.of) {
				rs = c.edit(rs)
			}
			for j := range rs {
				rs[j].Src += uint16(i)
			}
			pool = append(pool, rs)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var frames [][]byte
		for _, rs := range rapid.SliceOfN(rapid.SampledFrom(pool), 1, 20).Draw(t, "flows") {
			frames = append(frames, build(t, rs)...)
		}
		checkFollow(t, frames)
		checkWhole(t, offload.NewCoalescer(allCaps), frames)
	})
}

// checkFollow wants the same of a burst whether Follow sees it or not.
func checkFollow(tb rapid.TB, frames [][]byte) {
	tb.Helper()
	clones := make([][][]byte, 2)
	for i := range clones {
		for _, f := range frames {
			clones[i] = append(clones[i], bytes.Clone(f))
		}
	}
	want := coalesceBy(tb, offload.NewCoalescer(allCaps), clones[0], func([]byte) bool { return false })
	got := coalesce(tb, offload.NewCoalescer(allCaps), clones[1])
	if !slices.EqualFunc(want, got, func(a, b emitted) bool {
		return a.gso == b.gso && bytes.Equal(a.bytes, b.bytes) && slices.Equal(a.frames, b.frames)
	}) {
		tb.Errorf("without Follow %+v, with it %+v", want, got)
	}
}

// checkWhole gives frames to a Coalescer: each must come out once, behind what
// came before it of its flow, and no bad checksum may have become good.
func checkWhole(tb rapid.TB, c *offload.Coalescer, frames [][]byte) {
	tb.Helper()
	before := make([][]byte, len(frames))
	for i, f := range frames {
		before[i] = bytes.Clone(f)
	}
	out := coalesce(tb, c, frames)
	seen := make([]bool, len(frames))
	last := make(map[string]int)
	for _, e := range out {
		wires := onWire(tb, []emitted{e})
		if len(wires) != len(e.frames) {
			tb.Fatalf("frames %v are cut into %d", e.frames, len(wires))
		}
		for j, i := range e.frames {
			if seen[i] {
				tb.Fatalf("frame %d came out twice", i)
			}
			seen[i] = true
			flow := flowOf(tb, before[i])
			if n, ok := last[flow]; ok && n > i && flow != "" {
				tb.Errorf("frame %d left behind frame %d of its flow", i, n)
			}
			last[flow] = i
			checkTheSame(tb, i, before[i], wires[j], len(e.frames) > 1)
		}
	}
	for i := range seen {
		if !seen[i] {
			tb.Errorf("frame %d is lost", i)
		}
	}
}

// checkTheSame compares a frame with what became of it. Joined ones may have
// another ID where it means nothing; unfinished checksums may be completed.
func checkTheSame(tb rapid.TB, i int, was, is []byte, joined bool) {
	tb.Helper()
	p := parse(tb, was)
	want := bytes.Clone(was)
	hasL4 := p.L4 != 0 && !p.Fragment && (p.Proto == packet.ProtoTCP || p.Proto == packet.ProtoUDP)
	if hasL4 && unfinished(tb, was) && len(is) == len(was) && !bytes.Equal(was, is) {
		if !p.CompleteChecksum(want) {
			tb.Fatalf("frame %d has no checksum", i)
		}
	}
	if joined && p.Kind == packet.IPv4 && p.DF {
		copy(want[p.L3+4:p.L3+6], is[p.L3+4:p.L3+6])
		want[p.L3+10], want[p.L3+11] = 0, 0
		binary.BigEndian.PutUint16(want[p.L3+10:], ^naiveSum(0, want[p.L3:p.L4]))
	}
	if !bytes.Equal(want, is) {
		tb.Errorf("frame %d became another one (-was +is):\n%s", i, cmp.Diff(want, is))
	}
	if hasL4 && state(tb, was) == bad && state(tb, is) != bad {
		tb.Errorf("the bad checksum of frame %d became good", i)
	}
}

// flowOf names the flow of a frame, "" where a frame is of none.
func flowOf(tb rapid.TB, b []byte) string {
	p := parse(tb, b)
	switch {
	case p.Kind != packet.IPv4 && p.Kind != packet.IPv6:
		return ""
	case p.Fragment || p.L4 == 0:
		return "any"
	case p.Proto != packet.ProtoTCP && p.Proto != packet.ProtoUDP:
		return ""
	case p.Kind == packet.IPv4:
		return string(b[p.L3+12:p.L3+20]) + string(b[p.L4:p.L4+4]) + string(rune(p.Proto))
	}
	return string(b[p.L3+8:p.L3+40]) + string(b[p.L4:p.L4+4]) + string(rune(p.Proto))
}
