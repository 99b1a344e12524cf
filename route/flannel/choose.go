package flannel

import (
	"errors"
	"net/netip"

	"github.com/gaissmai/bart"
)

// choices is among how many free subnets one is picked.
const choices = 100

// errNoSubnet is that of a network whose subnets are all taken.
var errNoSubnet = errors.New("every subnet of the network is taken")

// A taken is the subnets that are not free.
type taken struct{ table bart.Table[struct{}] }

func (t *taken) add(s Subnet) {
	for _, p := range s.prefixes() {
		t.table.Insert(p, struct{}{})
	}
}

// counts reports whether a lease of the store takes addresses that nodes could
// have. Junk takes its own key only: what a large subnet without a lease's value
// covers stays free, as with flanneld.
func (n *Network) counts(s Subnet, good bool) bool {
	return n.holds(s) == nil && (good || n.Allows(s))
}

// Choose picks a free subnet for a node: before, which it had once, family by
// family where that may be and is free, else one of the first hundred free
// ones; pick returns a number below n, by chance.
func (n *Network) Choose(inUse []Subnet, before Subnet, pick func(n int) int) (Subnet, error) {
	var t taken
	for _, s := range inUse {
		t.add(s)
	}
	var s Subnet
	var err error
	if n.V4.Enabled() {
		if s.V4, err = n.V4.choose(&t, before.V4, pick); err != nil {
			return Subnet{}, err
		}
	}
	if n.V6.Enabled() {
		if s.V6, err = n.V6.choose(&t, before.V6, pick); err != nil {
			return Subnet{}, err
		}
	}
	return s, nil
}

func (p Pool) choose(t *taken, before netip.Prefix, pick func(n int) int) (netip.Prefix, error) {
	if p.Allows(before) && !t.table.OverlapsPrefix(before) {
		return before, nil
	}
	var free []netip.Prefix
	for a := p.Min; a.IsValid() && a.Compare(p.Max) <= 0 && len(free) < choices; {
		s := netip.PrefixFrom(a, p.Len)
		// What covers s is passed as a whole, so that the steps are as few as
		// the leases.
		if over, _, ok := t.table.LookupPrefixLPM(s); ok {
			a = next(shorter(over, s))
			continue
		}
		if !t.table.OverlapsPrefix(s) {
			free = append(free, s)
		}
		a = next(s)
	}
	if len(free) == 0 {
		return netip.Prefix{}, errNoSubnet
	}
	return free[pick(len(free))], nil
}

func shorter(a, b netip.Prefix) netip.Prefix {
	if a.Bits() < b.Bits() {
		return a
	}
	return b
}
