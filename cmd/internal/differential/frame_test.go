package differential

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// An inner is an inner frame in words: who to whom, and what is not usual
// about it.
//
//	udp udp6 tcp tcp6 icmp arp raw   what it is; udp when nothing is said
//	tos=28 ttl=9 label=5 df frag     IP header fields; frag is a first fragment
//	sport=1 dport=2                  ports
//	size=100, size=full+1            bytes of the frame without FCS; full is what the path takes
//	vlan=7                           a tag; a second one is put inside
//	badsum partial                   L4 checksum wrong, or only the pseudo-header's sum
//	poke=14:45                       one byte, offset decimal and value in hexadecimal
//	cut=20                           cut off after so many bytes
type inner struct {
	src, dst string
	kind     string
	vlans    []uint16
	tos, ttl uint8
	label    uint32
	df, frag bool
	sport    uint16
	dport    uint16
	size     int
	badsum   bool
	partial  bool
	pokes    map[int]byte
	cut      int
	full     int // what size=full means, bytes
}

// station returns the MAC of a station. Single letters are stations; the rest
// are addresses with a meaning.
func station(name string) (net.HardwareAddr, error) {
	switch name {
	case "own":
		return net.ParseMAC(ownMAC)
	case "all":
		return net.ParseMAC("ff:ff:ff:ff:ff:ff")
	case "group":
		return net.ParseMAC("01:00:5e:01:01:01")
	case "group6":
		return net.ParseMAC("33:33:00:00:00:99")
	case "stp":
		return net.ParseMAC("01:80:c2:00:00:00")
	case "zero":
		return make(net.HardwareAddr, 6), nil
	}
	if len(name) == 1 && name[0] >= 'a' && name[0] <= 'z' {
		return net.HardwareAddr{2, 0, 0, 0, 0, name[0]}, nil
	}
	return nil, fmt.Errorf("no station %q", name)
}

// stationName is the inverse of station.
func stationName(mac string) string {
	for _, n := range []string{"own", "all", "group", "group6", "stp", "zero"} {
		if m, err := station(n); err == nil && m.String() == mac {
			return n
		}
	}
	if m, err := net.ParseMAC(mac); err == nil && strings.HasPrefix(mac, "02:00:00:00:00:") && m[5] >= 'a' && m[5] <= 'z' {
		return string(rune(m[5]))
	}
	return mac
}

// parseInner reads the words of an inner frame, the first being src>dst.
func parseInner(words []string, full int) (*inner, error) {
	src, dst, ok := strings.Cut(words[0], ">")
	if !ok {
		return nil, fmt.Errorf("%q is not SRC>DST", words[0])
	}
	f := &inner{src: src, dst: dst, kind: "udp", ttl: 64, sport: 1000, dport: 2000, pokes: map[int]byte{}, full: full}
	for _, w := range words[1:] {
		if err := f.word(w); err != nil {
			return nil, fmt.Errorf("%q: %w", w, err)
		}
	}
	return f, nil
}

func (f *inner) word(w string) error {
	key, value, _ := strings.Cut(w, "=")
	number := func(base, bits int) uint64 {
		n, err := strconv.ParseUint(value, base, bits)
		if err != nil {
			panic(fmt.Sprintf("%s: %v", w, err)) // a mistake in a table
		}
		return n
	}
	switch key {
	case "udp", "udp6", "tcp", "tcp6", "icmp", "arp", "raw":
		f.kind = key
	case "tos":
		f.tos = uint8(number(16, 8))
	case "ttl":
		f.ttl = uint8(number(10, 8))
	case "label":
		f.label = uint32(number(10, 20))
	case "df":
		f.df = true
	case "frag":
		f.frag = true
	case "sport":
		f.sport = uint16(number(10, 16))
	case "dport":
		f.dport = uint16(number(10, 16))
	case "vlan":
		f.vlans = append(f.vlans, uint16(number(10, 12)))
	case "badsum":
		f.badsum = true
	case "partial":
		f.partial = true
	case "cut":
		f.cut = int(number(10, 16))
	case "size":
		return f.setSize(value)
	case "poke":
		at, b, _ := strings.Cut(value, ":")
		offset, err := strconv.Atoi(at)
		if err != nil {
			return err
		}
		v, err := hex.DecodeString(b)
		if err != nil || len(v) != 1 {
			return fmt.Errorf("not one byte: %w", err)
		}
		f.pokes[offset] = v[0]
	default:
		return fmt.Errorf("no such word")
	}
	return nil
}

// setSize takes a number of bytes, or full with a difference.
func (f *inner) setSize(value string) (err error) {
	rest, relative := strings.CutPrefix(value, "full")
	if relative && rest == "" {
		rest = "0"
	}
	if f.size, err = strconv.Atoi(rest); relative {
		f.size += f.full
	}
	return err
}

