package golden

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestGopacket writes the inner frames and the datagrams that gopacket makes of
// them anew: the files hold just that. With -update they are written.
func TestGopacket(t *testing.T) {
	frames := innerFrames(t)
	if *update {
		write(t, "inner", frames)
	}
	if diff := cmp.Diff(frames, read(t, filepath.Join(dir, "inner.pcap"))); diff != "" {
		t.Errorf("inner.pcap (-gopacket +file):\n%s", diff)
	}
	for _, r := range recordings(t) {
		if r.Link != "" {
			continue
		}
		var got [][]byte
		for i, f := range frames {
			got = append(got, wrap(t, &r, uint16(49152+i), f))
		}
		if *update {
			write(t, r.File, got)
		}
		if diff := cmp.Diff(got, read(t, filepath.Join(dir, r.File+".pcap"))); diff != "" {
			t.Errorf("%s.pcap (-gopacket +file):\n%s", r.File, diff)
		}
	}
}

// wrap has gopacket encapsulate a frame. Whatever it says in the ECN field is
// not copied: gopacket knows nothing of tunnels.
func wrap(t *testing.T, r *recording, port uint16, inner []byte) []byte {
	t.Helper()
	ttl, err := strconv.Atoi(r.TTL)
	must(t, err)
	var ip gopacket.SerializableLayer
	typ := layers.EthernetTypeIPv4
	if r.v6() {
		typ = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: uint8(ttl), NextHeader: layers.IPProtocolUDP,
			SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
	} else {
		h := &layers.IPv4{Version: 4, TTL: uint8(ttl), Protocol: layers.IPProtocolUDP,
			SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{192, 0, 2, 2}}
		if r.DF == "set" {
			h.Flags = layers.IPv4DontFragment
		}
		ip = h
	}
	return serialize(t, ether(macA, macB, typ), ip, &layers.UDP{SrcPort: layers.UDPPort(port), DstPort: layers.UDPPort(r.Port)},
		&layers.VXLAN{ValidIDFlag: true, VNI: r.VNI}, gopacket.Payload(inner))
}

// The hosts of the overlay.
const (
	innerA = "02:00:00:00:00:0a"
	innerB = "02:00:00:00:00:0b"
)

// innerFrames are frames of many kinds, with every ECN field in both families.
func innerFrames(t *testing.T) [][]byte {
	t.Helper()
	v4, v6 := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	arp := &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: v4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
		SourceHwAddress: mac(innerA), SourceProtAddress: net.IP{10, 99, 0, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: net.IP{10, 99, 0, 2}}
	frames := [][]byte{
		serialize(t, ether(innerA, "ff:ff:ff:ff:ff:ff", layers.EthernetTypeARP), arp)[:42],
		serialize(t, ether(innerA, "ff:ff:ff:ff:ff:ff", layers.EthernetTypeARP), arp), // padded to 60 bytes
		serialize(t, ether(innerA, innerB, v4), ip4(1, 0, 64, true), &layers.ICMPv4{TypeCode: 0x0800, Id: 7, Seq: 1}, text(56)),
		serialize(t, ether(innerA, innerB, v6), ip6(58, 0, 255), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)},
			&layers.ICMPv6Echo{Identifier: 7, SeqNumber: 1}, text(56)),
		serialize(t, ether(innerA, "33:33:ff:00:00:02", v6), ip6(58, 0, 255), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)},
			&layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP("fd42::2"),
				Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: mac(innerA)}}}),
		serialize(t, ether(innerA, innerB, v4), ip4(6, 0, 64, true), &layers.TCP{SrcPort: 40000, DstPort: 80, SYN: true, Window: 64240}),
		serialize(t, ether(innerA, innerB, v6), ip6(6, 0, 64), &layers.TCP{SrcPort: 40000, DstPort: 80, SYN: true, Window: 64240}),
		serialize(t, ether(innerA, innerB, layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 7, Type: v4}, ip4(17, 0, 64, false), udp(), text(64)),
		serialize(t, ether(innerA, innerB, 0x88b5), text(50)), // IEEE's EtherType for experiments
		serialize(t, ether(innerA, innerB, v4), ip4(17, 0, 64, false), udp(), text(1399)),
	}
	for ecn := range uint8(4) {
		frames = append(frames,
			serialize(t, ether(innerA, innerB, v4), ip4(17, 0x28|ecn, 17+ecn, ecn%2 == 0), udp(), text(31)),
			serialize(t, ether(innerA, innerB, v6), ip6(17, 0x28|ecn, 17+ecn), udp(), text(32)))
	}
	return frames
}

func serialize(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	var network gopacket.NetworkLayer
	for _, l := range ls {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		} else if c, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			must(t, c.SetNetworkLayerForChecksum(network))
		}
	}
	b := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...))
	return b.Bytes()
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func ether(src, dst string, typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac(src), DstMAC: mac(dst), EthernetType: typ}
}

func ip4(proto layers.IPProtocol, tos, ttl uint8, df bool) *layers.IPv4 {
	h := &layers.IPv4{Version: 4, TOS: tos, TTL: ttl, Id: 1, Protocol: proto, SrcIP: net.IP{10, 99, 0, 1}, DstIP: net.IP{10, 99, 0, 2}}
	if df {
		h.Flags = layers.IPv4DontFragment
	}
	return h
}

func ip6(next layers.IPProtocol, class, hops uint8) *layers.IPv6 {
	return &layers.IPv6{Version: 6, TrafficClass: class, HopLimit: hops, NextHeader: next,
		SrcIP: net.ParseIP("fd42::1"), DstIP: net.ParseIP("fd42::2")}
}

func udp() *layers.UDP { return &layers.UDP{SrcPort: 40000, DstPort: 9} }

func text(n int) gopacket.Payload {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + i%26)
	}
	return b
}
