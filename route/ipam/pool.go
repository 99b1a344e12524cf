// Package ipam hands out addresses of subnets and remembers in files who has
// them: one file an address, named by it. Any number of processes may use a
// store at the same time; what a crash leaves behind never becomes a second
// owner of an address, and is swept by whoever comes next.
//
// The store is made for containers of one host: some thousand addresses, each
// held for as long as an attachment lives.
package ipam

import (
	"fmt"
	"net/netip"
)

// A Pool is a subnet to hand addresses out of. The network's own address, the
// gateway (the first one) and with IPv4 the broadcast address are nobody's.
type Pool struct{ subnet netip.Prefix }

// minHostBits leave room for the network's own address, a gateway and one
// address to hand out.
const minHostBits = 2

// NewPool makes a pool of a subnet. Host bits in it are ignored, as `ip route`
// would not: subnet.env has the gateway's address in that place.
func NewPool(subnet netip.Prefix) (Pool, error) {
	if !subnet.IsValid() {
		return Pool{}, fmt.Errorf("%v is not a subnet", subnet)
	}
	p, a := Pool{subnet.Masked()}, subnet.Addr()
	switch {
	case a.Is4In6() || a.Zone() != "":
		return Pool{}, fmt.Errorf("subnet %v is written in a form that no address of a packet has", subnet)
	case a.IsMulticast() || a.IsLoopback() || a.IsLinkLocalUnicast() || p.subnet.Addr().IsUnspecified():
		return Pool{}, fmt.Errorf("subnet %v has no addresses of stations", subnet)
	case a.BitLen()-p.subnet.Bits() < minHostBits:
		return Pool{}, fmt.Errorf("subnet %v is too small: a gateway and one address take at least a /%d", subnet, a.BitLen()-minHostBits)
	}
	return p, nil
}

// Subnet is the pool's subnet, without host bits.
func (p Pool) Subnet() netip.Prefix { return p.subnet }

// Is4 reports whether the pool is one of IPv4.
func (p Pool) Is4() bool { return p.subnet.Addr().Is4() }

// Gateway is the pool's first address.
func (p Pool) Gateway() netip.Addr { return p.subnet.Addr().Next() }

// Prefix is an address of the pool with the subnet's length, as an interface
// has it.
func (p Pool) Prefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, p.subnet.Bits()) }

// Hands reports whether a is an address that the pool hands out.
func (p Pool) Hands(a netip.Addr) bool {
	return p.subnet.Contains(a) && a != p.subnet.Addr() && a != p.Gateway() && a != p.broadcast()
}

// broadcast is the last address of an IPv4 subnet; IPv6 has none.
func (p Pool) broadcast() netip.Addr {
	if !p.Is4() {
		return netip.Addr{}
	}
	b := p.subnet.Addr().As4()
	for bit := p.subnet.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// first is the first address the pool hands out.
func (p Pool) first() netip.Addr { return p.Gateway().Next() }

// next is the address to try after a: its successor, or the first one again.
func (p Pool) next(a netip.Addr) netip.Addr {
	if n := a.Next(); p.Hands(a) && p.Hands(n) {
		return n
	}
	return p.first()
}

// ParsePools makes pools of subnets and refuses those that overlap.
func ParsePools(subnets []netip.Prefix) ([]Pool, error) {
	pools := make([]Pool, 0, len(subnets))
	for _, s := range subnets {
		p, err := NewPool(s)
		if err != nil {
			return nil, err
		}
		for _, other := range pools {
			if other.subnet.Overlaps(p.subnet) {
				return nil, fmt.Errorf("subnet %v overlaps %v", s, other.subnet)
			}
		}
		pools = append(pools, p)
	}
	return pools, nil
}
