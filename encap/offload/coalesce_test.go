package offload_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

var allCaps = offload.Caps{VNetHdr: true, TSO: true, USO: true}

// An emitted is what a Coalescer let go, once.
type emitted struct {
	gso    offload.GSO
	bytes  []byte
	frames []int // of the input, by their places
}

// coalesce gives a burst to a Coalescer as a worker does a train.
func coalesce(tb rapid.TB, c *offload.Coalescer, frames [][]byte) []emitted {
	tb.Helper()
	return coalesceBy(tb, c, frames, c.Follow)
}

// coalesceBy gives a burst to a Coalescer. Frames that follow takes are not
// added.
func coalesceBy(tb rapid.TB, c *offload.Coalescer, frames [][]byte, follow func([]byte) bool) (out []emitted) {
	tb.Helper()
	emit := func(g offload.GSO, pieces [][]byte, n int) {
		e := emitted{gso: g}
		for _, piece := range pieces {
			e.bytes = append(e.bytes, piece...)
			for i, f := range frames { // a piece is the end of its frame
				if &piece[len(piece)-1] == &f[len(f)-1] {
					e.frames = append(e.frames, i)
				}
			}
		}
		if n != len(pieces) || n != len(e.frames) {
			tb.Errorf("%d frames said to be in %d pieces, of frames %v", n, len(pieces), e.frames)
		}
		out = append(out, e)
	}
	for _, f := range frames {
		if follow(f) {
			continue
		}
		p := parse(tb, f)
		c.Add(f, p, p.L4Checksum(f), emit)
	}
	c.Flush(emit)
	return out
}

// bulk is three frames of 100 bytes of payload each that follow on.
func bulk(k kind) []recipe {
	return cut(k.recipe(text(0, 300)), 100)
}

// cut is what the payload of r is sent in.
func cut(r recipe, size int) (all []recipe) {
	for at := 0; at < len(r.Body); at += size {
		one := r
		one.Body = r.Body[at:min(at+size, len(r.Body))]
		one.ID += uint16(at / size)
		if !r.UDP {
			one.Seq += uint32(at)
		}
		all = append(all, one)
	}
	return all
}

func build(tb rapid.TB, rs []recipe) (frames [][]byte) {
	for _, r := range rs {
		frames = append(frames, r.frame(tb))
	}
	return frames
}

