package offload_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// wireFrames is what a super-frame must be cut into, each made on its own by
// gopacket (kernel: tcp_gso_segment, __udp_gso_segment, inet_gso_segment).
func wireFrames(tb rapid.TB, r recipe, size int) (frames [][]byte) {
	for at := 0; at < len(r.Body); at += size {
		w, last := r, at+size >= len(r.Body)
		if w.Csum == partial {
			w.Csum = good
		}
		w.Padding, w.BadIPCsum = 0, false
		w.Body = r.Body[at:min(at+size, len(r.Body))]
		w.ID += uint16(at / size)
		if !r.UDP {
			w.Seq += uint32(at)
			if !last {
				w.Flags &^= fin | psh
			}
			if at > 0 {
				w.Flags &^= cwr
			}
		}
		frames = append(frames, w.frame(tb))
	}
	return frames
}

// split cuts a super-frame, each wire frame behind prefix, which it checks and
// takes away.
func split(tb rapid.TB, prefix string, frame []byte, p *packet.Parsed, g offload.GSO) (frames [][]byte) {
	tb.Helper()
	if r := offload.Validate(frame, p, &g); r != 0 {
		tb.Fatalf("Validate: %v", r)
	}
	before := bytes.Clone(frame)
	count, largest := offload.WireFrames(p.End, &g)
	need := p.End + (count-1)*int(g.HdrLen) + count*len(prefix)
	dst := make([]byte, need)
	var s offload.Splitter
	n, segSize, got := s.Split(dst, []byte(prefix), frame, p, &g)
	if n != need || got != count || segSize != largest+len(prefix) {
		tb.Fatalf("%d bytes in %d wire frames of %d, want %d in %d of %d", n, got, segSize, need, count, largest+len(prefix))
	}
	if !bytes.Equal(frame, before) {
		tb.Error("the super-frame was changed")
	}
	for rest := dst; len(rest) > 0; {
		one := rest[:min(segSize, len(rest))]
		if !strings.HasPrefix(string(one), prefix) {
			tb.Fatalf("wire frame %d starts with %x, not with the prefix", len(frames), one[:len(prefix)])
		}
		frames = append(frames, one[len(prefix):])
		rest = rest[len(one):]
	}
	return frames
}

// same compares frames byte for byte.
func same(tb rapid.TB, want, got [][]byte) {
	tb.Helper()
	if len(want) != len(got) {
		tb.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(want[i], got[i]) {
			tb.Errorf("frame %d (-want +got):\n%s%s", i, cmp.Diff(read(tb, want[i]), read(tb, got[i])), cmp.Diff(want[i], got[i]))
		}
	}
}

