package differential

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The underlay: our end of the wire, and VTEP n at 192.0.2.n or 2001:db8::n.
const (
	ourVNI    = 42
	vxlanPort = 4789
	ownMAC    = "02:00:00:00:00:01" // of the vxlan device or TAP
	wireMAC   = "02:00:00:00:ff:01" // of u0
)

// vtep returns the outer address of VTEP n.
func vtep(n int, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
}

// group returns the multicast group of VTEPs.
func group(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("ff05::100")
	}
	return netip.MustParseAddr("239.1.1.1")
}

// vtepName is the inverse of vtep.
func vtepName(a netip.Addr) string {
	for n := 1; n < 255; n++ {
		if a == vtep(n, a.Is6()) {
			return strconv.Itoa(n)
		}
	}
	switch {
	case a.IsMulticast():
		return "group"
	case a.IsLoopback():
		return "lo"
	}
	return a.String()
}

// vtepMAC is the MAC of VTEP n on the wire, or that of an IP multicast group.
func vtepMAC(a netip.Addr) net.HardwareAddr {
	b := a.AsSlice()
	switch {
	case a.IsMulticast() && a.Is4():
		return net.HardwareAddr{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	case a.IsMulticast():
		return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
	}
	return net.HardwareAddr{2, 0, 0, 0, 0xff, b[len(b)-1]}
}

// An outer is what is said about the outer headers of a frame to be sent.
//
//	o.tos=3 o.ttl=1            IP header fields
//	o.src=127.0.0.1 o.to=group addresses
//	o.port=4790 o.sport=7      UDP ports
//	o.csum=none, bad           UDP checksum
//	o.flags=88 o.vni=43        VXLAN header fields, flags and reserved bits in hexadecimal
//	o.res=000001 o.res8=01     its reserved bits
//	o.cut=7                    bytes of UDP payload that are left
type outer struct {
	src, dst    netip.Addr
	tos, ttl    uint8
	sport, port uint16
	csum        string
	header      [8]byte
	cut         int
}

func newOuter(from int, v6 bool) *outer {
	return &outer{src: vtep(from, v6), dst: vtep(1, v6), ttl: 64, sport: 50000, port: vxlanPort, cut: -1,
		header: [8]byte{0: 8, 6: ourVNI}}
}

func (o *outer) word(w string) (err error) {
	key, value, _ := strings.Cut(strings.TrimPrefix(w, "o."), "=")
	number := func(base int) (n uint64) {
		n, err = strconv.ParseUint(value, base, 32)
		return n
	}
	switch key {
	case "tos":
		o.tos = uint8(number(16))
	case "ttl":
		o.ttl = uint8(number(10))
	case "src":
		o.src, err = netip.ParseAddr(value)
	case "to":
		o.dst = group(o.src.Is6())
	case "port":
		o.port = uint16(number(10))
	case "sport":
		o.sport = uint16(number(10))
	case "csum":
		o.csum = value
	case "flags":
		o.header[0] = byte(number(16))
	case "res":
		v := number(16)
		o.header[1], o.header[2], o.header[3] = byte(v>>16), byte(v>>8), byte(v)
	case "vni":
		v := number(10)
		o.header[4], o.header[5], o.header[6] = byte(v>>16), byte(v>>8), byte(v)
	case "res8":
		o.header[7] = byte(number(16))
	case "cut":
		o.cut = int(number(10))
	default:
		err = errors.New("no such word")
	}
	return err
}

// build wraps an inner frame.
func (o *outer) build(inner []byte) ([]byte, error) {
	payload := append(o.header[:len(o.header):len(o.header)], inner...)
	if o.cut >= 0 {
		payload = payload[:o.cut]
	}
	mac, err := net.ParseMAC(wireMAC)
	if err != nil {
		return nil, err
	}
	if o.dst.IsMulticast() {
		mac = vtepMAC(o.dst)
	}
	eth := &layers.Ethernet{SrcMAC: vtepMAC(o.src), DstMAC: mac, EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(o.sport), DstPort: layers.UDPPort(o.port)}
	var ip gopacket.SerializableLayer
	if o.src.Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, TrafficClass: o.tos, HopLimit: o.ttl, NextHeader: 17, SrcIP: o.src.AsSlice(), DstIP: o.dst.AsSlice()}
		ip, err = v6, udp.SetNetworkLayerForChecksum(v6)
	} else {
		v4 := &layers.IPv4{Version: 4, TOS: o.tos, TTL: o.ttl, Protocol: 17, SrcIP: o.src.AsSlice(), DstIP: o.dst.AsSlice()}
		ip, err = v4, udp.SetNetworkLayerForChecksum(v4)
	}
	buf := gopacket.NewSerializeBuffer()
	err = errors.Join(err, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip, udp, gopacket.Payload(payload)))
	b := buf.Bytes()
	at := len(b) - len(payload) - 2 // of the UDP checksum
	switch o.csum {
	case "none":
		b[at], b[at+1] = 0, 0
	case "bad":
		b[at] ^= 0x55
	}
	return b, err
}