// joinCases say what is joined: "0+1 2" is a super-frame of frames 0 and 1, and
// then frame 2 alone.
var joinCases = []struct {
	name string
	of   string // a part of the names of kinds
	want string
	edit func(r []recipe) []recipe
}{
	{"three that follow on", "", "0+1+2", nil},
	{"one alone", "", "0", func(r []recipe) []recipe { return r[:1] }},
	{"the shorter one is the last", "", "0+1 2", func(r []recipe) []recipe { return resize(r, 100, 60, 100) }},
	{"shorter ones of one size", "", "0+1 2", func(r []recipe) []recipe { return resize(r, 100, 60, 60) }},
	{"a longer one begins anew", "", "0 1+2", func(r []recipe) []recipe { return resize(r, 60, 100, 100) }},
	{"unfinished checksums", "", "0+1+2", func(r []recipe) []recipe { r[0].Csum, r[1].Csum, r[2].Csum = partial, partial, partial; return r }},
	{"finished and unfinished checksums", "", "0+1+2", func(r []recipe) []recipe { r[1].Csum = partial; return r }},
	{"bad checksum", "", "0 1 2", func(r []recipe) []recipe { r[1].Csum = bad; return r }},
	{"first checksum bad", "", "0 1+2", func(r []recipe) []recipe { r[0].Csum = bad; return r }},
	{"bad IPv4 header checksum", "4", "0 1 2", func(r []recipe) []recipe { r[1].BadIPCsum = true; return r }},
	{"first IPv4 header checksum bad", "4", "0 1+2", func(r []recipe) []recipe { r[0].BadIPCsum = true; return r }},
	{"ECN: congestion experienced", "", "0 1 2", func(r []recipe) []recipe { r[1].TOS = 3; return r }},
	{"ECN alike", "", "0+1+2", func(r []recipe) []recipe { r[0].TOS, r[1].TOS, r[2].TOS = 2, 2, 2; return r }},
	{"DSCP", "", "0 1 2", func(r []recipe) []recipe { r[1].TOS = 0xb8; return r }},
	{"TTL", "", "0 1 2", func(r []recipe) []recipe { r[1].TTL--; return r }},
	{"flow label", "6", "0 1 2", func(r []recipe) []recipe { r[1].Label = 1; return r }},
	{"DF", "4", "0 1 2", func(r []recipe) []recipe { r[1].DF = !r[1].DF; return r }},
	{"the reserved flag", "4", "0 1 2", func(r []recipe) []recipe { r[1].Evil = true; return r }},
	{"IP options or extension headers", "", "0 1 2", func(r []recipe) []recipe { r[1].IPOptions = 8; return r }},
	{"IP options or extension headers on all", "", "0 1 2", func(r []recipe) []recipe { r[0].IPOptions, r[1].IPOptions, r[2].IPOptions = 8, 8, 8; return r }},
	{"ID that does not count on", "4", "0 1+2", func(r []recipe) []recipe {
		r[0].DF, r[1].DF, r[2].DF = false, false, false
		r[1].ID, r[2].ID = 500, 501
		return r
	}},
	{"the same ID", "4", "0 1 2", func(r []recipe) []recipe {
		r[0].DF, r[1].DF, r[2].DF = false, false, false
		r[1].ID, r[2].ID = r[0].ID, r[0].ID
		return r
	}},
	{"ID that wraps", "4", "0+1+2", func(r []recipe) []recipe {
		r[0].DF, r[1].DF, r[2].DF = false, false, false
		r[0].ID, r[1].ID, r[2].ID = 0xfffe, 0xffff, 0
		return r
	}},
	{"an ID that means nothing (RFC 6864)", "4", "0+1+2", func(r []recipe) []recipe {
		r[0].DF, r[1].DF, r[2].DF = true, true, true
		r[0].ID, r[1].ID, r[2].ID = 0, 9, 0
		return r
	}},
	{"another flow", "", "0 1", func(r []recipe) []recipe { r[1].Src++; return r[:2] }},
	{"another MAC", "", "0 1 2", func(r []recipe) []recipe { r[1].DstMAC = macA; return r }},
	{"a VLAN tag alike", "", "0+1+2", func(r []recipe) []recipe { r[0].Tags, r[1].Tags, r[2].Tags = vlan(7), vlan(7), vlan(7); return r }},
	{"two VLAN tags alike", "", "0+1+2", func(r []recipe) []recipe {
		r[0].Tags, r[1].Tags, r[2].Tags = vlan(7, 8), vlan(7, 8), vlan(7, 8)
		return r
	}},
	{"another VLAN", "", "0 1 2", func(r []recipe) []recipe { r[0].Tags, r[1].Tags, r[2].Tags = vlan(7), vlan(8), vlan(7); return r }},
	{"a VLAN tag on one", "", "0 1 2", func(r []recipe) []recipe { r[1].Tags = vlan(7); return r }},
	{"padding", "", "0 1 2", func(r []recipe) []recipe { r[1].Padding = 3; return r }},

	{"a lost segment", "TCP", "0 1", func(r []recipe) []recipe { return []recipe{r[0], r[2]} }},
	{"a segment twice", "TCP", "0+1 2", func(r []recipe) []recipe { return []recipe{r[0], r[1], r[1]} }},
	{"segments out of order", "TCP", "0 1 2", func(r []recipe) []recipe { return []recipe{r[1], r[0], r[2]} }},
	{"sequence number that wraps", "TCP", "0+1+2", func(r []recipe) []recipe {
		r[0].Seq, r[1].Seq, r[2].Seq = 0xffffff9c, 0, 100
		return r
	}},
	{"acknowledges something else", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Ack++; return r }},
	{"another window", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Window++; return r }},
	{"PSH on the last", "TCP", "0+1+2", func(r []recipe) []recipe { r[2].Flags |= psh; return r }},
	{"nothing is behind PSH", "TCP", "0+1 2", func(r []recipe) []recipe { r[1].Flags |= psh; return r }},
	{"nothing is behind a first PSH", "TCP", "0 1+2", func(r []recipe) []recipe { r[0].Flags |= psh; return r }},
	{"FIN", "TCP", "0+1 2", func(r []recipe) []recipe { r[2].Flags |= fin; return r }},
	{"SYN with data", "TCP", "0 1+2", func(r []recipe) []recipe { r[0].Flags = syn; return r }},
	{"RST", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Flags |= rst; return r }},
	{"URG", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Flags |= urg; return r }},
	{"CWR", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Flags |= cwr; return r }},
	{"FIN on all", "TCP", "0 1 2", func(r []recipe) []recipe { return flags(r, ack|fin) }},
	{"SYN on all", "TCP", "0 1 2", func(r []recipe) []recipe { return flags(r, ack|syn) }},
	{"RST on all", "TCP", "0 1 2", func(r []recipe) []recipe { return flags(r, ack|rst) }},
	{"URG on all", "TCP", "0 1 2", func(r []recipe) []recipe { return flags(r, ack|urg) }},
	{"CWR on all", "TCP", "0 1 2", func(r []recipe) []recipe { return flags(r, ack|cwr) }},
	{"ECE", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Flags |= ece; return r }},
	{"ECE on all", "TCP", "0+1+2", func(r []recipe) []recipe { return flags(r, ack|ece) }},
	{"accurate ECN's bit", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].NS = true; return r }},
	{"urgent pointer without URG", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Urgent = 4; return r }},
	{"options alike", "TCP", "0+1+2", func(r []recipe) []recipe { return options(r, "\xfd\x04ab", "\xfd\x04ab", "\xfd\x04ab") }},
	{"another option", "TCP", "0 1 2", func(r []recipe) []recipe { return options(r, "\xfd\x04ab", "\xfd\x04ac", "\xfd\x04ab") }},
	{"more options", "TCP", "0 1 2", func(r []recipe) []recipe { return options(r, "\xfd\x04ab", "\xfd\x04ab\xfd\x04cd", "\xfd\x04ab") }},
	{"a pure acknowledgement", "TCP", "0 1 2", func(r []recipe) []recipe { r[1].Body, r[2].Seq = "", r[1].Seq; return r }},
	{"pure acknowledgements", "TCP", "0 1 2", func(r []recipe) []recipe { r[0].Body, r[1].Body, r[2].Body = "", "", ""; return r }},

	{"checksum zero", "UDP4", "0 1 2", func(r []recipe) []recipe { r[1].Csum = zero; return r }},
	{"checksum zero on all", "UDP4", "0 1 2", func(r []recipe) []recipe { r[0].Csum, r[1].Csum, r[2].Csum = zero, zero, zero; return r }},
	{"empty datagram", "UDP", "0 1 2", func(r []recipe) []recipe { r[1].Body = ""; return r }},
	{"datagram shorter than its IP packet", "UDP", "0 1 2", func(r []recipe) []recipe { r[1].UDPLenOffset = -4; return r }},
	{"datagram longer than its IP packet", "UDP", "0 1 2", func(r []recipe) []recipe { r[1].UDPLenOffset = 4; return r }},
}

