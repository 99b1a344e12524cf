package flannel

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// A Subnet is the addresses of one node, of one family or both.
type Subnet struct{ V4, V6 netip.Prefix }

// maxKey is longer than any key of a subnet.
const maxKey = 128

// noIPv4 is how Flannel spells the missing IPv4 subnet in a key.
const noIPv4 = "0.0.0.0-0"

// ParseSubnet reads the key of a lease below `subnets/`, such as 10.5.52.0-24
// or 10.5.52.0-24&2001:cafe:42:1::-64 (Flannel's ParseSubnetKey). A node
// without IPv4 has 0.0.0.0-0 in its place.
func ParseSubnet(key string) (Subnet, error) {
	if len(key) > maxKey {
		return Subnet{}, fmt.Errorf("the key has %d bytes, more than %d", len(key), maxKey)
	}
	var s Subnet
	v4, v6, dual := strings.Cut(key, "&")
	var err error
	if !dual || v4 != noIPv4 {
		if s.V4, err = keyPrefix(v4, 32); err != nil {
			return Subnet{}, err
		}
	}
	if dual {
		if s.V6, err = keyPrefix(v6, 128); err != nil {
			return Subnet{}, err
		}
	}
	return s, nil
}

// keyPrefix reads ADDRESS-LENGTH.
func keyPrefix(text string, bits int) (netip.Prefix, error) {
	addr, length, ok := strings.Cut(text, "-")
	a, err := netip.ParseAddr(addr)
	n, lengthErr := strconv.ParseUint(length, 10, 8)
	switch {
	case !ok || err != nil || lengthErr != nil || a.BitLen() != bits || a.Zone() != "" || a.Is4In6() || n == 0 || int(n) > bits:
		return netip.Prefix{}, fmt.Errorf("%s is not ADDRESS-LENGTH of %d-bit addresses", quote(text), bits)
	case a.IsMulticast():
		return netip.Prefix{}, fmt.Errorf("%s is multicast", quote(text))
	}
	p := netip.PrefixFrom(a, int(n))
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s has host bits; its subnet is %v", quote(text), p.Masked())
	}
	return p, nil
}

// Key is the key of the subnet as flanneld writes it.
func (s Subnet) Key() string {
	key := noIPv4
	if s.V4.IsValid() {
		key = dashed(s.V4)
	}
	if s.V6.IsValid() {
		key += "&" + dashed(s.V6)
	}
	return key
}

func dashed(p netip.Prefix) string { return p.Addr().String() + "-" + strconv.Itoa(p.Bits()) }

// String is the subnet for people.
func (s Subnet) String() string {
	var parts []string
	for _, p := range s.prefixes() {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, " and ")
}

// IsZero reports whether s has no family.
func (s Subnet) IsZero() bool { return s == Subnet{} }

// prefixes are the families that s has.
func (s Subnet) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []netip.Prefix{s.V4, s.V6} {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// contains reports whether a is one of the addresses of s.
func (s Subnet) contains(a netip.Addr) bool {
	return a.IsValid() && (s.V4.IsValid() && s.V4.Contains(a) || s.V6.IsValid() && s.V6.Contains(a))
}

// Overlaps reports whether s and o share addresses.
func (s Subnet) Overlaps(o Subnet) bool { return s.V4.Overlaps(o.V4) || s.V6.Overlaps(o.V6) }

// Allows reports whether a node may choose the subnet s, all of it.
func (n *Network) Allows(s Subnet) bool {
	return !s.IsZero() && n.V4.Enabled() == s.V4.IsValid() && n.V6.Enabled() == s.V6.IsValid() &&
		(!s.V4.IsValid() || n.V4.Allows(s.V4)) && (!s.V6.IsValid() || n.V6.Allows(s.V6))
}

// holds says why s lies not within the network.
func (n *Network) holds(s Subnet) error {
	if s.V4.IsValid() && !n.V4.holds(s.V4) || s.V6.IsValid() && !n.V6.holds(s.V6) {
		return errors.New("the subnet is not within the network")
	}
	return nil
}
