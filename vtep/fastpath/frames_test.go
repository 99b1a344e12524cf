package fastpath

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap"
	"vtepd/encap/packet"
)

// The stations and VTEPs of the tests.
var (
	ourMAC, theirMAC = packet.MAC{2, 0, 0, 0, 0, 1}, packet.MAC{2, 0, 0, 0, 0, 2}
	ours4, theirs4   = netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")
	ours6, theirs6   = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
	vtepA, vtepB     = netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.2")
)

// A segmentOf is a TCP segment to be built, from us to them unless back.
type segmentOf struct {
	v6, back                       bool
	src, dst                       uint16 // ports, of us and them
	syn                            bool
	tos                            uint8
	payload                        int
	options, padding               int // bytes behind the IP header's fixed part, and behind the packet
	fragment, multicast, udp, vlan bool
}

// frame builds an inner frame by gopacket.
func (s segmentOf) frame(t *testing.T) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: ourMAC[:], DstMAC: theirMAC[:], EthernetType: layers.EthernetTypeIPv4}
	src, dst, sport, dport := ours4, theirs4, s.src, s.dst
	if s.v6 {
		src, dst, eth.EthernetType = ours6, theirs6, layers.EthernetTypeIPv6
	}
	if s.back {
		eth.SrcMAC, eth.DstMAC, src, dst, sport, dport = eth.DstMAC, eth.SrcMAC, dst, src, dport, sport
	}
	if s.multicast {
		eth.DstMAC = []byte{1, 0, 0x5e, 0, 0, 1}
	}
	proto := layers.IPProtocolTCP
	var l4 gopacket.SerializableLayer
	tcp := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), SYN: s.syn, ACK: !s.syn, Seq: 7, Window: 100}
	if l4 = tcp; s.udp {
		proto, l4 = layers.IPProtocolUDP, &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	}
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv6{Version: 6, HopLimit: 64, TrafficClass: s.tos, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if !s.v6 {
		v4 := &layers.IPv4{Version: 4, TTL: 64, TOS: s.tos, Flags: layers.IPv4DontFragment, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		if s.fragment {
			v4.Flags = layers.IPv4MoreFragments
		}
		if s.options > 0 {
			v4.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}
		}
		ip = v4
	}
	must(t, l4.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}).SetNetworkLayerForChecksum(ip))
	payload := make(gopacket.Payload, s.payload)
	for i := range payload {
		payload[i] = byte(i)
	}
	ls := []gopacket.SerializableLayer{eth, ip, l4, payload}
	if s.vlan {
		tag := &layers.Dot1Q{VLANIdentifier: 7, Type: eth.EthernetType}
		eth.EthernetType = layers.EthernetTypeDot1Q
		ls = []gopacket.SerializableLayer{eth, tag, ip, l4, payload}
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return append(append([]byte(nil), b.Bytes()...), make([]byte, s.padding)...)
}

// wrapped puts outer headers as a VTEP would send them around an inner frame.
func wrapped(t *testing.T, o encap.Outer, inner []byte) []byte {
	t.Helper()
	tpl, err := encap.NewTemplate(o)
	must(t, err)
	out := make([]byte, tpl.Len(), tpl.Len()+len(inner))
	tpl.Put(out, len(inner), o.SrcPort, o.TOS, o.TTL)
	return append(out, inner...)
}

// fromThem is the outer header of a datagram that their VTEP sends.
func fromThem() encap.Outer {
	return encap.Outer{Src: vtepB, Dst: vtepA, SrcPort: 50000, DstPort: encap.Port, VNI: 42, TTL: 64}
}
