package packet_test

import (
	"testing"

	"github.com/google/gopacket/layers"

	"vtepd/encap/packet"
)

func hash(tb testing.TB, frame []byte) uint16 {
	tb.Helper()
	return parse(tb, frame).FlowHash(frame)
}

// TestFlowHashIsTheSame pins hashes, so that they stay the same from process
// to process and from version to version: a flow keeps its path.
func TestFlowHashIsTheSame(t *testing.T) {
	all := seeds(t)
	for name, want := range map[string]uint16{
		"ARP": 0xfd6b, "TCP over IPv4": 0xf8bd, "UDP over IPv4": 0x2882, "ICMP over IPv4": 0x9542,
		"TCP over IPv6": 0xa4af, "UDP over IPv6": 0xb352, "SCTP over IPv6": 0x9d33, "LLDP": 0xb62a,
	} {
		if got := hash(t, all[name]); got != want {
			t.Errorf("%s: %#04x, want %#04x", name, got, want)
		}
	}
}

// TestFlowHashParts says what makes two frames one flow.
func TestFlowHashParts(t *testing.T) {
	udp := udpHeader(0)
	otherPort := edited(udp, 0, 0x40)
	otherMAC := func(b []byte) []byte { return edited(b, 5, 0x77) }
	v4 := ether(typeIPv4, ip4(17, 0, nil, udp))
	v6 := ether(typeIPv6, ip6(17, udp))
	for _, c := range []struct {
		name string
		a, b []byte
		same bool
	}{
		{"ports, IPv4", v4, ether(typeIPv4, ip4(17, 0, nil, otherPort)), false},
		{"ports, IPv6", v6, ether(typeIPv6, ip6(17, otherPort)), false},
		{"ports, SCTP", ether(typeIPv4, ip4(132, 0, nil, udp)), ether(typeIPv4, ip4(132, 0, nil, otherPort)), false},
		{"ports behind IPv6 options", ether(typeIPv6, ip6(60, destinationOptions(1))),
			ether(typeIPv6, ip6(60, extension(17, 0, 8), otherPort)), false},
		{"protocol", v4, ether(typeIPv4, ip4(132, 0, nil, udp)), false},
		{"IPv4 source", v4, edited(v4, 29, 99), false},
		{"IPv4 destination", v4, edited(v4, 33, 99), false},
		{"IPv6 source", v6, edited(v6, 37, 99), false},
		{"IPv6 destination", v6, edited(v6, 53, 99), false},
		{"MAC under IP", v4, otherMAC(v4), true},
		{"tags under IP", v4, ether(typeIPv4, v4[14:], tpidVLAN), true},
		{"options", v6, ether(typeIPv6, ip6(60, destinationOptions(1))), true},
		{"TTL and ID", v4, edited(edited(v4, 18, 9, 9), 22, 9), true},
		{"what ICMP carries", ether(typeIPv4, ip4(1, 0, nil, udp)), ether(typeIPv4, ip4(1, 0, nil, otherPort)), true},
		{"fragments of one IPv4 packet", ether(typeIPv4, ip4(17, 0x2000, nil, udp)), ether(typeIPv4, ip4(17, 1, nil, otherPort)), true},
		{"fragments of one IPv6 packet", ether(typeIPv6, ip6(44, fragment6(17, 0, true), udp)),
			ether(typeIPv6, ip6(44, fragment6(17, 1, false), otherPort)), true},
		{"fragments of one IPv6 packet with options inside", ether(typeIPv6, ip6(44, fragment6(60, 0, true), destinationOptions(1))),
			ether(typeIPv6, ip6(44, fragment6(60, 2, false), otherPort)), true},
		{"MAC of what is not IP", ether(0x88cc, nil), otherMAC(ether(0x88cc, nil)), false},
		{"source MAC of what is not IP", ether(0x88cc, nil), edited(ether(0x88cc, nil), 11, 0x77), false},
		{"EtherType", ether(0x88cc, nil), ether(0x88cd, nil), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a, b := hash(t, c.a), hash(t, c.b); (a == b) != c.same {
				t.Errorf("%#x and %#x", a, b)
			}
		})
	}
}

// TestFlowHashSpreads puts flows that differ in one port into 16 bins.
func TestFlowHashSpreads(t *testing.T) {
	const flows, bins = 16384, 16
	var count [bins]int
	udp := udpLayer()
	for i := range flows {
		udp.SrcPort = layers.UDPPort(i)
		count[hash(t, build(t, etherLayer(typeIPv4), ip4Layer(17), udp))>>12]++
	}
	for bin, n := range count {
		// Seven standard deviations of a binomial distribution.
		if n < flows/bins-220 || n > flows/bins+220 {
			t.Errorf("bin %d has %d flows of %d", bin, n, flows)
		}
	}
}

func BenchmarkFlowHash(b *testing.B) {
	frame := seeds(b)["TCP over IPv6"]
	var p packet.Parsed
	p.Parse(frame)
	for b.Loop() {
		p.FlowHash(frame)
	}
}
