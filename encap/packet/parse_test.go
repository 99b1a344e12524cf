package packet_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"vtepd/encap/packet"
)

// TestParse says what Parse makes of every kind of frame. The tables leave out
// MACs, which are always read, and in IP packets TOS and TTL, whose values are
// those of the builders.
func TestParse(t *testing.T) {
	eol := make([]byte, 8) // IPv4 options
	tcp, udp := tcpHeader(), udpHeader(0)
	for _, c := range []struct {
		name  string
		frame []byte
		want  packet.Parsed
	}{
		// Ethernet and tags.
		{"unknown EtherType", ether(0x88cc, nil), packet.Parsed{EtherType: 0x88cc, L3: 14}},
		{"IEEE 802.3 length", ether(46, make([]byte, 46)), packet.Parsed{EtherType: 46, L3: 14}},
		{"ARP", ether(typeARP, make([]byte, 28)), packet.Parsed{EtherType: typeARP, Kind: packet.ARP, L3: 14}},
		{"ARP without a body", ether(typeARP, nil), packet.Parsed{EtherType: typeARP, Kind: packet.ARP, L3: 14}},
		{"VLAN", ether(typeIPv4, ip4(17, 0, nil, udp), tpidVLAN),
			packet.Parsed{EtherType: typeIPv4, Tags: 1, Kind: packet.IPv4, L3: 18, L4: 38, End: 46, Proto: 17}},
		{"QinQ", ether(typeIPv6, ip6(17, udp), tpidQinQ, tpidVLAN),
			packet.Parsed{EtherType: typeIPv6, Tags: 2, Kind: packet.IPv6, L3: 22, L4: 62, End: 70, Proto: 17}},
		{"a third tag is not looked through", ether(typeIPv4, ip4(17, 0, nil, udp), tpidQinQ, tpidVLAN, tpidVLAN),
			packet.Parsed{EtherType: tpidVLAN, Tags: 2, L3: 22}},
		{"a tag cut short counts as one", ether(tpidVLAN, []byte{0, 1, 8}), packet.Parsed{EtherType: tpidVLAN, Tags: 1, L3: 14}},
		{"a second tag cut short does not count", ether(tpidVLAN, []byte{0, 1, 8}, tpidQinQ),
			packet.Parsed{EtherType: tpidVLAN, Tags: 1, L3: 18}},

		// IPv4.
		{"TCP over IPv4", ether(typeIPv4, ip4(6, 0x4000, nil, tcp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 34, End: 54, Proto: 6, DF: true}},
		{"padding is not part of the packet", join(ether(typeIPv4, ip4(17, 0, nil, udp)), make([]byte, 18)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 34, End: 42, Proto: 17}},
		{"IPv4 options", ether(typeIPv4, ip4(17, 0, eol, udp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 42, End: 50, Proto: 17, Options: true}},
		{"first fragment over IPv4", ether(typeIPv4, ip4(17, 0x2000, nil, udp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 34, End: 42, Proto: 17, Fragment: true}},
		{"last fragment over IPv4", ether(typeIPv4, ip4(17, 0x0001, nil, udp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, End: 42, Proto: 17, Fragment: true}},
		{"highest fragment offset", ether(typeIPv4, ip4(17, 0x1fff, nil, udp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, End: 42, Proto: 17, Fragment: true}},
		{"DF on a fragment", ether(typeIPv4, ip4(17, 0x6000, nil, udp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 34, End: 42, Proto: 17, Fragment: true, DF: true}},
		{"the reserved bit is no fragment", ether(typeIPv4, ip4(17, 0x8000, nil, udp)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 34, End: 42, Proto: 17}},
		{"no room for a TCP header", ether(typeIPv4, ip4(6, 0, nil, tcp[:19])),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, End: 53, Proto: 6}},
		{"no room for a UDP header", ether(typeIPv4, ip4(17, 0, nil, udp[:7])),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, End: 41, Proto: 17}},
		{"no room for an ICMP header", ether(typeIPv4, ip4(1, 0, nil, udp[:3])),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, End: 37, Proto: 1}},
		{"room in the padding is no room", join(ether(typeIPv4, ip4(17, 0, nil, udp[:7])), make([]byte, 19)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, End: 41, Proto: 17}},
		{"unknown protocol, empty", ether(typeIPv4, ip4(253, 0, nil, nil)),
			packet.Parsed{EtherType: typeIPv4, Kind: packet.IPv4, L3: 14, L4: 34, End: 34, Proto: 253}},
		{"IPv4 of version 6", edited(ether(typeIPv4, ip4(17, 0, nil, udp)), 14, 0x65), packet.Parsed{EtherType: typeIPv4, L3: 14}},
		{"IPv4 header of 16 bytes", edited(ether(typeIPv4, ip4(17, 0, nil, udp)), 14, 0x44), packet.Parsed{EtherType: typeIPv4, L3: 14}},
		{"IPv4 header longer than its packet", edited(ether(typeIPv4, ip4(17, 0, nil, udp)), 14, 0x4f),
			packet.Parsed{EtherType: typeIPv4, L3: 14}},
		{"IPv4 total length under its header", edited(ether(typeIPv4, ip4(17, 0, nil, udp)), 16, 0, 19),
			packet.Parsed{EtherType: typeIPv4, L3: 14}},
		{"IPv4 total length beyond the frame", edited(ether(typeIPv4, ip4(17, 0, nil, udp)), 16, 0, 29),
			packet.Parsed{EtherType: typeIPv4, L3: 14}},

		// IPv6.
		{"TCP over IPv6", ether(typeIPv6, ip6(6, tcp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 54, End: 74, Proto: 6}},
		{"no next header", ether(typeIPv6, ip6(59)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 54, End: 54, Proto: 59}},
		{"hop-by-hop", ether(typeIPv6, ip6(0, extension(17, 0, 8), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 62, End: 70, Proto: 17, Options: true}},
		{"routing of 24 bytes", ether(typeIPv6, ip6(43, extension(17, 2, 24), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 78, End: 86, Proto: 17, Options: true}},
		{"authentication counts in fours", ether(typeIPv6, ip6(51, extension(17, 4, 24), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 78, End: 86, Proto: 17, Options: true}},
		{"first fragment over IPv6", ether(typeIPv6, ip6(44, fragment6(17, 0, true), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 62, End: 70, Proto: 17, Options: true, Fragment: true}},
		{"atomic fragment (RFC 6946)", ether(typeIPv6, ip6(44, fragment6(17, 0, false), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 62, End: 70, Proto: 17, Options: true, Fragment: true}},
		{"last fragment over IPv6", ether(typeIPv6, ip6(44, fragment6(17, 1, false), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 70, Proto: 17, Options: true, Fragment: true}},
		{"last fragment of options", ether(typeIPv6, ip6(44, fragment6(60, 1, false), udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 70, Proto: 60, Options: true, Fragment: true}},
		{"ESP is not looked into", ether(typeIPv6, ip6(50, udp)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 54, End: 62, Proto: 50}},
		{"seven extension headers", ether(typeIPv6, ip6(60, destinationOptions(7))),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 110, End: 118, Proto: 17, Options: true}},
		{"an eighth is not looked behind", ether(typeIPv6, ip6(60, destinationOptions(8))),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 126, Proto: 17, Options: true}},
		{"extension cut short before its length", ether(typeIPv6, ip6(0, []byte{17})),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 55, Proto: 0}},
		{"extension longer than the packet", ether(typeIPv6, ip6(0, extension(17, 1, 8))),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 62, Proto: 0, Options: true}},
		{"authentication cut short", ether(typeIPv6, ip6(51, []byte{17})),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 55, Proto: 51}},
		{"fragment header cut short", ether(typeIPv6, ip6(44, fragment6(17, 0, true)[:7])),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 61, Proto: 44}},
		{"no room for UDP behind options", ether(typeIPv6, ip6(60, extension(17, 0, 8), udp[:7])),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, End: 69, Proto: 17, Options: true}},
		{"IPv6 of version 4", edited(ether(typeIPv6, ip6(17, udp)), 14, 0x45), packet.Parsed{EtherType: typeIPv6, L3: 14}},
		{"IPv6 payload beyond the frame", edited(ether(typeIPv6, ip6(17, udp)), 18, 0, 9), packet.Parsed{EtherType: typeIPv6, L3: 14}},
		{"IPv6 with padding", join(ether(typeIPv6, ip6(17, udp)), make([]byte, 3)),
			packet.Parsed{EtherType: typeIPv6, Kind: packet.IPv6, L3: 14, L4: 54, End: 62, Proto: 17}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := c.want
			want.Dst, want.Src = macB, macA
			switch want.Kind {
			case packet.IPv4:
				want.TOS, want.TTL = 0xb9, 63
			case packet.IPv6:
				want.TOS, want.TTL = 0xb9, 62
			}
			got := packet.Parsed{L4: 99, Tags: 9, Fragment: true, DF: true} // of the frame before
			if !got.Parse(c.frame) {
				t.Fatal("Parse refuses the frame")
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// TestParseCutShort cuts frames of every kind at every length. What is missing
// is never made up: an IP packet of which a byte is missing is of kind Other.
func TestParseCutShort(t *testing.T) {
	for name, whole := range seeds(t) {
		t.Run(name, func(t *testing.T) {
			var p packet.Parsed
			for n := range len(whole) {
				frame := exact(whole[:n])
				if ok := p.Parse(frame); ok != (n >= 14) {
					t.Fatalf("%d bytes: Parse returns %v", n, ok)
				} else if !ok {
					continue
				}
				if p.Kind == packet.IPv4 || p.Kind == packet.IPv6 {
					t.Fatalf("%d of %d bytes are of kind %d", n, len(whole), p.Kind)
				}
				header := map[uint16]int{0x0800: 20, 0x86dd: 40}[p.EtherType]
				if cut := n < p.L3+header; p.HeaderCut(frame) != cut {
					t.Fatalf("%d of %d bytes: header cut %t, want %t", n, len(whole), !cut, cut)
				}
				readAll(t, frame, &p)
			}
		})
	}
}

// TestParseAgainstGopacket builds frames with gopacket and compares what the
// two of us read.
func TestParseAgainstGopacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		eth := etherLayer(0)
		ls := []gopacket.SerializableLayer{eth}
		next := &eth.EthernetType
		tags := rapid.IntRange(0, 2).Draw(t, "tags")
		for range tags {
			*next = rapid.SampledFrom([]layers.EthernetType{tpidVLAN, tpidQinQ}).Draw(t, "tpid")
			q := &layers.Dot1Q{VLANIdentifier: rapid.Uint16Range(0, 4095).Draw(t, "vid")}
			ls, next = append(ls, q), &q.Type
		}
		proto := rapid.SampledFrom([]layers.IPProtocol{1, 6, 17, 58, 132, 253}).Draw(t, "proto")
		tos, ttl := rapid.Byte().Draw(t, "tos"), rapid.Byte().Draw(t, "ttl")
		want := packet.Parsed{Dst: macB, Src: macA, Tags: uint8(tags), L3: 14 + 4*tags, Proto: uint8(proto), TOS: tos, TTL: ttl}
		var src, dst []byte
		if rapid.Bool().Draw(t, "v6") {
			*next, want.Kind = typeIPv6, packet.IPv6
			src, dst = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "src"), rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "dst")
			ls = append(ls, &layers.IPv6{Version: 6, TrafficClass: tos, HopLimit: ttl, NextHeader: proto, SrcIP: src, DstIP: dst,
				FlowLabel: rapid.Uint32Range(0, 1<<20-1).Draw(t, "label")})
			want.L4 = want.L3 + 40
		} else {
			*next, want.Kind = typeIPv4, packet.IPv4
			src, dst = rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "src"), rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "dst")
			ip := &layers.IPv4{Version: 4, TOS: tos, TTL: ttl, Protocol: proto, SrcIP: src, DstIP: dst,
				Id: rapid.Uint16().Draw(t, "id"), Flags: layers.IPv4Flag(rapid.SampledFrom([]int{0, 2}).Draw(t, "flags"))}
			words := rapid.IntRange(0, 10).Draw(t, "options")
			for range 4 * words {
				ip.Options = append(ip.Options, layers.IPv4Option{OptionType: 1})
			}
			ls = append(ls, ip)
			want.L4, want.Options, want.DF = want.L3+20+4*words, words > 0, ip.Flags != 0
		}
		want.EtherType = uint16(*next)
		size := 4
		switch proto {
		case 6:
			l := tcpLayer()
			l.SrcPort, l.DstPort = layers.TCPPort(rapid.Uint16().Draw(t, "sport")), layers.TCPPort(rapid.Uint16().Draw(t, "dport"))
			ls, size = append(ls, l), 20
		case 17:
			l := udpLayer()
			l.SrcPort, l.DstPort = layers.UDPPort(rapid.Uint16().Draw(t, "sport")), layers.UDPPort(rapid.Uint16().Draw(t, "dport"))
			ls, size = append(ls, l), 8
		case 58:
			if want.Kind == packet.IPv6 {
				ls = append(ls, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)})
			} else {
				ls = append(ls, gopacket.Payload(make([]byte, 4)))
			}
		default:
			ls = append(ls, gopacket.Payload(make([]byte, 4)))
		}
		data := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "payload")
		frame := build(t, append(ls, gopacket.Payload(data))...)
		want.End = want.L4 + size + len(data) // gopacket pads to 60 bytes
		frame = join(frame, make([]byte, rapid.IntRange(0, 30).Draw(t, "padding")))

		var p packet.Parsed
		p.Parse(frame)
		if d := cmp.Diff(want, p); d != "" {
			t.Fatalf("%x: -want +got:\n%s", frame, d)
		}
		state := packet.CsumNone
		if proto == 6 || proto == 17 || proto == 58 && p.Kind == packet.IPv6 {
			state = packet.CsumGood
			if p.CsumIsPartial(frame) { // once in 65536
				state = packet.CsumPartial
			}
		}
		if got := p.L4Checksum(frame); got != state {
			t.Fatalf("%x: checksum is %d, gopacket says %d", frame, got, state)
		}
		if state == packet.CsumGood && len(data) > 0 {
			at := p.End - 1 - rapid.IntRange(0, len(data)-1).Draw(t, "at")
			bad := edited(frame, at, frame[at]^rapid.ByteRange(1, 255).Draw(t, "flip"))
			if got := p.L4Checksum(bad); got != packet.CsumBad {
				t.Fatalf("%x with byte %d changed: checksum is %d", frame, at, got)
			}
		}
		// Neither payload, nor padding, nor what else differs within a flow plays
		// a part in its hash.
		h := p.FlowHash(frame)
		other := exact(frame[:p.End])
		for i := p.L4 + size; i < p.End; i++ {
			other[i]++
		}
		if q := parse(t, other); q.FlowHash(other) != h {
			t.Fatalf("%x: the payload is part of the hash", frame)
		}
	})
}