func vlan(ids ...uint16) []uint16 { return ids }

func options(r []recipe, o ...string) []recipe {
	for i := range r {
		r[i].Options = o[i]
	}
	return r
}

func flags(r []recipe, f uint8) []recipe {
	for i := range r {
		r[i].Flags = f
	}
	return r
}

// resize gives the frames other sizes; they still follow on.
func resize(r []recipe, sizes ...int) []recipe {
	seq := r[0].Seq
	for i := range r {
		r[i].Body = text(1000*i, sizes[i])
		if !r[i].UDP {
			r[i].Seq = seq
			seq += uint32(sizes[i])
		}
	}
	return r
}

func TestCoalesce(t *testing.T) {
	for _, c := range joinCases {
		for _, k := range kinds {
			if !strings.Contains(k.name, c.of) {
				continue
			}
			t.Run(c.name+"/"+k.name, func(t *testing.T) {
				rs := bulk(k)
				if c.edit != nil {
					rs = c.edit(rs)
				}
				checkJoined(t, k, rs, coalesce(t, offload.NewCoalescer(allCaps), build(t, rs)), c.want)
			})
		}
	}
}

// checkJoined holds what came out against the wanted groups, and each of them
// against what gopacket writes.
func checkJoined(t *testing.T, k kind, rs []recipe, out []emitted, want string) {
	t.Helper()
	var got []string
	for _, e := range out {
		got = append(got, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(e.frames), "[]")), "+"))
	}
	if s := strings.Join(got, " "); s != want {
		t.Fatalf("joined as %q, want %q", s, want)
	}
	for _, e := range out {
		first := rs[e.frames[0]]
		whole := first
		wantGSO := offload.GSO{}
		for _, i := range e.frames[1:] {
			whole.Body += rs[i].Body
			whole.Flags |= rs[i].Flags & psh
		}
		if len(e.frames) > 1 {
			_, _, wantGSO = whole.super(t, len(first.Body))
			whole.Csum = partial
		} else if first.Csum == partial {
			_, _, wantGSO = whole.super(t, 0)
			wantGSO.Type, wantGSO.HdrLen = offload.None, 0
		}
		if diff := cmp.Diff(wantGSO, e.gso); diff != "" {
			t.Errorf("frames %v (-want +got):\n%s", e.frames, diff)
		}
		same(t, [][]byte{whole.frame(t)}, [][]byte{e.bytes})
	}
}

