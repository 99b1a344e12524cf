package offload_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// TestValidateReplacesLies: what can be seen in the frame is taken from there.
func TestValidateReplacesLies(t *testing.T) {
	for _, k := range kinds {
		for _, lie := range []uint16{0, 1, 34, 1000, 65535} {
			r := k.recipe(text(0, 250))
			r.Tags = vlan(7)
			frame, p, want := r.super(t, 100)
			got := want
			got.HdrLen, got.CsumStart, got.CsumOffset = lie, lie, lie
			if reason := offload.Validate(frame, p, &got); reason != drop.None || got != want {
				t.Errorf("%s with %d: %v, %+v, want %+v", k.name, lie, reason, got, want)
			}
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	tcp4, udp4, tcp6, udp6 := kinds[0], kinds[2], kinds[1], kinds[3]
	for _, c := range []struct {
		name string
		kind kind
		edit func(b []byte, g *offload.GSO) []byte
	}{
		{"size 0", tcp4, func(b []byte, g *offload.GSO) []byte { g.Size = 0; return b }},
		{"UDP as TCP", udp4, func(b []byte, g *offload.GSO) []byte { g.Type = offload.TCPv4; return b }},
		{"UDP over IPv6 as TCP", udp6, func(b []byte, g *offload.GSO) []byte { g.Type = offload.TCPv6; return b }},
		{"TCP as UDP", tcp6, func(b []byte, g *offload.GSO) []byte { g.Type = offload.UDP; return b }},
		{"IPv6 as IPv4", tcp6, func(b []byte, g *offload.GSO) []byte { g.Type = offload.TCPv4; return b }},
		{"IPv4 as IPv6", tcp4, func(b []byte, g *offload.GSO) []byte { g.Type = offload.TCPv6; return b }},
		{"ARP", tcp4, func(b []byte, _ *offload.GSO) []byte { b[12], b[13] = 8, 6; return b }},
		{"ICMP", tcp4, func(b []byte, _ *offload.GSO) []byte { b[23] = 1; return b }},
		{"first fragment", tcp4, func(b []byte, _ *offload.GSO) []byte { b[20] = 0x20; return b }},
		{"last fragment", udp4, func(b []byte, _ *offload.GSO) []byte { b[21] = 1; return b }},
		{"TCP header of 16 bytes", tcp4, func(b []byte, _ *offload.GSO) []byte { b[34+12] = 0x40; return b }},
		{"TCP header longer than the packet", tcp4, func(b []byte, _ *offload.GSO) []byte {
			b[16], b[17], b[34+12] = 0, 20+40, 0xf0
			return b
		}},
		{"no payload", udp4, func(b []byte, _ *offload.GSO) []byte { b[16], b[17] = 0, 28; return b }},
		{"IP packet longer than the frame", tcp4, func(b []byte, _ *offload.GSO) []byte { return b[: len(b)-1 : len(b)-1] }},
		{"IPv4 length 0, as BIG TCP has it", tcp4, func(b []byte, _ *offload.GSO) []byte { b[16], b[17] = 0, 0; return b }},
		{"IPv6 length 0, as a jumbogram has it", tcp6, func(b []byte, _ *offload.GSO) []byte { b[18], b[19] = 0, 0; return b }},
		{"Ethernet header alone", tcp4, func(b []byte, _ *offload.GSO) []byte { return b[:14:14] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _, g := c.kind.recipe(text(0, 250)).super(t, 100)
			b = c.edit(b, &g)
			if r := offload.Validate(b, parse(t, b), &g); r != drop.Malformed {
				t.Errorf("reason %v", r)
			}
		})
	}
}

// TestValidateChecksumOfWireFrames: where a checksum is left to us it must be
// within the frame and behind the Ethernet header.
func TestValidateChecksumOfWireFrames(t *testing.T) {
	frame := segment(false, 1, "").frame(t) // 54 bytes
	for _, c := range []struct {
		start, offset uint16
		want          drop.Reason
	}{
		{34, 16, drop.None},
		{34, 18, drop.None},
		{34, 19, drop.Malformed},
		{54, 0, drop.Malformed},
		{52, 0, drop.None},
		{14, 0, drop.None},
		{13, 0, drop.Malformed},
		{0, 34, drop.Malformed},
		{65535, 65535, drop.Malformed},
		{65535, 3, drop.Malformed}, // not 2
	} {
		g := offload.GSO{NeedsCsum: true, CsumStart: c.start, CsumOffset: c.offset}
		before := g
		if r := offload.Validate(frame, parse(t, frame), &g); r != c.want || g != before {
			t.Errorf("start %d, offset %d: %v, want %v; %+v", c.start, c.offset, r, c.want, g)
		}
	}
	g := offload.GSO{CsumStart: 65535} // nothing is asked
	if r := offload.Validate(frame, parse(t, frame), &g); r != drop.None {
		t.Errorf("%v where nothing is left to do", r)
	}
}

func TestWireFrames(t *testing.T) {
	for _, c := range []struct {
		name                  string
		len                   int
		gso                   offload.GSO
		wantCount, wantLength int
	}{
		{"a wire frame", 1514, offload.GSO{}, 1, 1514},
		{"a wire frame with a checksum left", 60, offload.GSO{NeedsCsum: true, CsumStart: 34}, 1, 60},
		{"three, the last shorter", 54 + 250, offload.GSO{Type: offload.TCPv4, HdrLen: 54, Size: 100}, 3, 154},
		{"three full ones", 54 + 300, offload.GSO{Type: offload.TCPv4, HdrLen: 54, Size: 100}, 3, 154},
		{"one", 54 + 50, offload.GSO{Type: offload.TCPv4, HdrLen: 54, Size: 100}, 1, 104},
	} {
		count, length := offload.WireFrames(c.len, &c.gso)
		if count != c.wantCount || length != c.wantLength {
			t.Errorf("%s: %d of %d bytes, want %d of %d", c.name, count, length, c.wantCount, c.wantLength)
		}
	}
}

// TestComplete finishes checksums where a device says they are.
func TestComplete(t *testing.T) {
	for _, k := range kinds {
		for _, n := range []int{0, 1, 18, 1400} {
			r := k.recipe(text(n, n))
			want := r.frame(t)
			want = append(want, 0xee, 0xee, 0xee) // padding takes no part
			r.Csum, r.Padding = partial, 3
			got := r.frame(t)
			p := parse(t, got)
			g := offload.GSO{NeedsCsum: true, CsumStart: uint16(p.L4), CsumOffset: 16}
			if k.udp {
				g.CsumOffset = 6
			}
			if reason := offload.Validate(got, p, &g); reason != drop.None {
				t.Fatal(reason)
			}
			offload.Complete(got, p, &g)
			if g.NeedsCsum {
				t.Error("still said to be left")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s of %d bytes (-want +got):\n%s", k.name, n, diff)
			}
		}
	}
}

// TestCompleteOtherProtocols: the device knows where the checksum is, also of
// what we do not look into.
func TestCompleteOtherProtocols(t *testing.T) {
	for _, c := range []struct {
		name      string
		ethertype uint16
		proto     byte
	}{
		{"ICMP", 0x0800, 1},
		{"DCCP", 0x0800, 33},
		{"a frame that is no IP", 0x88b5, 0},
	} {
		frame := segment(false, 1, text(0, 33)).frame(t)
		frame[12], frame[13], frame[23] = byte(c.ethertype>>8), byte(c.ethertype), c.proto
		frame[34+6], frame[34+7] = 0, 0
		g := offload.GSO{NeedsCsum: true, CsumStart: 34, CsumOffset: 6}
		p := parse(t, frame)
		if reason := offload.Validate(frame, p, &g); reason != drop.None {
			t.Fatal(reason)
		}
		offload.Complete(frame, p, &g)
		if s := naiveSum(0, frame[34:]); s != 0xffff {
			t.Errorf("%s: sum %#x", c.name, s)
		}
	}
}

// TestCompleteZero: a UDP checksum that adds up to 0 is written in the other
// form; TCP has no other form.
func TestCompleteZero(t *testing.T) {
	for _, k := range kinds {
		body := []byte{0, 0, 1, 2}
		probe := k.recipe(string(body)).frame(t)
		g := offload.GSO{NeedsCsum: true, CsumStart: uint16(parse(t, probe).L4), CsumOffset: 16}
		want := []byte{0, 0}
		if k.udp {
			g.CsumOffset, want = 6, []byte{0xff, 0xff}
		}
		at := int(g.CsumStart + g.CsumOffset)
		r := k.recipe(string(append(bytes.Clone(probe[at:at+2]), 1, 2)))
		r.Csum = partial
		frame := r.frame(t)
		offload.Complete(frame, parse(t, frame), &g)
		if !bytes.Equal(frame[at:at+2], want) {
			t.Errorf("%s: checksum %x, want %x", k.name, frame[at:at+2], want)
		}
	}
}

// TestCompleteWithinUDP: of a checksum within a datagram we do not know that 0
// has another form.
func TestCompleteWithinUDP(t *testing.T) {
	frame := datagram(false, 1, string(make([]byte, 20))).frame(t)
	frame[50], frame[51] = 0xff, 0xff
	g := offload.GSO{NeedsCsum: true, CsumStart: 42, CsumOffset: 16}
	offload.Complete(frame, parse(t, frame), &g)
	if frame[58] != 0 || frame[59] != 0 {
		t.Errorf("checksum %x", frame[58:60])
	}
}

// TestSuperFromDatagram tells what a kernel peer sent whole from what it only
// can be taken for.
func TestSuperFromDatagram(t *testing.T) {
	for _, k := range kinds {
		r := k.recipe(text(0, 5000))
		r.Tags = vlan(7)
		frame, p, want := r.super(t, 1000)
		header := int(want.HdrLen) - 14 - 4
		for _, c := range []struct {
			name         string
			mtu, segment int
			wantSize     int // 0: not a super-frame
		}{
			{"cut to the device's MTU", 1450, 0, 1450 - header},
			{"with the size that came along", 1450, 1000, 1000},
			{"the size just fits", 1450, 1450 - header, 1450 - header},
			{"the size does not fit", 1450, 1450 - header + 1, 1450 - header},
			{"an MTU of the headers alone", header, 0, 0},
			{"an MTU of less than that", 10, 1000, 0},
			{"the largest MTU", 65535, 0, 65535 - header},
		} {
			t.Run(k.name+"/"+c.name, func(t *testing.T) {
				size := c.wantSize
				if k.udp && (c.segment == 0 || c.segment > c.mtu-header) {
					size = 0 // datagrams of an unknown size
				}
				if size == 0 {
					want = offload.GSO{}
				} else {
					_, _, want = r.super(t, size)
				}
				got, ok := offload.SuperFromDatagram(frame, p, c.mtu, c.segment)
				if ok != (size != 0) || got != want {
					t.Fatalf("%v %+v, want %+v", ok, got, want)
				}
				if ok {
					same(t, wireFrames(t, withCsum(r, partial), size), split(t, "", frame, p, got))
				}
			})
		}
	}
}

func withCsum(r recipe, c csum) recipe { r.Csum = c; return r }

func TestSuperFromDatagramRefuses(t *testing.T) {
	frame, _, _ := segment(false, 1, text(0, 5000)).super(t, 1000)
	for name, edit := range map[string]func(b []byte) []byte{
		"ARP":                    func(b []byte) []byte { b[13] = 6; return b },
		"ICMP":                   func(b []byte) []byte { b[23] = 1; return b },
		"a fragment":             func(b []byte) []byte { b[20] = 0x20; return b },
		"a broken TCP header":    func(b []byte) []byte { b[34+12] = 0; return b },
		"no payload":             func(b []byte) []byte { b[16], b[17] = 0, 40; return b[:54] },
		"bytes behind the end":   func(b []byte) []byte { return append(b, 0) },
		"less than the IP says":  func(b []byte) []byte { return b[:4000] },
		"an Ethernet header":     func(b []byte) []byte { return b[:14] },
		"the length of BIG TCP":  func(b []byte) []byte { b[16], b[17] = 0, 0; return b },
		"an IPv4 header cut off": func(b []byte) []byte { return b[:30] },
	} {
		b := edit(bytes.Clone(frame))
		var p packet.Parsed
		if !p.Parse(b) {
			t.Fatal("short")
		}
		if g, ok := offload.SuperFromDatagram(b[:len(b):len(b)], &p, 1450, 1000); ok || g != (offload.GSO{}) {
			t.Errorf("%s: taken for %+v", name, g)
		}
	}
}