// A packet is what was seen on the wire. The fields are those that must be
// equal, each by itself, so that what differs can be named.
type packet struct {
	to       string // VTEP
	mac      string // Ethernet addresses are as they should be, or what they are
	tos      string
	ttl      string
	df       bool
	label    uint32
	fragment string
	sport    uint16
	port     uint16
	csum     string
	header   string // VXLAN
	inner    []byte
}

// errNotOurs is a packet that is not of the tunnel: what the host's own stack
// says on the wire.
var errNotOurs = errors.New("not a packet of the tunnel")

// parsePacket reads what came out on the wire.
func parsePacket(b []byte) (*packet, error) {
	p := &packet{csum: "good"}
	decoded := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	eth, ok := decoded.LinkLayer().(*layers.Ethernet)
	if !ok {
		return nil, errNotOurs
	}
	var src, dst netip.Addr
	var l4 []byte
	switch ip := decoded.NetworkLayer().(type) {
	case *layers.IPv4:
		if ip.Protocol != layers.IPProtocolUDP {
			return nil, errNotOurs
		}
		src, dst = netip.AddrFrom4([4]byte(ip.SrcIP)), netip.AddrFrom4([4]byte(ip.DstIP))
		p.tos, p.ttl, p.df, l4 = hex8(ip.TOS), strconv.Itoa(int(ip.TTL)), ip.Flags&layers.IPv4DontFragment != 0, ip.Payload
		if fold(sum16(ip.Contents)) != 0xffff {
			return nil, errors.New("IPv4 header checksum is wrong")
		}
		if ip.FragOffset != 0 || ip.Flags&layers.IPv4MoreFragments != 0 {
			p.fragment = fmt.Sprintf("%d+%d", ip.FragOffset*8, len(ip.Payload))
		}
	case *layers.IPv6:
		if ip.NextHeader != layers.IPProtocolUDP && ip.NextHeader != layers.IPProtocolIPv6Fragment {
			return nil, errNotOurs
		}
		src, dst = netip.AddrFrom16([16]byte(ip.SrcIP)), netip.AddrFrom16([16]byte(ip.DstIP))
		p.tos, p.ttl, p.label, l4 = hex8(ip.TrafficClass), strconv.Itoa(int(ip.HopLimit)), ip.FlowLabel, ip.Payload
		if ip.NextHeader == layers.IPProtocolIPv6Fragment {
			p.fragment = fmt.Sprintf("%d+%d", binary.BigEndian.Uint16(l4[2:])&^7, len(l4)-8)
		}
	default:
		return nil, errNotOurs
	}
	p.to = vtepName(dst)
	if eth.SrcMAC.String() != wireMAC || eth.DstMAC.String() != vtepMAC(dst).String() {
		p.mac = fmt.Sprintf("%v > %v", eth.SrcMAC, eth.DstMAC)
	}
	if src != vtep(1, src.Is6()) {
		return nil, fmt.Errorf("the outer source is %v", src)
	}
	if p.fragment != "" {
		return p, nil
	}
	return p, p.parseUDP(src, dst, l4)
}

func hex8(v uint8) string { return hex.EncodeToString([]byte{v}) }

// parseUDP reads the UDP and VXLAN headers.
func (p *packet) parseUDP(src, dst netip.Addr, l4 []byte) error {
	if len(l4) < 16 || int(binary.BigEndian.Uint16(l4[4:])) != len(l4) {
		return fmt.Errorf("%d bytes of UDP, and its header says otherwise: % x", len(l4), l4[:min(8, len(l4))])
	}
	p.sport, p.port = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	pseudo := sum16(src.AsSlice()) + sum16(dst.AsSlice()) + 17 + uint32(len(l4))
	switch {
	case l4[6] == 0 && l4[7] == 0:
		p.csum = "none"
	case fold(pseudo+sum16(l4)) != 0xffff:
		p.csum = "bad"
	}
	p.header, p.inner = hex.EncodeToString(l4[8:16]), l4[16:]
	return nil
}

// forge sends an ICMP message from VTEP 8 that the last packet, which went to
// the given VTEP, was larger than 600 bytes.
func (n *lane) forge(to string) error {
	about, err := netip.ParseAddr(dst(to, false))
	if err != nil {
		return err
	}
	mac, err := net.ParseMAC(wireMAC)
	if err != nil {
		return err
	}
	ip := func(src, dst netip.Addr, proto layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	quoted := ip(vtep(1, false), about, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: layers.UDPPort(n.sport), DstPort: vxlanPort}
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	quote, buf := gopacket.NewSerializeBuffer(), gopacket.NewSerializeBuffer()
	err = errors.Join(udp.SetNetworkLayerForChecksum(quoted),
		gopacket.SerializeLayers(quote, opts, quoted, udp, gopacket.Payload(newOuter(1, false).header[:])))
	if err != nil {
		return err
	}
	// The next-hop MTU stands where an echo has its sequence number (RFC 1191 §4).
	if err := gopacket.SerializeLayers(buf, opts,
		&layers.Ethernet{SrcMAC: vtepMAC(vtep(8, false)), DstMAC: mac, EthernetType: layers.EthernetTypeIPv4},
		ip(vtep(8, false), vtep(1, false), layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 600}, gopacket.Payload(quote.Bytes())); err != nil {
		return err
	}
	return n.wire.Send(buf.Bytes())
}
