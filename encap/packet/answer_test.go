package packet_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"vtepd/encap/packet"
)

// A builder of answers.
type builder func(dst, frame []byte, p *packet.Parsed) int

// builders are all there are.
var builders = map[string]builder{
	"ARP":          func(dst, frame []byte, p *packet.Parsed) int { return packet.AppendARPReply(dst, frame, p, macC) },
	"ND":           func(dst, frame []byte, p *packet.Parsed) int { return packet.NeighbourAdvert(dst, frame, p, macC) },
	"FragNeeded":   func(dst, frame []byte, p *packet.Parsed) int { return packet.FragNeeded(dst, frame, p, 1400) },
	"PacketTooBig": func(dst, frame []byte, p *packet.Parsed) int { return packet.TooBig(dst, frame, p, 1400) },
	"Unreachable":  packet.Unreachable,
}

const maxAnswer = 14 + 8 + 1280

// answer runs a builder with a buffer of exactly the answer's size, nil for no
// answer, and checks what all builders promise.
func answer(tb rapid.TB, build builder, frame []byte) []byte {
	tb.Helper()
	p := parse(tb, frame)
	was, before := *p, exact(frame)
	dst := bytes.Repeat([]byte{0xa5}, maxAnswer+1)
	n := build(dst, frame, p)
	switch {
	case *p != was || !bytes.Equal(frame, before):
		tb.Fatal("the question was changed")
	case n < 0 || n > maxAnswer:
		tb.Fatalf("the answer to %x has %d bytes", frame, n)
	case bytes.Trim(dst[n:], "\xa5") != nil:
		tb.Fatalf("bytes behind the answer to %x were written", frame)
	case n == 0:
		return nil
	}
	small := bytes.Repeat([]byte{0xa5}, n-1)
	if got := build(exact(small), frame, p); got != 0 {
		tb.Fatalf("%d bytes into a buffer of %d", got, n-1)
	}
	// The same bytes come into a buffer of the exact size, whatever was in it.
	fit := make([]byte, n)
	if got := build(fit, frame, p); got != n || !bytes.Equal(fit, dst[:n]) {
		tb.Fatalf("%d bytes %x, want %x", got, fit, dst[:n])
	}
	a := parse(tb, fit)
	if a.Dst != p.Src && a.Dst != (packet.MAC{0x33, 0x33, 5: 1}) || a.Src.IsMulticast() && !p.Dst.IsMulticast() {
		tb.Fatalf("the answer to %x goes from %v to %v", frame, a.Src, a.Dst)
	}
	if a.Tags != p.Tags || !bytes.Equal(fit[12:a.L3], frame[12:p.L3]) {
		tb.Fatalf("the answer to %x has other tags: %x", frame, fit)
	}
	if a.Kind != p.Kind || a.Kind != packet.ARP && a.End != n {
		tb.Fatalf("the answer to %x is broken: %x", frame, fit)
	}
	if a.Kind == packet.IPv4 && (naiveSum(fit[a.L3:a.L4]) != 0xffff || naiveSum(fit[a.L4:]) != 0xffff) {
		tb.Fatalf("the answer to %x has a bad checksum: %x", frame, fit)
	}
	if a.Kind == packet.IPv6 {
		pseudo := naivePseudo(fit[a.L3+8:a.L3+24], fit[a.L3+24:a.L3+40], packet.ProtoICMPv6, n-a.L4)
		if naiveSum(join(pseudo, fit[a.L4:])) != 0xffff || a.L4Checksum(fit) != packet.CsumGood {
			tb.Fatalf("the answer to %x has a bad checksum: %x", frame, fit)
		}
	}
	return fit
}