func TestCoalesceLimits(t *testing.T) {
	for _, k := range kinds {
		for _, c := range []struct {
			name                 string
			size, frames, joined int
		}{
			{"64 pieces", 10, 65, 64},
			{"64 KiB", 9000, 8, 7},
			{"an IP packet of exactly 65535 bytes", 0, 2, 2},
			{"an IP packet of 65536 bytes", 1, 2, 1},
		} {
			t.Run(k.name+"/"+c.name, func(t *testing.T) {
				rs := cut(k.recipe(text(0, c.size*c.frames)), max(c.size, 1))
				if c.frames == 2 {
					first := k.recipe("")
					header := len(first.frame(t)) - 14
					rs = []recipe{first, first}
					rs[1].ID++
					half := (65535 - header + c.size) / 2
					rs = resize(rs, 65535-header+c.size-half, half)
				}
				out := coalesce(t, offload.NewCoalescer(allCaps), build(t, rs))
				if len(out[0].frames) != c.joined {
					t.Errorf("%d frames joined, want %d", len(out[0].frames), c.joined)
				}
			})
		}
	}
}

func TestCoalesceByCapability(t *testing.T) {
	for _, k := range kinds {
		for caps, joins := range map[offload.Caps]bool{
			{VNetHdr: true}:                       false,
			{VNetHdr: true, TSO: true}:            !k.udp,
			{VNetHdr: true, USO: true}:            k.udp,
			{VNetHdr: true, TSO: true, USO: true}: true,
		} {
			want := "0 1 2"
			if joins {
				want = "0+1+2"
			}
			rs := bulk(k)
			for i := range rs {
				rs[i].Csum = partial
			}
			checkJoined(t, k, rs, coalesce(t, offload.NewCoalescer(caps), build(t, rs)), want)
		}
	}
}

// TestCoalesceFlows interleaves flows: each is joined on its own.
func TestCoalesceFlows(t *testing.T) {
	for _, flows := range []int{2, 16} {
		var rs []recipe
		for i := range 4 {
			for f := range flows {
				k := kinds[f%len(kinds)]
				r := cut(k.recipe(text(f*999, 400)), 100)[i]
				r.Src = uint16(1000 + f)
				rs = append(rs, r)
			}
		}
		out := coalesce(t, offload.NewCoalescer(allCaps), build(t, rs))
		if len(out) != flows {
			t.Fatalf("%d flows came out as %d", flows, len(out))
		}
		for f, e := range out { // in the order they began
			if diff := cmp.Diff([]int{f, f + flows, f + 2*flows, f + 3*flows}, e.frames); diff != "" {
				t.Errorf("flow %d of %d:\n%s", f, flows, diff)
			}
		}
	}
}

// TestCoalesceMoreFlows: the flow that began first makes room for the 17th.
func TestCoalesceMoreFlows(t *testing.T) {
	var rs []recipe
	for f := range 17 {
		r := datagram(false, 1, text(f, 50))
		r.Src = uint16(1000 + f)
		rs = append(rs, r)
	}
	second := rs[1]
	second.ID++
	rs = append(rs, second)
	out := coalesce(t, offload.NewCoalescer(allCaps), build(t, rs))
	var first [][]int
	for _, e := range out[:3] {
		first = append(first, e.frames)
	}
	if diff := cmp.Diff([][]int{{0}, {1, 17}, {2}}, first); diff != "" || len(out) != 17 {
		t.Errorf("%d came out, the first of them:\n%s", len(out), diff)
	}
}