// build makes the bytes of the frame. mark is put into the payload, so that
// no two frames of a sequence are equal.
func (f *inner) build(mark byte) ([]byte, error) {
	src, err := station(f.src)
	if err != nil {
		return nil, err
	}
	dst, err := station(f.dst)
	if err != nil {
		return nil, err
	}
	eth := &layers.Ethernet{SrcMAC: src, DstMAC: dst}
	stack := []gopacket.SerializableLayer{eth}
	next := &eth.EthernetType
	for _, v := range f.vlans {
		tag := &layers.Dot1Q{VLANIdentifier: v}
		*next, next = layers.EthernetTypeDot1Q, &tag.Type
		stack = append(stack, tag)
	}
	overhead := map[string]int{"udp": 28, "udp6": 48, "tcp": 40, "tcp6": 60, "icmp": 28, "arp": 28, "raw": 0}[f.kind] + 14 + 4*len(f.vlans)
	payload := make([]byte, max(f.size-overhead, 20))
	if f.size > 0 {
		payload = payload[:max(f.size-overhead, 0)]
	}
	for i := range payload {
		payload[i] = mark + byte(i)
	}
	l3, proto := f.layers(next, src, dst)
	stack = append(append(stack, l3...), gopacket.Payload(payload))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, stack...); err != nil {
		return nil, err
	}
	b := buf.Bytes()
	f.spoilChecksum(b, proto)
	for at, v := range f.pokes {
		b[at] = v
	}
	if f.cut > 0 {
		b = b[:f.cut]
	}
	return b, nil
}

// layers returns the headers behind Ethernet, and sets the EtherType.
func (f *inner) layers(next *layers.EthernetType, src, dst net.HardwareAddr) ([]gopacket.SerializableLayer, layers.IPProtocol) {
	proto := map[string]layers.IPProtocol{"udp": 17, "udp6": 17, "tcp": 6, "tcp6": 6, "icmp": 1}[f.kind]
	var network gopacket.NetworkLayer
	var l3 gopacket.SerializableLayer
	switch f.kind {
	case "raw":
		*next = 0x88b5 // IEEE 802 local experimental
		return nil, 0
	case "arp":
		*next = layers.EthernetTypeARP
		return []gopacket.SerializableLayer{&layers.ARP{AddrType: 1, Protocol: 0x0800, HwAddressSize: 6, ProtAddressSize: 4,
			Operation: 1, SourceHwAddress: src, SourceProtAddress: address(src, false), DstHwAddress: make([]byte, 6),
			DstProtAddress: address(dst, false)}}, 0
	case "udp6", "tcp6":
		*next = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, TrafficClass: f.tos, FlowLabel: f.label, HopLimit: f.ttl, NextHeader: proto,
			SrcIP: address(src, true), DstIP: address(dst, true)}
		network, l3 = ip, ip
	default:
		*next = layers.EthernetTypeIPv4
		ip := &layers.IPv4{Version: 4, TOS: f.tos, TTL: f.ttl, Protocol: proto, SrcIP: address(src, false), DstIP: address(dst, false)}
		if f.df {
			ip.Flags |= layers.IPv4DontFragment
		}
		if f.frag {
			ip.Flags |= layers.IPv4MoreFragments
		}
		network, l3 = ip, ip
	}
	return append([]gopacket.SerializableLayer{l3}, f.transport(network)...), proto
}

func (f *inner) transport(network gopacket.NetworkLayer) []gopacket.SerializableLayer {
	switch f.kind {
	case "icmp":
		return []gopacket.SerializableLayer{&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: f.sport}}
	case "tcp", "tcp6":
		l4 := &layers.TCP{SrcPort: layers.TCPPort(f.sport), DstPort: layers.TCPPort(f.dport), ACK: true, Window: 1000}
		_ = l4.SetNetworkLayerForChecksum(network) // it is IPv4 or IPv6
		return []gopacket.SerializableLayer{l4}
	}
	l4 := &layers.UDP{SrcPort: layers.UDPPort(f.sport), DstPort: layers.UDPPort(f.dport)}
	_ = l4.SetNetworkLayerForChecksum(network) // it is IPv4 or IPv6
	return []gopacket.SerializableLayer{l4}
}

// address is the inner IP address of a station: its MAC's last byte in
// 10.99.0.0/24 or fd42::/64.
func address(mac net.HardwareAddr, v6 bool) net.IP {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x42, 15: mac[5]}).AsSlice()
	}
	return net.IP{10, 99, 0, mac[5]}
}

// spoilChecksum makes the L4 checksum what the words ask for.
func (f *inner) spoilChecksum(b []byte, proto layers.IPProtocol) {
	if !f.badsum && !f.partial {
		return
	}
	l3 := 14 + 4*len(f.vlans)
	l4, addrs := l3+20, b[l3+12:l3+20]
	if strings.HasSuffix(f.kind, "6") {
		l4, addrs = l3+40, b[l3+8:l3+40]
	}
	at := l4 + map[layers.IPProtocol]int{17: 6, 6: 16, 1: 2}[proto]
	if f.badsum {
		b[at] ^= 0x55
		return
	}
	sum := fold(sum16(addrs) + uint32(proto) + uint32(len(b)-l4))
	b[at], b[at+1] = byte(sum>>8), byte(sum)
}

// sum16 adds up the 16-bit words of b.
func sum16(b []byte) (sum uint32) {
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i&1))
	}
	return sum
}

// fold makes 16 bits of a sum of such words, with the carries (RFC 1071).
func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}