// readAll runs all that reads a frame, and checks what Parse promises of
// offsets.
func readAll(tb rapid.TB, frame []byte, p *packet.Parsed) {
	before := exact(frame)
	n := len(frame)
	ip := p.Kind == packet.IPv4 || p.Kind == packet.IPv6
	switch {
	case p.L3 != 14+4*int(p.Tags) && (p.Tags != 1 || p.L3 != 14), p.L3 > n, p.Tags > 2:
		tb.Fatalf("%x: L3 is %d behind %d tags", frame, p.L3, p.Tags)
	case !ip && (p.End != 0 || p.L4 != 0 || p.Proto != 0 || p.Fragment || p.DF || p.Options):
		tb.Fatalf("%x: not IP, but %+v", frame, p)
	case ip && (p.End < p.L3+20 || p.End > n):
		tb.Fatalf("%x: the packet ends at %d", frame, p.End)
	case p.L4 != 0 && (p.L4 < p.L3+20 || p.L4 > p.End):
		tb.Fatalf("%x: L4 is %d of %d", frame, p.L4, p.End)
	}
	var again packet.Parsed
	if again.Parse(frame); again != *p {
		tb.Fatalf("%x: parsed again it is %+v, was %+v", frame, again, *p)
	}
	if p.FlowHash(frame) != again.FlowHash(frame) {
		tb.Fatalf("%x: the hash differs", frame)
	}
	if st := p.L4Checksum(frame); (st == packet.CsumPartial) != (p.CsumIsPartial(frame)) && st != packet.CsumNone {
		tb.Fatalf("%x: the checksum's state is %d, CsumIsPartial says %v", frame, st, p.CsumIsPartial(frame))
	}
	packet.OuterTOS(p, 0)
	packet.ARPRequest(frame, p)
	packet.NeighbourSolicit(frame, p)
	if !bytes.Equal(frame, before) {
		tb.Fatalf("%x was changed to %x by reading", before, frame)
	}
	if p.CompleteChecksum(frame) {
		if st := p.L4Checksum(frame); st != packet.CsumGood && !p.CsumIsPartial(frame) {
			tb.Fatalf("%x: completed, the checksum is %d", frame, st)
		}
	}
}

