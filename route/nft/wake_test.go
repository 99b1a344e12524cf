package nft

import (
	"net/netip"
	"testing"
)

// TestSetForwardWakes: only what is new takes a look.
func TestSetForwardWakes(t *testing.T) {
	first := Forward{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, Devices: []string{"vx1"}}
	for name, c := range map[string]struct {
		next  Forward
		wakes bool
	}{
		"the same":        {Forward{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, Devices: []string{"vx1"}}, false},
		"insert":          {Forward{Insert: true, Networks: first.Networks, Devices: first.Devices}, true},
		"another network": {Forward{Networks: []netip.Prefix{netip.MustParsePrefix("10.245.0.0/16")}, Devices: first.Devices}, true},
		"another device":  {Forward{Networks: first.Networks, Devices: []string{"vx2"}}, true},
		"nothing":         {Forward{}, true},
	} {
		r := New(Config{})
		r.SetForward(first)
		<-r.wake
		r.SetForward(c.next)
		if woke := len(r.wake) == 1; woke != c.wakes {
			t.Errorf("%s: a look is asked for: %v, want %v", name, woke, c.wakes)
		}
	}
}
