package config

import (
	"fmt"
	"net/netip"
	"time"

	"go.yaml.in/yaml/v3"

	"vtepd/encap"
	"vtepd/encap/packet"
)

const (
	maxVNI         = 1<<24 - 1
	maxMACs        = 16_000_000
	maxAgeing      = 100 * 24 * time.Hour
	maxUsefulMTU   = 65535 - 20 - 8 - 8 - 14 // what an outer IPv4 packet can carry
	minIPv6MTU     = 1280
	defaultPort    = 4789
	defaultMaxMACs = 10000
)

// underlayKeys are the keys that underlay may give to all segments.
func underlayKeys() []string {
	return []string{
		"local", "interface", "port", "srcport", "ttl", "tos", "df", "udp_csum", "udp6_zero_csum_tx",
		"udp6_zero_csum_rx", "accept", "learning", "ageing", "mtu", "vlan",
	}
}

// segmentKeys are all keys of a segment.
func segmentKeys() []string {
	return append([]string{
		"vni", "mode", "device", "address", "remotes", "group", "static", "prefixes", "max_macs", "remote_share", "mac",
		"bridge", "neighbours", "suppress", "persist",
	}, underlayKeys()...)
}

func defaultSegment() Segment {
	return Segment{
		Port:        defaultPort,
		SrcPort:     encap.PortRange{Min: 49152, Max: 65535},
		Learning:    true,
		Ageing:      300 * time.Second,
		MaxMACs:     defaultMaxMACs,
		RemoteShare: 50,
		TOS:         Inherited{Inherit: true},
		UDPCsum:     true,
	}
}

// RoutedSegment is a routed segment as a file makes it that says no more than
// this.
func RoutedSegment(vni uint32, device string) Segment {
	s := defaultSegment()
	s.VNI, s.Device, s.Mode = vni, device, Routed
	s.Learning = false
	return s
}

// A draft is a segment while it is read.
type draft struct {
	Segment

	at     field            // the segment as a whole
	fields map[string]field // its keys, with those of underlay that it does not override
	vniOK  bool             // the VNI may be compared with others
	nameOK bool             // so may the device

	// dests are the fields of what frames are sent to, for the checks that
	// need all of the segment.
	dests []placed
}

// placed is an outer address with its field.
type placed struct {
	at field
	ip netip.Addr
}

// readSegment reads a segment over what underlay says.
func readSegment(at field, underlay map[string]field) *draft {
	d := &draft{Segment: defaultSegment(), at: at}
	d.Line = at.line
	d.fields = at.mapping(segmentKeys())
	if d.fields == nil {
		return nil
	}
	d.readMode()
	for key, f := range underlay {
		if !d.fields[key].written() {
			d.fields[key] = f
		}
	}
	d.readNames()
	d.readOuter()
	if d.Mode == Routed {
		d.readPrefixes()
	} else {
		d.readDestinations()
		d.readTable()
	}
	d.check()
	return d
}

func (d *draft) readNames() {
	f := d.fields
	if !f["vni"].written() {
		d.at.refuse(d.at.line, d.at.join("vni"), "is missing; every segment needs a number from 0 to %d", maxVNI)
	}
	d.vniOK = number(f["vni"], &d.VNI, 0, maxVNI)
	if f["device"].written() {
		d.nameOK = f["device"].device(&d.Device)
	} else if d.vniOK {
		d.Device, d.nameOK = fmt.Sprintf("vx%d", d.VNI), true
	}
	f["bridge"].device(&d.Bridge)
	d.readAddresses()
	if mac, ok := f["mac"].optionalMAC(); ok {
		d.MAC = mac
	}
	f["persist"].boolean(&d.Persist)
	f["suppress"].boolean(&d.Suppress)
	numberOr(f["mtu"], &d.MTU, "auto", 68, 65535)
	d.warnMTU()
}

func (f field) optionalMAC() (packet.MAC, bool) {
	if !f.written() {
		return packet.MAC{}, false
	}
	return f.unicastMAC()
}

