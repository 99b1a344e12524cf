package config

import (
	"net/netip"
	"strings"

	"vtepd/encap/packet"
)

// addr reads an IP address.
func (f field) addr() (netip.Addr, bool) {
	s, ok := f.text()
	if !ok {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(s)
	if err != nil {
		f.bad("%s is not an IP address", quote(s))
		return ip, false
	}
	return ip, f.plain(ip)
}

// plain refuses the forms of an address that never equal a packet's.
func (f field) plain(ip netip.Addr) bool {
	switch {
	case ip.Zone() != "":
		f.bad("%s has a zone; write %s and name the device by interface", quote(ip.String()), ip.WithZone(""))
	case ip.Is4In6():
		f.bad("%s is IPv4 written as IPv6; write %s", ip, ip.Unmap())
	default:
		return true
	}
	return false
}

// unicast refuses what is no single station; hint says what to do with a
// multicast address.
func (f field) unicast(ip netip.Addr, hint string) bool {
	switch {
	case ip.IsUnspecified():
		f.bad("%s is no one's address; write that of a station", ip)
	case ip.IsMulticast():
		f.bad("%s is a multicast address; %s", ip, hint)
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		f.bad("%s is the broadcast address; write a unicast one", ip)
	default:
		return true
	}
	return false
}

// unicastAddr reads the address of one station.
func (f field) unicastAddr() (netip.Addr, bool) {
	ip, ok := f.addr()
	return ip, ok && f.unicast(ip, "write a unicast one")
}

// destination reads IP, IPv4:PORT, [IPv6]:PORT or {ip, port, vni}; def fills
// in what is left out.
func (f field) destination(def Destination) (Destination, bool) {
	const hint = "use group for it"
	d := def
	if !f.written() {
		return d, false
	}
	if len(f.node.Content) == 0 {
		ip, port, ok := f.endpoint()
		if port != 0 {
			d.Port = port
		}
		d.IP = ip
		return d, ok && f.plain(ip) && f.unicast(ip, hint)
	}
	m := f.mapping([]string{"ip", "port", "vni"})
	if m == nil {
		return d, false
	}
	before := len(f.problems)
	if !m["ip"].written() {
		f.bad("ip is missing; write {ip: 192.0.2.2}")
		return d, false
	}
	if ip, ok := m["ip"].addr(); ok {
		d.IP = ip
		m["ip"].unicast(ip, hint)
	}
	number(m["port"], &d.Port, 1, 65535)
	number(m["vni"], &d.VNI, 0, maxVNI)
	return d, len(f.problems) == before
}

// endpoint reads an address with or without a port (then 0).
func (f field) endpoint() (netip.Addr, uint16, bool) {
	s, ok := f.text()
	if !ok {
		return netip.Addr{}, 0, false
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip, 0, true
	}
	ap, err := netip.ParseAddrPort(s)
	switch {
	case err == nil && ap.Port() == 0:
		f.bad("%s has port 0; ports are from 1 to 65535", quote(s))
	case err == nil:
		return ap.Addr(), ap.Port(), true
	case strings.Contains(s, ":"):
		f.bad("%s is not an IP address, IPv4:PORT or [IPv6]:PORT (ports are from 1 to 65535)", quote(s))
	default:
		f.bad("%s is not an IP address", quote(s))
	}
	return netip.Addr{}, 0, false
}

// staticMAC reads {mac, dst}.
func (f field) staticMAC(def Destination) (StaticMAC, bool) {
	m := f.pair("mac", "dst")
	if m == nil {
		return StaticMAC{}, false
	}
	mac, ok := m["mac"].mac()
	if ok && mac.IsZero() {
		m["mac"].bad("the zero MAC is the flood list; name its members in remotes")
		ok = false
	}
	dst, good := m["dst"].destination(def)
	return StaticMAC{MAC: mac, Dst: dst}, ok && good
}

// neighbour reads {ip, mac}.
func (f field) neighbour() (Neighbour, bool) {
	m := f.pair("ip", "mac")
	if m == nil {
		return Neighbour{}, false
	}
	ip, ok := m["ip"].unicastAddr()
	mac, good := m["mac"].unicastMAC()
	return Neighbour{IP: ip, MAC: mac}, ok && good
}

// pair reads a mapping with two keys that must both be there.
func (f field) pair(a, b string) map[string]field {
	m := f.mapping([]string{a, b})
	if m == nil {
		return nil
	}
	for _, key := range []string{a, b} {
		if !m[key].written() {
			f.bad("%s is missing; write {%s: ..., %s: ...}", key, a, b)
		}
	}
	return m
}

// seen remembers where a value stood first.
type seen[K comparable] map[K]int

// first tells whether key is new; if not, the line where it stood.
func (s seen[K]) first(key K, line int) (int, bool) {
	if was, ok := s[key]; ok {
		return was, false
	}
	s[key] = line
	return line, true
}

// samePlace is what must not differ for a unicast MAC that stands twice.
type samePlace struct {
	dst  Destination
	line int
}

// place is the place that a MAC had before, or this one.
func place(m map[packet.MAC]samePlace, s StaticMAC, line int) samePlace {
	was, ok := m[s.MAC]
	if !ok {
		was = samePlace{s.Dst, line}
		m[s.MAC] = was
	}
	return was
}
