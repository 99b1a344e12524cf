package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"vtepd/encap"
	"vtepd/encap/packet"
)

// The readers below leave their target alone unless a good value is written.

// boolean reads a switch.
func (f field) boolean(to *bool) {
	s, ok := f.text()
	if !ok {
		return
	}
	switch strings.ToLower(s) {
	case "true", "on", "yes":
		*to = true
	case "false", "off", "no":
		*to = false
	default:
		f.bad("%s is neither true nor false", quote(s))
	}
}

// word reads one of the words and returns its index.
func (f field) word(words ...string) (int, bool) {
	s, ok := f.text()
	if !ok {
		return 0, false
	}
	i := slices.Index(words, s)
	if i < 0 {
		f.bad("%s is none of %s", quote(s), strings.Join(words, ", "))
	}
	return i, i >= 0
}

// wordInto reads one of the words as such.
func (f field) wordInto(to *string, words ...string) {
	if i, ok := f.word(words...); ok {
		*to = words[i]
	}
}

type unsigned interface {
	~uint8 | ~uint16 | ~uint32 | ~int
}

// number reads a whole number from low to high; or are words that may stand
// in its place, for the message only.
func number[T unsigned](f field, to *T, low, high T, or ...string) bool {
	s, ok := f.text()
	if !ok {
		return false
	}
	n, ok := parseNumber(s)
	if !ok || n < uint64(low) || n > uint64(high) {
		words := append([]string{fmt.Sprintf("a number from %d to %d", low, high)}, or...)
		f.bad("%s is not %s", quote(s), strings.Join(words, " or "))
		return false
	}
	*to = T(n)
	return true
}

// parseNumber takes decimal and 0x. A leading zero is octal in some YAML and
// not in other, so it is refused.
func parseNumber(s string) (uint64, bool) {
	base := 10
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		s, base = hex, 16
	} else if len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 32)
	return n, err == nil
}

// numberOr is number, but word reads as 0.
func numberOr(f field, to *int, word string, low, high int) {
	if f.is(word) {
		*to = 0
		return
	}
	number(f, to, low, high, word)
}

// is tells whether the field is just this word; it reports nothing.
func (f field) is(word string) bool {
	return f.written() && f.node.Value == word && len(f.node.Content) == 0
}

// duration reads 300s, 5m or a bare number of seconds.
func (f field) duration(to *time.Duration, high time.Duration) {
	s, ok := f.text()
	if !ok {
		return
	}
	text := s
	if _, ok := parseNumber(s); ok && !strings.ContainsAny(s, "xX") {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		f.bad("%s is not a duration such as 300s or 5m", quote(s))
	case d < 0:
		f.bad("%s is negative; write a duration from 0 to %s", quote(s), high)
	case d > high:
		f.bad("%s is too long; at most %s is allowed", quote(s), high)
	default:
		*to = d
	}
}

// mac reads any MAC.
func (f field) mac() (packet.MAC, bool) {
	s, ok := f.text()
	if !ok {
		return packet.MAC{}, false
	}
	m, err := packet.ParseMAC(s)
	if err != nil {
		f.bad("%s is not a MAC address such as 02:00:00:00:00:01", quote(s))
		return m, false
	}
	return m, true
}

// unicastMAC reads the MAC of one station.
func (f field) unicastMAC() (packet.MAC, bool) {
	m, ok := f.mac()
	switch {
	case !ok:
	case m.IsZero():
		f.bad("the zero MAC is no station's; write a unicast MAC such as 02:00:00:00:00:01")
		ok = false
	case m.IsMulticast():
		f.bad("%s is a multicast MAC; write a unicast one (an even first octet, such as 02:...)", m)
		ok = false
	}
	return m, ok
}

// device reads the name of a network device, as the kernel takes them.
func (f field) device(to *string) bool {
	const limit = 15 // IFNAMSIZ less the final zero
	s, ok := f.text()
	if !ok {
		return false
	}
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("/:%", r) }
	switch {
	case s == "":
		f.bad("is empty; write a device name such as vx42")
	case len(s) > limit:
		f.bad("%s is %d bytes long; a device name has at most %d", quote(s), len(s), limit)
	case s == "." || s == "..":
		f.bad("%s cannot be a device name", quote(s))
	case strings.ContainsFunc(s, odd), !utf8.ValidString(s):
		f.bad("%s is not a device name: whitespace, '/', ':' and '%%' are not allowed", quote(s))
	default:
		*to = s
		return true
	}
	return false
}

// portRange reads MIN-MAX.
func (f field) portRange(to *encap.PortRange) {
	s, ok := f.text()
	if !ok {
		return
	}
	low, high, ok := strings.Cut(s, "-")
	first, ok1 := parseNumber(strings.TrimSpace(low))
	last, ok2 := parseNumber(strings.TrimSpace(high))
	switch {
	case !ok || !ok1 || !ok2 || first < 1 || last < 1 || first > 65535 || last > 65535:
		f.bad("%s is not MIN-MAX with ports from 1 to 65535, such as 49152-65535", quote(s))
	case first > last:
		f.bad("%s starts above its end; write %d-%d", quote(s), last, first)
	default:
		*to = encap.PortRange{Min: uint16(first), Max: uint16(last)}
		if first < 49152 {
			f.remark("source ports below 49152 may be those of other programs; RFC 7348 recommends 49152-65535")
		}
	}
}

// prefix reads a CIDR, or where bare is set an address that stands for itself.
func (f field) prefix(bare bool) (netip.Prefix, bool) {
	s, ok := f.text()
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	ip, bareErr := netip.ParseAddr(s)
	switch {
	case bareErr == nil && bare:
		return netip.PrefixFrom(ip.WithZone(""), ip.BitLen()), f.plain(ip)
	case bareErr == nil:
		f.bad("%s has no prefix length; write it as in 10.99.0.1/24", quote(s))
		return p, false
	case err != nil:
		f.bad("%s is not an address with a prefix length, such as 10.99.0.1/24", quote(s))
		return p, false
	}
	if p.Addr().Is4In6() {
		f.bad("%s is IPv4 written as IPv6; write it as IPv4", quote(s))
		return p, false
	}
	return p, true
}
