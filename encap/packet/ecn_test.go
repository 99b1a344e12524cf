package packet_test

import (
	"fmt"
	"testing"

	"github.com/google/gopacket/layers"

	"vtepd/encap/packet"
)

// The ECN codepoints (RFC 3168 §5).
const (
	notECT = 0
	ect1   = 1
	ect0   = 2
	ce     = 3
)

// TestOuterTOS has all combinations of inner ECN and the ECN bits of the
// configured TOS, which mean nothing. The rule is INET_ECN_encapsulate's.
func TestOuterTOS(t *testing.T) {
	const dscp = 0x2e << 2
	for _, c := range []struct{ base, inner, want uint8 }{
		{notECT, notECT, notECT}, {notECT, ect1, ect1}, {notECT, ect0, ect0}, {notECT, ce, ect0},
		{ect1, notECT, notECT}, {ect1, ect1, ect1}, {ect1, ect0, ect0}, {ect1, ce, ect0},
		{ect0, notECT, notECT}, {ect0, ect1, ect1}, {ect0, ect0, ect0}, {ect0, ce, ect0},
		{ce, notECT, notECT}, {ce, ect1, ect1}, {ce, ect0, ect0}, {ce, ce, ect0},
	} {
		for _, kind := range []packet.Kind{packet.IPv4, packet.IPv6} {
			p := packet.Parsed{Kind: kind, TOS: 0x0a<<2 | c.inner} // the inner DSCP stays inside
			if got := packet.OuterTOS(&p, dscp|c.base); got != dscp|c.want {
				t.Errorf("kind %d, inner ECN %02b, base %02b: %#x, want %#x", kind, c.inner, c.base, got, dscp|c.want)
			}
		}
		for _, kind := range []packet.Kind{packet.Other, packet.ARP} {
			if got := packet.OuterTOS(&packet.Parsed{Kind: kind}, dscp|c.base); got != dscp {
				t.Errorf("kind %d, base %02b: %#x, want %#x", kind, c.base, got, dscp)
			}
		}
	}
}

// TestMergeECN is figure 4 of RFC 6040.
func TestMergeECN(t *testing.T) {
	const dropped = 0xff
	for _, c := range []struct{ inner, outer, want uint8 }{
		{notECT, notECT, notECT}, {notECT, ect0, notECT}, {notECT, ect1, notECT}, {notECT, ce, dropped},
		{ect0, notECT, ect0}, {ect0, ect0, ect0}, {ect0, ect1, ect1}, {ect0, ce, ce},
		{ect1, notECT, ect1}, {ect1, ect0, ect1}, {ect1, ect1, ect1}, {ect1, ce, ce},
		{ce, notECT, ce}, {ce, ect0, ce}, {ce, ect1, ce}, {ce, ce, ce},
	} {
		for _, dscp := range []uint8{0, 0xa8, 0xfc} {
			t.Run(fmt.Sprintf("inner %02b outer %02b dscp %#x", c.inner, c.outer, dscp), func(t *testing.T) {
				v4, v6 := ip4Layer(17), ip6Layer(17)
				v4.TOS, v6.TrafficClass, v6.FlowLabel = dscp|c.inner, dscp|c.inner, 0xfedcb
				want4, want6 := *v4, *v6
				if c.want != dropped {
					want4.TOS, want6.TrafficClass = dscp|c.want, dscp|c.want
				}
				for _, f := range []struct{ frame, want []byte }{
					{build(t, etherLayer(typeIPv4), v4, udpLayer(), payload(9)),
						build(t, etherLayer(typeIPv4), &want4, udpLayer(), payload(9))},
					{build(t, etherLayer(typeIPv6), v6, udpLayer(), payload(9)),
						build(t, etherLayer(typeIPv6), &want6, udpLayer(), payload(9))},
				} {
					p := parse(t, f.frame)
					if ok := p.MergeECN(f.frame, 0xb8|c.outer); ok != (c.want != dropped) {
						t.Errorf("MergeECN returns %v", ok)
					}
					// The IPv4 header checksum is gopacket's, so it is right.
					if string(f.frame) != string(f.want) {
						t.Errorf("%x, want %x", f.frame, f.want)
					}
					if again := parse(t, f.frame); *p != *again {
						t.Errorf("Parsed is %+v, want %+v", p, again)
					}
				}
			})
		}
	}
	t.Run("what is not IP has no ECN", func(t *testing.T) {
		frame := arpRequest(t, addrA4, addrB4)
		before := exact(frame)
		if !parse(t, frame).MergeECN(frame, ce) || string(before) != string(frame) {
			t.Error("ARP is dropped or changed")
		}
	})
	t.Run("a wrong header checksum stays wrong", func(t *testing.T) {
		ip := ip4Layer(17)
		ip.TOS = ect0
		frame := edited(build(t, etherLayer(typeIPv4), ip, udpLayer()), 24, 0xba, 0xad)
		parse(t, frame).MergeECN(frame, ce)
		if naiveSum(frame[14:34]) == 0xffff {
			t.Error("it became right")
		}
	})
}

// TestMergeECNHeaderChecksum goes through all header checksums, those that
// RFC 1624 was written for included.
func TestMergeECNHeaderChecksum(t *testing.T) {
	ip := ip4Layer(layers.IPProtocolUDP)
	ip.TOS = ect0
	frame := build(t, etherLayer(typeIPv4), ip, udpLayer())
	for id := range 1 << 16 {
		frame[15], frame[18], frame[19], frame[24], frame[25] = ect0, byte(id>>8), byte(id), 0, 0
		sum := ^naiveSum(frame[14:34])
		frame[24], frame[25] = byte(sum>>8), byte(sum)
		var p packet.Parsed
		p.Parse(frame)
		p.MergeECN(frame, ce)
		if naiveSum(frame[14:34]) != 0xffff {
			t.Fatalf("checksum %#x became wrong: %x", sum, frame[14:34])
		}
	}
}