// TestCoalesceKeepsOrder: what may be of a held flow does not overtake it.
func TestCoalesceKeepsOrder(t *testing.T) {
	v4, v6 := bulk(kinds[2]), bulk(kinds[3])
	held := append(build(t, v4[:2]), build(t, v6[:2])...)
	edit := func(f []byte, at int, with ...byte) []byte {
		f = bytes.Clone(f)
		copy(f[at:], with)
		return f[:len(f):len(f)]
	}
	f4, f6 := v4[2].frame(t), v6[2].frame(t)
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"IPv4, first fragment", edit(f4, 20, 0x20, 0), "0+1 2+3 4"},
		{"IPv4, last fragment", edit(f4, 20, 0, 9), "0+1 2+3 4"},
		{"IPv6, first fragment", fragment6(t, v6[2]), "0+1 2+3 4"},
		{"ICMP", edit(f4, 23, 1), "4 0+1 2+3"},
		{"ARP", edit(f4, 12, 8, 6), "4 0+1 2+3"},
		{"IPv4 without room for ports", edit(f4[:14+24:14+24], 16, 0, 24), "0+1 2+3 4"},
		{"the same flow, IPv4 header checksum bad", edit(f4, 22, 9), "0+1 4 2+3"},
		{"the same flow, UDP checksum bad", edit(f6, 60, 0x55), "2+3 4 0+1"},
		{"the same flow, another hop limit", edit(f6, 21, 9), "2+3 0+1 4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, e := range coalesce(t, offload.NewCoalescer(allCaps), append(held[:4:4], c.frame)) {
				got = append(got, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(e.frames), "[]")), "+"))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("left as %q, want %q", s, c.want)
			}
			for i, r := range append(v4[:2:2], v6[:2]...) { // the first of each was made a super-frame
				held[i] = r.frame(t)
			}
		})
	}
}

// fragment6 turns destination options into a fragment header, of the first
// fragment.
func fragment6(tb rapid.TB, r recipe) []byte {
	r.IPOptions = 8
	b := r.frame(tb)
	b[20] = 44
	copy(b[14+40:], []byte{17, 0, 0, 1, 0, 0, 0, 9})
	return b
}

// TestCoalesceUnfinishedPieces: the single frame whose checksum is left to the
// device says where it is; a header that is broken says nothing.
func TestCoalesceUnfinishedPieces(t *testing.T) {
	r := segment(false, 1, "")
	r.Csum = partial
	out := coalesce(t, offload.NewCoalescer(allCaps), build(t, []recipe{r}))
	if want := (offload.GSO{NeedsCsum: true, CsumStart: 34, CsumOffset: 16}); out[0].gso != want {
		t.Errorf("%+v, want %+v", out[0].gso, want)
	}
	broken := r.frame(t)
	broken[34+12] = 0x40 // a header of 16 bytes
	if out = coalesce(t, offload.NewCoalescer(allCaps), [][]byte{broken}); out[0].gso != (offload.GSO{}) {
		t.Errorf("%+v for a broken header", out[0].gso)
	}
}

// TestCoalescerIsReused over bursts: nothing of the last one is left.
func TestCoalescerIsReused(t *testing.T) {
	c := offload.NewCoalescer(allCaps)
	for range 3 {
		for _, k := range kinds {
			rs := bulk(k)
			checkJoined(t, k, rs, coalesce(t, c, build(t, rs)), "0+1+2")
		}
	}
	if out := coalesce(t, c, nil); len(out) != 0 {
		t.Errorf("%d frames out of nothing", len(out))
	}
}

// TestCoalesceLooksBehindTheHash has two flows of one hash.
func TestCoalesceLooksBehindTheHash(t *testing.T) {
	for _, k := range kinds {
		for name, edit := range map[string]func(b []byte, p *packet.Parsed, n uint16){
			"other ports":        func(b []byte, p *packet.Parsed, n uint16) { binary.BigEndian.PutUint16(b[p.L4+2:], n) },
			"other destinations": func(b []byte, p *packet.Parsed, n uint16) { binary.BigEndian.PutUint16(b[p.L4-2:], n) },
		} {
			t.Run(k.name+"/"+name, func(t *testing.T) {
				frames := build(t, bulk(k)[:2])
				b := frames[1]
				p := parse(t, b)
				want := p.FlowHash(frames[0])
				found := false
				for n := range 1 << 16 {
					for src := range 8 { // 65,536 flows need not meet a hash of 16 bits
						binary.BigEndian.PutUint16(b[p.L4:], uint16(40000+src))
						edit(b, p, uint16(n))
						if found = p.FlowHash(b) == want && !bytes.Equal(frames[0][p.L4-4:p.L4+4], b[p.L4-4:p.L4+4]); found {
							break
						}
					}
					if found {
						break
					}
				}
				if !found {
					t.Fatal("no two flows with one hash")
				}
				repair(t, b)
				if out := coalesce(t, offload.NewCoalescer(allCaps), frames); len(out) != 2 {
					t.Errorf("%d came out", len(out))
				}
			})
		}
	}
}