// TestSplit holds each wire frame against one that gopacket wrote.
func TestSplit(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
		bulk string
		edit func(*recipe)
	}{
		{"last one shorter", 1000, text(0, 3500), nil},
		{"all of one size", 1000, text(0, 3000), nil},
		{"odd sizes", 333, text(0, 1000), nil},
		{"a byte each", 1, text(0, 20), nil},
		{"one wire frame, exactly full", 1000, text(0, 1000), nil},
		{"one wire frame, not full", 1000, text(0, 10), nil},
		{"largest IP packet", 1448, text(0, 65535-60), nil},
		{"jumbo segments", 8948, text(0, 30000), nil},
		{"PSH and FIN only last", 100, text(0, 250), func(r *recipe) { r.Flags |= psh | fin }},
		{"CWR only first", 100, text(0, 250), func(r *recipe) { r.Flags |= cwr }},
		{"CWR, PSH and FIN on a single one", 300, text(0, 250), func(r *recipe) { r.Flags |= cwr | psh | fin }},
		{"other flags on all", 100, text(0, 250), func(r *recipe) { r.Flags |= urg | ece; r.Urgent, r.NS = 9, true }},
		{"sequence number wraps", 100, text(0, 250), func(r *recipe) { r.Seq = 0xffffff9c }},
		{"IPv4 ID wraps", 100, text(0, 250), func(r *recipe) { r.ID = 0xfffe }},
		{"IPv4 without DF", 100, text(0, 250), func(r *recipe) { r.DF = false }},
		{"TOS, TTL and flow label", 100, text(0, 250), func(r *recipe) { r.TOS, r.TTL, r.Label = 0xbb, 1, 0xabcde }},
		{"TCP options", 100, text(0, 250), func(r *recipe) { r.Options = "\xfd\x04ab\xfd\x04cd" }},
		{"most TCP options", 100, text(0, 250), func(r *recipe) { r.Options = strings.Repeat("\xfd\x04xy", 10) }},
		{"IP options or extension headers", 100, text(0, 250), func(r *recipe) { r.IPOptions = 8 }},
		{"most IPv4 options", 100, text(0, 250), func(r *recipe) { r.IPOptions = 40 }},
		{"a VLAN tag", 100, text(0, 250), func(r *recipe) { r.Tags = []uint16{7} }},
		{"two VLAN tags", 100, text(0, 250), func(r *recipe) { r.Tags = []uint16{7, 4095} }},
		{"padding behind the IP packet is not payload", 100, text(0, 250), func(r *recipe) { r.Padding = 9 }},
		{"all zero", 100, strings.Repeat("\x00", 250), nil},
		{"all ones", 100, strings.Repeat("\xff", 250), nil},
		{"checksum finished", 100, text(0, 250), func(r *recipe) { r.Csum = good }},
	} {
		for _, kind := range kinds {
			t.Run(c.name+"/"+kind.name, func(t *testing.T) {
				r := kind.recipe(c.bulk)
				r.Csum = partial
				if c.edit != nil {
					c.edit(&r)
				}
				if r.UDP {
					r.Flags, r.Options = 0, ""
				}
				if r.V6 && r.IPOptions == 40 {
					r.IPOptions = 240
				}
				if r.V6 && len(c.bulk) > 60000 {
					r.Body += text(1, 40-20) // the header does not count
				}
				frame, p, g := r.super(t, c.size)
				if r.Csum == good {
					frame = r.frame(t)
					g.NeedsCsum = false
				}
				for _, prefix := range []string{"", "\x08\x00\x00\x00\x00\x00\x2a\x00", "odd"} {
					same(t, wireFrames(t, r, c.size), split(t, prefix, frame, p, g))
				}
			})
		}
	}
}

var kinds = []kind{
	{"TCP4", offload.TCPv4, false, false},
	{"TCP6", offload.TCPv6, true, false},
	{"UDP4", offload.UDP, false, true},
	{"UDP6", offload.UDP, true, true},
}

// A kind is a protocol that can be cut and joined.
type kind struct {
	name    string
	typ     offload.Type
	v6, udp bool
}

// recipe is a frame of the kind in the middle of its flow.
func (k kind) recipe(body string) recipe {
	if k.udp {
		return datagram(k.v6, 7, body)
	}
	return segment(k.v6, 1000, body)
}

// TestSplitChecksumZero: UDP over IPv4 without a checksum stays without, and
// what adds up to 0 is written in the other form (RFC 768).
func TestSplitChecksumZero(t *testing.T) {
	r := datagram(false, 7, text(0, 250))
	r.Csum = zero
	frame, p, g := r.super(t, 100)
	g.NeedsCsum = false
	same(t, wireFrames(t, r, 100), split(t, "", frame, p, g))

	for _, v6 := range []bool{false, true} {
		// The second datagram's checksum is made to add up to 0.
		first, second := text(0, 100), []byte(text(0, 100))
		second[0], second[1] = 0, 0
		probe := datagram(v6, 8, string(second)).frame(t)
		at := parse(t, probe).L4 + 6
		second[0], second[1] = probe[at], probe[at+1]
		r := datagram(v6, 7, first+string(second))
		frame, p, g := r.super(t, 100)
		got := split(t, "", frame, p, g)
		if c := got[1][at : at+2]; !bytes.Equal(c, []byte{0xff, 0xff}) {
			t.Errorf("IPv6 %v: checksum %x, want ffff", v6, c)
		}
		same(t, wireFrames(t, datagram(v6, 7, r.Body), 100), got)
	}
}