func TestARPReply(t *testing.T) {
	for _, c := range []struct {
		name           string
		sender, target netip.Addr
	}{
		{"request", addrA4, addrB4},
		{"probe (RFC 5227 §1.2)", netip.IPv4Unspecified(), addrB4},
		{"announcement", addrA4, addrA4},
	} {
		for _, tags := range [][]uint16{nil, {tpidVLAN}, {tpidQinQ, tpidVLAN}} {
			t.Run(c.name, func(t *testing.T) {
				q := arpRequest(t, c.sender, c.target)
				frame := join(ether(typeARP, q[14:], tags...), make([]byte, 18)) // padded to 60 bytes
				mac, sender, target, ok := packet.ARPRequest(frame, parse(t, frame))
				if !ok || mac != macA || sender != c.sender || target != c.target {
					t.Fatalf("the request is read as %v %v %v %v", mac, sender, target, ok)
				}
				d := decode(t, answer(t, builders["ARP"], frame))
				got := d.Layer(layers.LayerTypeARP).(*layers.ARP)
				got.BaseLayer = layers.BaseLayer{}
				want := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: typeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
					Operation: layers.ARPReply, SourceHwAddress: macC[:], SourceProtAddress: c.target.AsSlice(),
					DstHwAddress: macA[:], DstProtAddress: c.sender.AsSlice()}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

func TestARPNoRequest(t *testing.T) {
	request := arpRequest(t, addrA4, addrB4)
	for name, frame := range map[string][]byte{
		"reply":                     edited(request, 20, 0, 2),
		"RARP":                      edited(request, 20, 0, 3),
		"hardware that is no MAC":   edited(request, 14, 0, 6),
		"protocol that is not IPv4": edited(request, 16, 0x86, 0xdd),
		"hardware address of 8":     edited(request, 18, 8),
		"protocol address of 16":    edited(request, 19, 16),
		"cut short":                 exact(request[:41]),
		"empty":                     exact(request[:14]),
		"another EtherType":         edited(request, 12, 0x88, 0xcc),
		"of kind IPv4":              ether(typeIPv4, ip4(17, 0, nil, udpHeader(0))),
	} {
		if a := answer(t, builders["ARP"], frame); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

func TestNeighbourAdvert(t *testing.T) {
	const solicited, override = 0x40, 0x20
	noOptions, twoOptions := solicit(), solicit()
	noOptions.options = nil
	twoOptions.options = append(twoOptions.options, layers.ICMPv6Option{Type: 14, Data: make([]byte, 14)}) // nonce
	unicast := solicit()
	unicast.dst = addrB6.String()
	for _, c := range []struct {
		name   string
		q      solicitation
		to     packet.MAC
		dst    string
		flags  uint8
		probed bool
	}{
		{"solicitation", solicit(), macA, "2001:db8::a", solicited | override, false},
		{"to the target itself (RFC 4861 §7.3)", unicast, macA, "2001:db8::a", solicited | override, false},
		{"without options", noOptions, macA, "2001:db8::a", solicited | override, false},
		{"with more options", twoOptions, macA, "2001:db8::a", solicited | override, false},
		{"probe: to all nodes, not solicited", probe(), packet.MAC{0x33, 0x33, 0, 0, 0, 1}, "ff02::1", override, true},
	} {
		for _, tags := range [][]uint16{nil, {tpidVLAN}, {tpidQinQ, tpidVLAN}} {
			t.Run(c.name, func(t *testing.T) {
				frame := c.q.frame(t, tags...)
				target, dad, ok := packet.NeighbourSolicit(frame, parse(t, frame))
				if !ok || target != addrB6 || dad != c.probed {
					t.Fatalf("the solicitation is read as %v %v %v", target, dad, ok)
				}
				d := decode(t, answer(t, builders["ND"], frame))
				eth := d.LinkLayer().(*layers.Ethernet)
				if !bytes.Equal(eth.DstMAC, c.to[:]) || !bytes.Equal(eth.SrcMAC, macC[:]) {
					t.Errorf("the frame goes from %v to %v", eth.SrcMAC, eth.DstMAC)
				}
				ip := d.NetworkLayer().(*layers.IPv6)
				if ip.SrcIP.String() != addrB6.String() || ip.DstIP.String() != c.dst || ip.HopLimit != 255 {
					t.Errorf("the packet goes from %v to %v with hop limit %d", ip.SrcIP, ip.DstIP, ip.HopLimit)
				}
				na := d.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
				if na.Flags != c.flags || na.TargetAddress.String() != addrB6.String() {
					t.Errorf("the flags are %#x, the target is %v", na.Flags, na.TargetAddress)
				}
				want := layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: macC[:]}}
				if diff := cmp.Diff(want, na.Options); diff != "" {
					t.Errorf("options, -want +got:\n%s", diff)
				}
			})
		}
	}
}

// TestNoSolicitation has what RFC 4861 §7.1.1 says is to be discarded, and what
// we do not look into.
func TestNoSolicitation(t *testing.T) {
	with := func(edit func(*solicitation)) []byte {
		s := solicit()
		edit(&s)
		return s.frame(t)
	}
	// Changes some bytes and makes the checksum right again.
	patched := func(frame []byte, at int, with ...byte) []byte {
		frame = edited(frame, at, with...)
		parse(t, frame).CompleteChecksum(frame)
		return frame
	}
	valid := solicit().frame(t)
	probeTo := func(edit func(*solicitation)) []byte {
		s := probe()
		edit(&s)
		return s.frame(t)
	}
	for name, frame := range map[string][]byte{
		"hop limit 254":                  with(func(s *solicitation) { s.hops = 254 }),
		"code 1":                         with(func(s *solicitation) { s.code = 1 }),
		"target is a group":              with(func(s *solicitation) { s.target = "ff02::1" }),
		"bad checksum":                   edited(valid, 56, 1, 2),
		"advertisement":                  patched(valid, 54, 136),
		"echo":                           patched(valid, 54, 128),
		"option of length 0":             patched(valid, 79, 0),
		"option longer than the message": patched(valid, 79, 2),
		"less than 24 bytes": func() []byte {
			f := exact(valid[:77])
			f[19] = 23
			parse(t, f).CompleteChecksum(f)
			return f
		}(),
		"option of less than 8 bytes": func() []byte {
			f := exact(valid[:82])
			f[19] = 28
			parse(t, f).CompleteChecksum(f)
			return f
		}(),
		"probe with source address option": probeTo(func(s *solicitation) { s.options = solicit().options }),
		"probe to all nodes":               probeTo(func(s *solicitation) { s.dst = "ff02::1" }),
		"probe to the target itself":       probeTo(func(s *solicitation) { s.dst = s.target }),
		"behind options": func() []byte {
			f := ether(typeIPv6, ip6(60, extension(58, 0, 8), valid[54:]))
			f[21] = 255
			parse(t, f).CompleteChecksum(f)
			return f
		}(),
		"fragmented (RFC 6980)": func() []byte {
			f := ether(typeIPv6, ip6(44, fragment6(58, 0, false), valid[54:]))
			f[21] = 255
			return f
		}(),
		"over IPv4": ether(typeIPv4, edited(ip4(58, 0, nil, valid[54:]), 8, 255)),
		"ARP":       arpRequest(t, addrA4, addrB4),
	} {
		if a := answer(t, builders["ND"], frame); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

func TestFragNeeded(t *testing.T) {
	const DF = 0x4000
	tooBig := payload(3000)
	for _, c := range []struct {
		name  string
		frame []byte
		quote int // bytes of the packet quoted
	}{
		{"UDP", ether(typeIPv4, ip4(17, DF, nil, tooBig)), 548},
		{"TCP", ether(typeIPv4, ip4(6, DF, nil, tooBig)), 548},
		{"with options", ether(typeIPv4, ip4(17, DF, make([]byte, 40), tooBig)), 548},
		{"echo request", ether(typeIPv4, ip4(1, DF, nil, join([]byte{8}, tooBig))), 548},
		{"echo reply", ether(typeIPv4, ip4(1, DF, nil, join([]byte{0}, tooBig))), 548},
		{"timestamp", ether(typeIPv4, ip4(1, DF, nil, join([]byte{13}, tooBig))), 548},
		{"first fragment", ether(typeIPv4, ip4(17, DF|0x2000, nil, tooBig)), 548},
		{"a small packet is quoted whole", ether(typeIPv4, ip4(17, DF, nil, udpHeader(0))), 28},
		{"without its padding", join(ether(typeIPv4, ip4(17, DF, nil, udpHeader(0))), make([]byte, 18)), 28},
		{"behind two tags", ether(typeIPv4, ip4(17, DF, nil, tooBig), tpidQinQ, tpidVLAN), 548},
		{"unknown protocol", ether(typeIPv4, ip4(253, DF, nil, tooBig)), 548},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := answer(t, builders["FragNeeded"], c.frame)
			if frame == nil {
				t.Fatal("no answer")
			}
			d := decode(t, frame)
			eth := d.LinkLayer().(*layers.Ethernet)
			if !bytes.Equal(eth.DstMAC, macA[:]) || !bytes.Equal(eth.SrcMAC, macB[:]) {
				t.Errorf("the frame goes from %v to %v", eth.SrcMAC, eth.DstMAC)
			}
			ip := d.NetworkLayer().(*layers.IPv4)
			if ip.SrcIP.String() != addrB4.String() || ip.DstIP.String() != addrA4.String() || ip.TTL != 64 ||
				ip.TOS != 0xc0 || ip.Flags != 0 || ip.IHL != 5 || ip.Length > 576 {
				t.Errorf("the packet is %+v", ip)
			}
			m := d.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
			if m.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || m.Id != 0 || m.Seq != 1400 {
				t.Errorf("it is %v, next-hop MTU %d", m.TypeCode, m.Seq)
			}
			l3 := parse(t, c.frame).L3
			if !bytes.Equal(m.Payload, c.frame[l3:l3+c.quote]) {
				t.Errorf("it quotes %x, want %d bytes of the packet", m.Payload, c.quote)
			}
		})
	}
	t.Run("an MTU above 16 bits", func(t *testing.T) {
		dst, frame := make([]byte, maxAnswer), ether(typeIPv4, ip4(17, DF, nil, tooBig))
		packet.FragNeeded(dst, frame, parse(t, frame), 1<<16)
		if got := binary.BigEndian.Uint16(dst[40:]); got != 0xffff {
			t.Errorf("the MTU is %d", got)
		}
	})
}

// TestNoFragNeeded has what RFC 1122 §3.2.2 forbids to answer.
func TestNoFragNeeded(t *testing.T) {
	const DF = 0x4000
	valid := ether(typeIPv4, ip4(17, DF, nil, payload(3000)))
	icmp := func(typ uint8) []byte { return ether(typeIPv4, ip4(1, DF, nil, join([]byte{typ}, payload(3000)))) }
	for name, frame := range map[string][]byte{
		"without DF":              ether(typeIPv4, ip4(17, 0, nil, payload(3000))),
		"second fragment":         ether(typeIPv4, ip4(17, DF|0x2001, nil, payload(3000))),
		"fragment at 32 KiB":      ether(typeIPv4, ip4(17, DF|0x1000, nil, payload(3000))),
		"to a group MAC":          edited(valid, 0, 0x01, 0, 0x5e),
		"to broadcast":            edited(valid, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"from a group MAC":        edited(valid, 6, 0x03),
		"to a group":              edited(valid, 30, 224, 0, 0, 1),
		"to limited broadcast":    edited(valid, 30, 255, 255, 255, 255),
		"to loopback":             edited(valid, 30, 127, 0, 0, 1),
		"from nobody":             edited(valid, 26, 0, 0, 0, 0),
		"from a group":            edited(valid, 26, 239, 0, 0, 1),
		"from loopback":           edited(valid, 26, 127, 0, 0, 1),
		"from class E":            edited(valid, 26, 240, 0, 0, 1),
		"ICMP unreachable":        icmp(3),
		"ICMP source quench":      icmp(4),
		"ICMP redirect":           icmp(5),
		"ICMP time exceeded":      icmp(11),
		"ICMP parameter problem":  icmp(12),
		"ICMP of an unknown type": icmp(200),
		"ICMP without a type":     ether(typeIPv4, ip4(1, DF, nil, nil)),
		"IPv6":                    ether(typeIPv6, ip6(17, payload(3000))),
		"ARP":                     arpRequest(t, addrA4, addrB4),
	} {
		if a := answer(t, builders["FragNeeded"], frame); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

func TestPacketTooBig(t *testing.T) {
	tooBig := payload(3000)
	for _, c := range []struct {
		name  string
		frame []byte
		quote int
	}{
		{"UDP", ether(typeIPv6, ip6(17, tooBig)), 1232},
		{"TCP", ether(typeIPv6, ip6(6, tooBig)), 1232},
		{"echo request", ether(typeIPv6, ip6(58, []byte{128}, tooBig)), 1232},
		{"MLDv2 report", ether(typeIPv6, ip6(58, []byte{143}, tooBig)), 1232},
		{"first fragment", ether(typeIPv6, ip6(44, fragment6(17, 0, true), tooBig)), 1232},
		{"a later fragment too", ether(typeIPv6, ip6(44, fragment6(17, 100, true), tooBig)), 1232},
		{"a small packet is quoted whole", ether(typeIPv6, ip6(17, udpHeader(0))), 48},
		{"without its padding", join(ether(typeIPv6, ip6(17, udpHeader(0))), make([]byte, 18)), 48},
		{"behind two tags", ether(typeIPv6, ip6(17, tooBig), tpidQinQ, tpidVLAN), 1232},
	} {
		t.Run(c.name, func(t *testing.T) {
			frame := answer(t, builders["PacketTooBig"], c.frame)
			if frame == nil {
				t.Fatal("no answer")
			}
			d := decode(t, frame)
			eth := d.LinkLayer().(*layers.Ethernet)
			if !bytes.Equal(eth.DstMAC, macA[:]) || !bytes.Equal(eth.SrcMAC, macB[:]) {
				t.Errorf("the frame goes from %v to %v", eth.SrcMAC, eth.DstMAC)
			}
			ip := d.NetworkLayer().(*layers.IPv6)
			if ip.SrcIP.String() != addrB6.String() || ip.DstIP.String() != addrA6.String() || ip.HopLimit != 64 || 40+ip.Length > 1280 {
				t.Errorf("the packet is %+v", ip)
			}
			m := d.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			if m.TypeCode != layers.CreateICMPv6TypeCode(2, 0) || len(m.Payload) < 4 {
				t.Fatalf("it is %v with %x", m.TypeCode, m.Payload)
			}
			if mtu := binary.BigEndian.Uint32(m.Payload); mtu != 1400 {
				t.Errorf("the MTU is %d", mtu)
			}
			l3 := parse(t, c.frame).L3
			if !bytes.Equal(m.Payload[4:], c.frame[l3:l3+c.quote]) {
				t.Errorf("it quotes %x, want %d bytes of the packet", m.Payload[4:], c.quote)
			}
		})
	}
}

// TestNoPacketTooBig has what RFC 4443 §2.4 e forbids to answer, and what we
// have no address to answer from.
func TestNoPacketTooBig(t *testing.T) {
	valid := ether(typeIPv6, ip6(17, payload(3000)))
	icmp := func(typ uint8) []byte { return ether(typeIPv6, ip6(58, []byte{typ}, payload(3000))) }
	for name, frame := range map[string][]byte{
		"to a group MAC":               edited(valid, 0, 0x33, 0x33),
		"from a group MAC":             edited(valid, 6, 0x03),
		"to a group":                   edited(valid, 38, 0xff, 0x02),
		"from a group":                 edited(valid, 22, 0xff, 0x02),
		"from nobody":                  edited(valid, 22, make([]byte, 16)...),
		"ICMPv6 unreachable":           icmp(1),
		"ICMPv6 packet too big":        icmp(2),
		"ICMPv6 error of unknown type": icmp(127),
		"ICMPv6 redirect":              icmp(137),
		"ICMPv6 without a type":        ether(typeIPv6, ip6(58)),
		"a later fragment of ICMPv6":   ether(typeIPv6, ip6(44, fragment6(58, 100, true), payload(3000))),
		"IPv4":                         ether(typeIPv4, ip4(17, 0x4000, nil, payload(3000))),
		"ARP":                          arpRequest(t, addrA4, addrB4),
	} {
		if a := answer(t, builders["PacketTooBig"], frame); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

// TestUnreachable: what it answers and what not is as with packets that are
// too big, but for DF.
func TestUnreachable(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		from  string
		quote int // bytes of the packet quoted
	}{
		{"over IPv4", ether(typeIPv4, ip4(17, 0, nil, payload(3000))), addrB4.String(), 548},
		{"with DF", ether(typeIPv4, ip4(6, 0x4000, nil, payload(30))), addrB4.String(), 50},
		{"over IPv6", ether(typeIPv6, ip6(17, payload(3000))), addrB6.String(), 1232},
	} {
		frame := answer(t, builders["Unreachable"], c.frame)
		if frame == nil {
			t.Fatalf("%s: no answer", c.name)
		}
		d := decode(t, frame)
		if from := d.NetworkLayer().NetworkFlow().Src().String(); from != c.from {
			t.Errorf("%s: from %s", c.name, from)
		}
		var quoted []byte
		if m, ok := d.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
			if m.TypeCode != layers.CreateICMPv4TypeCode(3, 0) || m.Id != 0 || m.Seq != 0 {
				t.Errorf("%s: it is %v", c.name, m.TypeCode)
			}
			quoted = m.Payload
		} else {
			m := d.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
			if m.TypeCode != layers.CreateICMPv6TypeCode(1, 0) || binary.BigEndian.Uint32(m.Payload) != 0 {
				t.Errorf("%s: it is %v", c.name, m.TypeCode)
			}
			quoted = m.Payload[4:]
		}
		if !bytes.Equal(quoted, c.frame[14:14+c.quote]) {
			t.Errorf("%s: it quotes %x, want %d bytes of the packet", c.name, quoted, c.quote)
		}
	}
	for name, frame := range map[string][]byte{
		"second fragment":    ether(typeIPv4, ip4(17, 0x2001, nil, payload(30))),
		"to a group":         edited(ether(typeIPv4, ip4(17, 0, nil, payload(30))), 30, 224, 0, 0, 1),
		"to an IPv6 group":   edited(ether(typeIPv6, ip6(17, payload(30))), 38, 0xff, 0x02),
		"ICMP unreachable":   ether(typeIPv4, ip4(1, 0, nil, join([]byte{3}, payload(30)))),
		"ICMPv6 unreachable": ether(typeIPv6, ip6(58, []byte{1}, payload(30))),
		"ARP":                arpRequest(t, addrA4, addrB4),
		"something else":     ether(0x88cc, payload(30)),
	} {
		if a := answer(t, builders["Unreachable"], frame); a != nil {
			t.Errorf("%s is answered: %x", name, a)
		}
	}
}

// TestNoAnswerToAnswers lets two VTEPs answer each other: they must not go on.
func TestNoAnswerToAnswers(t *testing.T) {
	for name, frame := range seeds(t) {
		for by, b := range builders {
			if a := answer(t, b, frame); a != nil {
				if again := answer(t, b, a); again != nil {
					t.Errorf("%s: the answer by %s is answered", name, by)
				}
			}
		}
	}
}

func TestAnswersAllocateNothing(t *testing.T) {
	all := seeds(t)
	dst := make([]byte, maxAnswer)
	for by, name := range map[string]string{"ARP": "ARP", "ND": "ND", "FragNeeded": "UDP over IPv4", "PacketTooBig": "UDP over IPv6", "Unreachable": "UDP over IPv6"} {
		frame := all[name]
		p := parse(t, frame)
		if n := testing.AllocsPerRun(100, func() {
			if builders[by](dst, frame, p) == 0 {
				t.Errorf("%s does not answer %s", by, name)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", by, n)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 14 {
			return
		}
		for _, build := range builders {
			answer(t, build, exact(b))
		}
	})
}
