package packet_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"pgregory.net/rapid"

	"vtepd/encap/packet"
)

// TestSum holds Sum and CopySum against the loop that RFC 1071 describes, at
// every length around their unrolled steps.
func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 400 {
		random, ones := make([]byte, n), make([]byte, n)
		for i := range random {
			random[i], ones[i] = byte(r.Uint32()), 0xff
		}
		for _, b := range [][]byte{random, ones, make([]byte, n)} {
			if got, want := packet.Fold(packet.Sum(b, 0)), naiveSum(b); got != want {
				t.Errorf("Sum of %x is %#x, want %#x", b, got, want)
			}
			room := append(make([]byte, n), "behind"...)
			if got, want := packet.CopySum(room, b, 7), packet.Sum(b, 7); got != want {
				t.Errorf("CopySum of %x is %#x, want %#x", b, got, want)
			}
			if string(room) != string(b)+"behind" {
				t.Errorf("CopySum of %x copied %x", b, room)
			}
		}
	}
}

func TestSumProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		initial := rapid.Uint64Range(0, 1<<40).Draw(t, "initial")
		// The initial sum is as good as bytes in front.
		front := binary.BigEndian.AppendUint64(nil, initial)
		whole := packet.Fold(packet.Sum(append(front, b...), 0))
		if got := packet.Fold(packet.Sum(b, initial)); got != whole {
			t.Fatalf("with initial %#x: %#x, want %#x", initial, got, whole)
		}
		// Cut at an even place, the parts are as good as the whole.
		at := rapid.IntRange(0, len(b)/2).Draw(t, "at") * 2
		if got := packet.Fold(packet.Sum(b[at:], packet.Sum(b[:at], initial))); got != whole {
			t.Fatalf("cut at %d: %#x, want %#x", at, got, whole)
		}
	})
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		sum  uint64
		want uint16
	}{
		{0, 0}, {1, 1}, {0xffff, 0xffff}, {0x10000, 1}, {0x1ffff, 1}, {0xffff_ffff, 0xffff},
		{0xffff_ffff_ffff_ffff, 0xffff}, {0x0001_0000_0000_0000, 1}, {0x8000_0000_0000_0000, 0x8000}, {0xffff_0000_ffff_0001, 1},
	} {
		if got := packet.Fold(c.sum); got != c.want {
			t.Errorf("Fold(%#x) is %#x, want %#x", c.sum, got, c.want)
		}
	}
}

// TestL4Checksum says what is known of the checksum of every kind of packet.
func TestL4Checksum(t *testing.T) {
	tcp4 := build(t, etherLayer(typeIPv4), ip4Layer(6), tcpLayer(), payload(33))
	udp4 := build(t, etherLayer(typeIPv4), ip4Layer(17), udpLayer(), payload(33))
	tcp6 := build(t, etherLayer(typeIPv6), ip6Layer(6), tcpLayer(), payload(33))
	udp6 := build(t, etherLayer(typeIPv6), ip6Layer(17), udpLayer(), payload(33))
	nd := solicit().frame(t)
	partial := func(frame []byte) []byte {
		p := parse(t, frame)
		src, dst := frame[p.L3+12:p.L3+16], frame[p.L3+16:p.L3+20]
		if p.Kind == packet.IPv6 {
			src, dst = frame[p.L3+8:p.L3+24], frame[p.L3+24:p.L3+40]
		}
		at := map[uint8]int{6: 16, 17: 6, 58: 2}[p.Proto]
		return edited(frame, p.L4+at, binary.BigEndian.AppendUint16(nil, naiveSum(naivePseudo(src, dst, p.Proto, p.End-p.L4)))...)
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  packet.CsumState
	}{
		{"TCP over IPv4", tcp4, packet.CsumGood},
		{"UDP over IPv4", udp4, packet.CsumGood},
		{"TCP over IPv6", tcp6, packet.CsumGood},
		{"UDP over IPv6", udp6, packet.CsumGood},
		{"neighbour solicitation", nd, packet.CsumGood},
		{"behind two tags", ether(typeIPv4, tcp4[14:], tpidQinQ, tpidVLAN), packet.CsumGood},
		{"padding takes no part", join(udp4, []byte{1, 2, 3}), packet.CsumGood},

		{"TCP over IPv4, unfinished", partial(tcp4), packet.CsumPartial},
		{"UDP over IPv4, unfinished", partial(udp4), packet.CsumPartial},
		{"TCP over IPv6, unfinished", partial(tcp6), packet.CsumPartial},
		{"UDP over IPv6, unfinished", partial(udp6), packet.CsumPartial},
		{"a kernel finishes ICMPv6 itself", partial(nd), packet.CsumBad},

		{"TCP over IPv4, payload changed", edited(tcp4, len(tcp4)-1, 0), packet.CsumBad},
		{"UDP over IPv4, port changed", edited(udp4, 34, 1), packet.CsumBad},
		{"TCP over IPv6, address changed", edited(tcp6, 22, 0x21), packet.CsumBad},
		{"UDP over IPv6, checksum changed", edited(udp6, 60, 1, 2), packet.CsumBad},
		{"ND, target changed", edited(nd, 70, 1, 2), packet.CsumBad},
		{"TCP with checksum 0 has a checksum", edited(tcp4, 50, 0, 0), packet.CsumBad},
		{"UDP over IPv6 must have one (RFC 8200 §8.1)", edited(udp6, 60, 0, 0), packet.CsumBad},

		{"UDP over IPv4 needs none", edited(udp4, 40, 0, 0), packet.CsumNone},
		{"fragment", ether(typeIPv4, ip4(17, 0x2000, nil, join(udpHeader(0)[:6], []byte{1, 2}))), packet.CsumNone},
		{"ICMP over IPv4 has its own", ether(typeIPv4, ip4(1, 0, nil, make([]byte, 8))), packet.CsumNone},
		{"ICMPv6 over IPv4 is nonsense", ether(typeIPv4, ip4(58, 0, nil, make([]byte, 8))), packet.CsumNone},
		{"SCTP has a CRC", ether(typeIPv4, ip4(132, 0, nil, make([]byte, 12))), packet.CsumNone},
		{"header cut short", ether(typeIPv4, ip4(6, 0, nil, make([]byte, 19))), packet.CsumNone},
		{"not IP", ether(0x88cc, make([]byte, 46)), packet.CsumNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parse(t, c.frame)
			if got := p.L4Checksum(c.frame); got != c.want {
				t.Errorf("the state is %d, want %d", got, c.want)
			}
			if got, want := p.CsumIsPartial(c.frame), c.want == packet.CsumPartial; got != want {
				t.Errorf("CsumIsPartial is %v", got)
			}
		})
	}
}