// TestSplitRefuses what it could only cut by making a bad checksum good, or
// what there is no room for.
func TestSplitRefuses(t *testing.T) {
	for _, k := range kinds {
		for _, c := range []struct {
			name    string
			edit    func(*recipe)
			partial bool
			room    int
		}{
			{"a bad finished checksum", func(r *recipe) { r.Csum = bad }, false, 1 << 16},
			{"a bad IPv4 header checksum", func(r *recipe) { r.BadIPCsum = true }, true, 1 << 16},
			{"one byte of room too little", func(*recipe) {}, true, -1},
			{"no room", func(*recipe) {}, true, 0},
		} {
			if k.v6 && strings.Contains(c.name, "IPv4") {
				continue
			}
			t.Run(k.name+"/"+c.name, func(t *testing.T) {
				r := k.recipe(text(0, 250))
				c.edit(&r)
				frame, p, g := r.super(t, 100)
				g.NeedsCsum = c.partial
				room := c.room
				if room < 0 {
					count, _ := offload.WireFrames(len(frame), &g)
					room = len(frame) + (count-1)*int(g.HdrLen) + count*8 - 1
				}
				var s offload.Splitter
				if n, size, frames := s.Split(make([]byte, room), make([]byte, 8), frame, p, &g); n != 0 || size != 0 || frames != 0 {
					t.Errorf("%d bytes, %d frames of %d", n, frames, size)
				}
			})
		}
	}
}

// TestSplitKeepsAnUnfinishedLie: a pseudo-header sum that is wrong gives wrong
// checksums, as in the kernel, which takes it as it is.
func TestSplitKeepsAnUnfinishedLie(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			frame, p, g := k.recipe(text(0, 250)).super(t, 100)
			frame[p.L4+int(g.CsumOffset)] ^= 0x10
			for i, w := range split(t, "", frame, p, g) {
				if state(t, w) != bad {
					t.Errorf("wire frame %d has a good checksum", i)
				}
			}
		})
	}
}

// TestSplitRoutingHeader: the pseudo-header holds the final destination, which
// is not that of the IPv6 header (RFC 8200 §8.1).
func TestSplitRoutingHeader(t *testing.T) {
	r := segment(true, 1, text(0, 250))
	r.IPOptions = 24
	frame, p, g := r.super(t, 100)
	frame[20] = 43 // a segment routing header with one segment left: B is behind C
	copy(frame[14+40:], []byte{6, 2, 4, 1, 0, 0, 0, 0})
	final := bytes.Clone(frame[38:54])
	copy(frame[14+40+8:], final)
	frame[53] = 0xcc
	for i, w := range split(t, "", frame, p, g) {
		seen := bytes.Clone(w)
		copy(seen[38:54], final)
		if state(t, seen) != good {
			t.Errorf("wire frame %d has a bad checksum at its destination", i)
		}
	}
}

// TestSplitProperty cuts random super-frames.
func TestSplitProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, size := drawSuper(t)
		frame, p, g := r.super(t, size)
		got := split(t, rapid.SampledFrom([]string{"", "12345678"}).Draw(t, "prefix"), frame, p, g)
		r.Csum = partial
		same(t, wireFrames(t, r, size), got)
		for _, w := range got {
			if d := read(t, w); d.Csum != good || d.BadIPCsum {
				t.Fatalf("bad checksum in %+v", d)
			}
		}
	})
}

// drawSuper draws a super-frame of at most 64 wire frames.
func drawSuper(t *rapid.T) (r recipe, size int) {
	k := rapid.SampledFrom(kinds).Draw(t, "kind")
	size = rapid.IntRange(1, 1460).Draw(t, "size")
	n := rapid.IntRange(size+1, min(64*size, 65000)).Draw(t, "payload")
	r = k.recipe(text(rapid.IntRange(0, 1<<20).Draw(t, "content"), n))
	r.TOS, r.TTL = rapid.Byte().Draw(t, "TOS"), rapid.Byte().Draw(t, "TTL")
	r.Src = rapid.Uint16Min(40000).Draw(t, "port") // of no service that gopacket looks into
	r.Tags = rapid.SliceOfN(rapid.Uint16Range(0, 4095), 0, 2).Draw(t, "tags")
	r.DF = rapid.Bool().Draw(t, "DF")
	if k.v6 {
		r.Label = uint32(rapid.Uint16().Draw(t, "label"))
		r.ID, r.DF = 0, false
	} else {
		r.ID = rapid.Uint16().Draw(t, "ID")
	}
	if k.udp {
		return r, size
	}
	r.Seq, r.Ack = rapid.Uint32().Draw(t, "seq"), rapid.Uint32().Draw(t, "ack")
	r.Window = rapid.Uint16().Draw(t, "window")
	r.Flags = ack | rapid.SampledFrom([]uint8{0, psh, ece, ece | psh}).Draw(t, "flags")
	r.Options = strings.Repeat(fmt.Sprintf("\xfd\x04%02d", rapid.IntRange(0, 99).Draw(t, "option")), rapid.IntRange(0, 10).Draw(t, "options"))
	return r, size
}
