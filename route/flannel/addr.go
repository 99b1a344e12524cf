package flannel

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// last returns the last address of p.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // of the length of an address
	return a
}

// next returns the address after p, the invalid one after the last of all.
func next(p netip.Prefix) netip.Addr { return last(p).Next() }

// unicast reports whether a can be the address of one node that others reach.
func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && (a.Is4() || !a.IsLinkLocalUnicast()) && a.Zone() == "" && !a.Is4In6() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// quote makes foreign text fit for a message: one line, not long.
func quote(s string) string {
	const limit = 60
	if len(s) > limit {
		return fmt.Sprintf("%q...", s[:limit])
	}
	return fmt.Sprintf("%q", s)
}

// brief is the text of an error that may quote foreign bytes.
func brief(err error) string {
	const limit = 200
	s := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, err.Error())
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}