// TestBareEthernet is what the port of a device without Ethernet headers and
// the engine make of an IP packet together.
func TestBareEthernet(t *testing.T) {
	for first, want := range map[byte]uint16{0x45: typeIPv4, 0x4f: typeIPv4, 0x60: typeIPv6, 0x00: 0, 0xff: 0, 0x50: 0} {
		header := bytes.Repeat([]byte{0xa5}, 15)
		packet.PutBareEthernet(header, first)
		if want := append(make([]byte, 12), byte(want>>8), byte(want), 0xa5); !bytes.Equal(header, want) {
			t.Errorf("%#x: %x", first, header)
		}
	}
	for _, c := range []struct {
		typ  uint16
		body []byte
		dst  netip.Addr
	}{{typeIPv4, ip4(17, 0, nil, udpHeader(0)), addrB4}, {typeIPv6, ip6(17, udpHeader(0)), addrB6}} {
		frame := append(make([]byte, 14), c.body...)
		packet.PutBareEthernet(frame, c.body[0])
		p := parse(t, frame)
		if got := p.DstIP(frame); got != c.dst || !p.CarriesIP() {
			t.Errorf("to %v, want %v", got, c.dst)
		}
		p.SetEthernet(frame, macB, macA)
		if again := parse(t, frame); *again != *p || again.Dst != macB || again.Src != macA || !bytes.Equal(frame, exact(ether(c.typ, c.body))) {
			t.Errorf("addressed: %+v, %x", again, frame)
		}
	}
	if arp := arpRequest(t, addrA4, addrB4); parse(t, arp).CarriesIP() {
		t.Error("ARP is no IP")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p packet.Parsed
		frame := exact(b)
		if ok := p.Parse(frame); ok != (len(b) >= 14) {
			t.Fatalf("%d bytes: Parse returns %v", len(b), ok)
		} else if ok {
			readAll(t, frame, &p)
			p.MergeECN(frame, 3)
		}
	})
}

func TestReadingAllocatesNothing(t *testing.T) {
	frame := seeds(t)["UDP over IPv6"]
	var p packet.Parsed
	if n := testing.AllocsPerRun(100, func() {
		p.Parse(frame)
		p.FlowHash(frame)
		p.L4Checksum(frame)
		p.DstIP(frame)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"TCP over IPv4", "TCP over IPv6", "IPv6 extensions"} {
		frame := seeds(b)[name]
		b.Run(name, func(b *testing.B) {
			var p packet.Parsed
			for b.Loop() {
				p.Parse(frame)
			}
		})
	}
}
