package config

import (
	"net/netip"
	"slices"

	"vtepd/encap/packet"
)

// bridgedKeys are the keys that say nothing about a routed segment, each with
// the reason. Those that underlay may give to all segments are refused only in
// the segment itself.
func bridgedKeys() map[string]string {
	const (
		noFlood = "a routed segment has no flood list and no FDB; write prefixes"
		noL2    = "a routed device carries IP packets without Ethernet headers; leave it out"
		noAsk   = "nobody asks for neighbours on a routed segment; leave it out"
		noLearn = "a routed segment learns nothing from frames; leave it out"
	)
	return map[string]string{
		"remotes": noFlood, "group": noFlood, "static": noFlood, "bridge": noL2, "vlan": noL2,
		"neighbours": noAsk, "suppress": noAsk,
		"learning": noLearn, "ageing": noLearn, "max_macs": noLearn, "remote_share": noLearn,
	}
}

// readMode reads the mode and refuses the keys of the other one. It looks at
// what the segment itself says, so it comes before the keys of underlay.
func (d *draft) readMode() {
	f := d.fields
	if i, ok := f["mode"].word("bridge", "route"); ok {
		d.Mode = Mode(i)
	}
	if d.Mode == Bridged {
		if f["prefixes"].written() {
			f["prefixes"].bad("belongs to a routed segment; write mode: route, too")
		}
		return
	}
	bridged := bridgedKeys()
	for _, key := range segmentKeys() {
		if why := bridged[key]; why != "" && f[key].written() {
			f[key].bad("says nothing with mode: route: %s", why)
			delete(f, key)
		}
	}
}

// maxWays is how many VTEPs the data path takes for one prefix (vtep/fib,
// MaxHops).
const maxWays = 64

// readPrefixes reads which prefixes are behind which VTEPs.
func (d *draft) readPrefixes() {
	d.Learning, d.VLANPass = false, false
	list := d.fields["prefixes"]
	if !list.written() {
		d.at.refuse(d.at.line, d.at.join("prefixes"), "is missing; a routed segment needs it (prefixes: [] to fill it at run time)")
		return
	}
	type place struct {
		prefix netip.Prefix
		via    Destination
	}
	known := seen[place]{}
	ways := map[netip.Prefix]int{}
	routers := map[Destination][]packet.MAC{}
	var lacking []field // of d.Prefixes, those without a MAC
	var index []int
	for _, f := range list.list() {
		p, ok := f.routedPrefix(Destination{Port: d.Port, VNI: d.VNI})
		if !ok {
			continue
		}
		if line, ok := known.first(place{p.Prefix, p.Via}, f.line); !ok {
			f.bad("%s via %s is already given %s; keep one", p.Prefix, p.Via.IP, at(line))
			continue
		}
		if ways[p.Prefix]++; ways[p.Prefix] == maxWays+1 {
			f.bad("%s is behind more than %d VTEPs, which is the most; leave some out", p.Prefix, maxWays)
		}
		if p.MAC.IsZero() {
			lacking, index = append(lacking, f), append(index, len(d.Prefixes))
		} else if !slices.Contains(routers[p.Via], p.MAC) {
			routers[p.Via] = append(routers[p.Via], p.MAC)
		}
		d.Prefixes = append(d.Prefixes, p)
		d.dests = append(d.dests, placed{f, p.Via.IP})
	}
	for i, f := range lacking {
		p := &d.Prefixes[index[i]]
		switch macs := routers[p.Via]; len(macs) {
		case 0:
			f.bad("mac is missing; write that of the device at %s, which takes no frames to another", p.Via.IP)
		case 1:
			p.MAC = macs[0]
		default:
			f.bad("mac is missing, and other prefixes via %s have several; write it", p.Via.IP)
		}
	}
}

// routedPrefix reads {prefix, via, mac}.
func (f field) routedPrefix(def Destination) (Prefix, bool) {
	m := f.mapping([]string{"prefix", "via", "mac"})
	if m == nil {
		return Prefix{}, false
	}
	for _, key := range []string{"prefix", "via"} {
		if !m[key].written() {
			f.bad("%s is missing; write {prefix: 10.244.2.0/24, via: 192.0.2.2, mac: 02:00:00:00:00:02}", key)
		}
	}
	p, ok := m["prefix"].prefix(true)
	switch {
	case !ok:
	case p != p.Masked():
		m["prefix"].bad("%s has host bits; write %s", p, p.Masked())
		ok = false
	case p.Addr().IsMulticast():
		m["prefix"].bad("%s is for groups, which are not routed", p)
		ok = false
	}
	via, good := m["via"].destination(def)
	before := len(f.problems)
	mac, _ := m["mac"].optionalMAC()
	return Prefix{Prefix: p, Via: via, MAC: mac}, ok && good && len(f.problems) == before
}