func (d *draft) readAddresses() {
	known := seen[netip.Prefix]{}
	for _, f := range d.fields["address"].list() {
		p, ok := f.prefix(false)
		if !ok || !f.unicast(p.Addr(), "write a unicast one") {
			continue
		}
		if line, ok := known.first(p, f.line); !ok {
			f.bad("%s is already given %s", p, at(line))
			continue
		}
		if p.Addr() == p.Masked().Addr() && p.Addr().BitLen()-p.Bits() > 1 {
			f.remark("%s is the address of the network itself; a host usually has another", p)
		}
		d.Address = append(d.Address, p)
	}
}

func (d *draft) warnMTU() {
	f := d.fields["mtu"]
	if d.MTU > maxUsefulMTU {
		f.remark("%d is above %d, the most that an outer packet can carry", d.MTU, maxUsefulMTU)
	}
	for _, p := range d.Address {
		if p.Addr().Is6() && d.MTU != 0 && d.MTU < minIPv6MTU {
			f.remark("%d is below %d, so %s cannot be used on the device", d.MTU, minIPv6MTU, p)
			return
		}
	}
}

// readOuter reads what concerns the outer packets.
func (d *draft) readOuter() {
	f := d.fields
	f["interface"].device(&d.Interface)
	number(f["port"], &d.Port, 1, 65535)
	f["srcport"].portRange(&d.SrcPort)
	d.readLocal()
	d.readTTL(f["ttl"])
	d.readTOS(f["tos"])
	if i, ok := f["df"].word("unset", "set", "inherit"); ok {
		d.DF = DF(i)
	}
	if i, ok := f["vlan"].word("drop", "pass"); ok {
		d.VLANPass = i == 1
	}
	f["udp_csum"].boolean(&d.UDPCsum)
	f["udp6_zero_csum_tx"].boolean(&d.UDP6ZeroCsumTx)
	f["udp6_zero_csum_rx"].boolean(&d.UDP6ZeroCsumRx)
	d.readAccept(f["accept"])
}

func (d *draft) readLocal() {
	first := seen[int]{}
	for _, f := range d.fields["local"].list() {
		ip, ok := f.unicastAddr()
		if !ok {
			continue
		}
		if line, ok := first.first(ip.BitLen(), f.line); !ok {
			f.bad("%s is a second address of one family, the other stands %s; keep one a family", ip, at(line))
			continue
		}
		d.Local = append(d.Local, ip)
	}
}

func (d *draft) readTTL(f field) {
	switch {
	case f.is("auto"):
		d.TTL = Inherited{}
	case f.is("inherit"):
		d.TTL = Inherited{Inherit: true}
	default:
		var v uint8
		if number(f, &v, 1, 255, "auto", "inherit") {
			d.TTL = Inherited{Value: v}
		}
	}
}

func (d *draft) readTOS(f field) {
	const ecn = 3
	if f.is("inherit") {
		d.TOS = Inherited{Inherit: true}
		return
	}
	var v uint8
	switch {
	case !number(f, &v, 0, 255, "inherit"):
	case v&ecn != 0:
		f.bad("%#x sets the two ECN bits, which follow RFC 6040; write %#x", v, v&^ecn)
	default:
		d.TOS = Inherited{Value: v}
	}
}

func (d *draft) readAccept(f field) {
	items := f.list()
	switch {
	case !f.written():
	case len(items) == 0 && f.node.Kind != yaml.SequenceNode: // refused already
	case len(items) == 0:
		f.bad("an empty list would accept nothing; write known, any or CIDRs")
	case len(items) == 1 && items[0].is("known"):
		d.Accept = Accept{Mode: AcceptKnown}
	case len(items) == 1 && items[0].is("any"):
		d.Accept = Accept{Mode: AcceptAny}
		f.remark("frames are accepted from everyone who reaches the port; known or CIDRs are safer")
	default:
		d.Accept = Accept{Mode: AcceptList, Prefixes: sources(items)}
	}
}

// sources reads a list of CIDRs; an address stands for itself.
func sources(items []field) []netip.Prefix {
	var list []netip.Prefix
	for _, f := range items {
		if f.is("known") || f.is("any") {
			f.bad("%s cannot stand beside other values", f.node.Value)
			continue
		}
		p, ok := f.prefix(true)
		if !ok {
			continue
		}
		if p != p.Masked() {
			f.remark("%s has host bits; all of %s is accepted", p, p.Masked())
		}
		list = append(list, p.Masked())
	}
	return list
}
