package flannel

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// A Network is the configuration that all nodes share (Flannel's net-conf.json,
// pkg/subnet/config.go). At least one of V4 and V6 is enabled.
type Network struct {
	V4, V6  Pool
	Backend Backend
}

// A Pool is the addresses of one family and how they are cut into subnets. The
// zero Pool is a family that the network does not have.
type Pool struct {
	Prefix   netip.Prefix // of the whole network, masked
	Len      int          // prefix length of a node's subnet
	Min, Max netip.Addr   // the first and the last subnet that nodes may have
}

// Enabled reports whether the network has this family.
func (p Pool) Enabled() bool { return p.Prefix.IsValid() }

// Allows reports whether a node may choose the subnet s.
func (p Pool) Allows(s netip.Prefix) bool {
	return p.Enabled() && s.IsValid() && s.Bits() == p.Len && s == s.Masked() &&
		s.Addr().BitLen() == p.Min.BitLen() && p.Min.Compare(s.Addr()) <= 0 && s.Addr().Compare(p.Max) <= 0
}

// holds reports whether s lies within the network.
func (p Pool) holds(s netip.Prefix) bool {
	return p.Enabled() && s.Bits() >= p.Prefix.Bits() && p.Prefix.Contains(s.Addr())
}

// MaxConfig is the most bytes that a network's configuration may have.
const MaxConfig = 64 << 10

// rawNetwork is the configuration as it is written. Flannel's decoder, which is
// also ours, takes its keys in any case and leaves others alone.
type rawNetwork struct {
	EnableIPv4    *bool
	EnableIPv6    bool
	Network       string
	IPv6Network   string
	SubnetLen     int
	SubnetMin     string
	SubnetMax     string
	IPv6SubnetLen int
	IPv6SubnetMin string
	IPv6SubnetMax string
	Backend       json.RawMessage
}

// ParseNetwork reads a network configuration as flanneld does, with its
// defaults and limits. Errors say what to write instead.
func ParseNetwork(data []byte) (*Network, error) {
	if len(data) > MaxConfig {
		return nil, fmt.Errorf("the network configuration has %d bytes, more than %d", len(data), MaxConfig)
	}
	var raw rawNetwork
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("the network configuration is not what it should be: %s", brief(err))
	}
	n := new(Network)
	var err error
	if raw.EnableIPv4 == nil || *raw.EnableIPv4 {
		f := family{"Network", "SubnetLen", "SubnetMin", "SubnetMax", 32, 24}
		if n.V4, err = f.pool(raw.Network, raw.SubnetLen, raw.SubnetMin, raw.SubnetMax); err != nil {
			return nil, err
		}
	}
	if raw.EnableIPv6 {
		f := family{"IPv6Network", "IPv6SubnetLen", "IPv6SubnetMin", "IPv6SubnetMax", 128, 64}
		if n.V6, err = f.pool(raw.IPv6Network, raw.IPv6SubnetLen, raw.IPv6SubnetMin, raw.IPv6SubnetMax); err != nil {
			return nil, err
		}
	}
	if !n.V4.Enabled() && !n.V6.Enabled() {
		return nil, errors.New("EnableIPv4 is false and EnableIPv6 is not true: the network has no family")
	}
	n.Backend, err = parseBackend(raw.Backend)
	return n, err
}

// A family is the words and numbers in which the two families differ.
type family struct {
	network, length, low, high string
	bits, usual                int // of an address; of a subnet where there is room
}

// pool reads one family, by the limits of CheckNetworkConfig in Flannel.
func (f family) pool(network string, length int, low, high string) (Pool, error) {
	p, err := netip.ParsePrefix(network)
	switch {
	case network == "":
		return Pool{}, fmt.Errorf("%s is missing; write the addresses of all pods, such as 10.244.0.0/16", f.network)
	case err != nil || p.Addr().BitLen() != f.bits || p.Addr().Is4In6():
		return Pool{}, fmt.Errorf("%s %s is not a prefix of %d-bit addresses", f.network, quote(network), f.bits)
	case p.Addr().IsMulticast():
		return Pool{}, fmt.Errorf("%s %s is multicast", f.network, p)
	}
	pool := Pool{Prefix: p.Masked(), Len: length}
	if err := f.cut(&pool); err != nil {
		return Pool{}, err
	}
	// The first subnet is left out: its first address is that of the network.
	pool.Min, pool.Max = pool.Prefix.Addr(), last(pool.Prefix)
	pool.Min = next(netip.PrefixFrom(pool.Min, pool.Len))
	pool.Max = netip.PrefixFrom(pool.Max, pool.Len).Masked().Addr()
	if err := f.bound(pool, f.low, low, &pool.Min); err != nil {
		return Pool{}, err
	}
	if err := f.bound(pool, f.high, high, &pool.Max); err != nil {
		return Pool{}, err
	}
	if pool.Max.Less(pool.Min) {
		return Pool{}, fmt.Errorf("%s %v is above %s %v", f.low, pool.Min, f.high, pool.Max)
	}
	return pool, nil
}

// cut fills in and checks the length of a subnet: a subnet has room for four
// addresses, and the network for four subnets.
func (f family) cut(p *Pool) error {
	bits := p.Prefix.Bits()
	switch {
	case p.Len < 0 || p.Len > f.bits-2:
		return fmt.Errorf("%s %d is not from 1 to %d", f.length, p.Len, f.bits-2)
	case p.Len > 0 && p.Len < bits+2:
		return fmt.Errorf("%s %d leaves %v room for fewer than four subnets; write at least %d", f.length, p.Len, p.Prefix, bits+2)
	case p.Len > 0:
	case bits > f.bits-4:
		return fmt.Errorf("%s %v is too small; at most a /%d is of use", f.network, p.Prefix, f.bits-4)
	case bits <= f.usual-2:
		p.Len = f.usual
	default:
		p.Len = bits + 2
	}
	return nil
}

// bound reads a limit of the subnets where it is written. Flannel takes the
// unspecified address for none.
func (f family) bound(p Pool, key, text string, to *netip.Addr) error {
	if text == "" {
		return nil
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || a.BitLen() != f.bits || a.Zone() != "":
		return fmt.Errorf("%s %s is not an address of %d bits", key, quote(text), f.bits)
	case a.IsUnspecified():
		return nil
	case !p.Prefix.Contains(a):
		return fmt.Errorf("%s %v is not within %v", key, a, p.Prefix)
	case netip.PrefixFrom(a, p.Len).Masked().Addr() != a:
		return fmt.Errorf("%s %v is not the first address of a /%d", key, a, p.Len)
	}
	*to = a
	return nil
}
