package config

import (
	"net/netip"
	"slices"

	"vtepd/encap/packet"
)

// readDestinations reads where frames are sent to.
func (d *draft) readDestinations() {
	f := d.fields
	if !f["remotes"].written() && !f["group"].written() && !f["static"].written() && !f["prefixes"].written() {
		d.at.bad("has no destination; write one of remotes, group and static (remotes: [] to fill it at run time)")
	}
	known := seen[Destination]{}
	for _, f := range f["remotes"].list() {
		dst, ok := f.destination(Destination{Port: d.Port, VNI: d.VNI})
		if !ok {
			continue
		}
		if line, ok := known.first(dst, f.line); !ok {
			f.remark("%s is already given %s; it is taken once", dst.IP, at(line))
			continue
		}
		d.Remotes = append(d.Remotes, dst)
		d.dests = append(d.dests, placed{f, dst.IP})
	}
	d.readGroup(f["group"])
	d.readStatic()
}

func (d *draft) readGroup(f field) {
	if !f.written() {
		return
	}
	ip, ok := f.addr()
	switch {
	case !ok:
	case !ip.IsMulticast():
		f.bad("%s is not a multicast address; name single stations in remotes", ip)
	default:
		d.Group = ip
		d.dests = append(d.dests, placed{f, ip})
	}
}

func (d *draft) readStatic() {
	places := map[packet.MAC]samePlace{}
	known := seen[StaticMAC]{}
	for _, f := range d.fields["static"].list() {
		s, ok := f.staticMAC(Destination{Port: d.Port, VNI: d.VNI})
		if !ok {
			continue
		}
		was := place(places, s, f.line)
		if !s.MAC.IsMulticast() && was.dst != s.Dst {
			f.bad("%s is already behind %s %s; a unicast MAC is in one place", s.MAC, was.dst.IP, at(was.line))
			continue
		}
		if line, ok := known.first(s, f.line); !ok {
			f.remark("%s behind %s is already given %s; it is taken once", s.MAC, s.Dst.IP, at(line))
			continue
		}
		d.Static = append(d.Static, s)
		d.dests = append(d.dests, placed{f, s.Dst.IP})
	}
}

// readTable reads what concerns the learned and given entries.
func (d *draft) readTable() {
	f := d.fields
	f["learning"].boolean(&d.Learning)
	f["ageing"].duration(&d.Ageing, maxAgeing)
	number(f["max_macs"], &d.MaxMACs, 1, maxMACs)
	number(f["remote_share"], &d.RemoteShare, 1, 100)
	known := seen[netip.Addr]{}
	for _, f := range f["neighbours"].list() {
		n, ok := f.neighbour()
		if !ok {
			continue
		}
		if line, ok := known.first(n.IP, f.line); !ok {
			f.bad("%s is already given %s; an address is at one MAC", n.IP, at(line))
			continue
		}
		d.Neighbours = append(d.Neighbours, n)
	}
}

// check is what concerns several keys of one segment.
func (d *draft) check() {
	for _, to := range d.dests {
		switch {
		case len(d.Local) > 0 && !slices.ContainsFunc(d.Local, func(l netip.Addr) bool { return l.Is4() == to.ip.Is4() }):
			to.at.bad("%s cannot be reached from %s: local has no address of that family", to.ip, d.Local[0])
		case slices.Contains(d.Local, to.ip):
			to.at.remark("%s is our own address; nothing is sent to it", to.ip)
		case to.ip.Is6() && to.ip.IsLinkLocalUnicast() && !d.fields["interface"].written():
			to.at.bad("%s is link-local, so interface must say by which device it is reached", to.ip)
		}
	}
}

// checkAll is what concerns several segments.
func checkAll(drafts []*draft) {
	vnis, devices := seen[uint32]{}, seen[string]{}
	for _, d := range drafts {
		if d.vniOK {
			if line, ok := vnis.first(d.VNI, d.Line); !ok {
				d.fields["vni"].bad("%d is already the VNI of the segment %s", d.VNI, at(line))
				d.nameOK = d.nameOK && d.fields["device"].written() // else it says the same again
			}
		}
		if d.nameOK {
			if line, ok := devices.first(d.Device, d.Line); !ok {
				d.deviceField().bad("%s is already the device of the segment %s", d.Device, at(line))
			}
		}
	}
	for _, d := range drafts {
		d.notOurs("bridge", d.Bridge, devices)
		d.notOurs("interface", d.Interface, devices)
	}
	checkZeroChecksum(drafts)
}

// deviceField is where the device is named, by itself or by the VNI.
func (d *draft) deviceField() field {
	if f := d.fields["device"]; f.written() {
		return f
	}
	return d.fields["vni"]
}

// notOurs refuses a device that a segment makes where another one is meant.
func (d *draft) notOurs(key, name string, devices seen[string]) {
	if line, ok := devices[name]; ok {
		d.fields[key].bad("%s is the device of the segment %s; name another", name, atSelf(line, d.Line))
	}
}

func atSelf(line, self int) string {
	if line == self {
		return "itself"
	}
	return at(line)
}

// checkZeroChecksum refuses segments that share a socket and differ in what
// the socket accepts.
func checkZeroChecksum(drafts []*draft) {
	type socket struct {
		ip   netip.Addr // zero when the kernel chooses
		port uint16
	}
	first := map[socket]*draft{}
	for _, d := range drafts {
		locals := d.Local
		if len(locals) == 0 {
			locals = []netip.Addr{{}}
		}
		for _, ip := range locals {
			other, ok := first[socket{ip, d.Port}]
			if !ok {
				first[socket{ip, d.Port}] = d
				continue
			}
			if other.UDP6ZeroCsumRx != d.UDP6ZeroCsumRx {
				d.disagree(other)
				break
			}
		}
	}
}

func (d *draft) disagree(other *draft) {
	f := d.fields["udp6_zero_csum_rx"]
	if !f.written() {
		f = d.at
		f.path = d.at.join("udp6_zero_csum_rx")
	}
	f.bad("is %t here and %t in the segment %s, which shares address and port %d; they must agree",
		d.UDP6ZeroCsumRx, other.UDP6ZeroCsumRx, at(other.Line), d.Port)
}