// TestCompleteChecksum takes a checksum away, and expects the one back that
// gopacket had computed.
func TestCompleteChecksum(t *testing.T) {
	for name, frame := range map[string][]byte{
		"TCP over IPv4":    build(t, etherLayer(typeIPv4), ip4Layer(6), tcpLayer(), payload(33)),
		"UDP over IPv4":    build(t, etherLayer(typeIPv4), ip4Layer(17), udpLayer(), payload(34)),
		"TCP over IPv6":    build(t, etherLayer(typeIPv6), ip6Layer(6), tcpLayer(), payload(1400)),
		"UDP over IPv6":    build(t, etherLayer(typeIPv6), ip6Layer(17), udpLayer(), payload(0)),
		"ND":               solicit().frame(t),
		"UDP with padding": join(build(t, etherLayer(typeIPv4), ip4Layer(17), udpLayer(), payload(1)), []byte{1, 2, 3}),
	} {
		t.Run(name, func(t *testing.T) {
			p := parse(t, frame)
			at := p.L4 + map[uint8]int{6: 16, 17: 6, 58: 2}[p.Proto]
			got := edited(frame, at, 0xde, 0xad)
			if !p.CompleteChecksum(got) {
				t.Fatal("there is no checksum to complete")
			}
			if string(got) != string(frame) {
				t.Errorf("%x, want %x", got, frame)
			}
		})
	}
	t.Run("UDP that sums to 0 says 0xffff", func(t *testing.T) {
		frame := build(t, etherLayer(typeIPv4), ip4Layer(17), udpLayer(), payload(2))
		p := parse(t, frame)
		// A payload that takes the checksum to 0.
		sum := uint32(binary.BigEndian.Uint16(frame[40:])) + uint32(binary.BigEndian.Uint16(frame[42:]))
		binary.BigEndian.PutUint16(frame[42:], uint16(sum+sum>>16))
		p.CompleteChecksum(frame)
		if got := binary.BigEndian.Uint16(frame[40:]); got != 0xffff {
			t.Errorf("the checksum is %#x", got)
		}
		if st := p.L4Checksum(frame); st != packet.CsumGood {
			t.Errorf("the state is %d", st)
		}
	})
	t.Run("nothing to complete", func(t *testing.T) {
		for name, frame := range map[string][]byte{
			"ICMP":     build(t, etherLayer(typeIPv4), ip4Layer(1), gopacket.Payload(make([]byte, 8))),
			"fragment": ether(typeIPv4, ip4(17, 0x2000, nil, udpHeader(0))),
			"ARP":      arpRequest(t, addrA4, addrB4),
		} {
			if before := exact(frame); parse(t, frame).CompleteChecksum(frame) || string(before) != string(frame) {
				t.Errorf("%s was completed", name)
			}
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 64, 1450, 65535} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := []byte(payload(n))
			b.SetBytes(int64(n))
			for b.Loop() {
				packet.Sum(data, 0)
			}
		})
	}
}

func BenchmarkCopySum(b *testing.B) {
	for _, n := range []int{64, 1398, 8898} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			src, dst := []byte(payload(n)), make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				packet.CopySum(dst, src, 0)
			}
		})
	}
}
