package host

import (
	"net/netip"
	"slices"
	"testing"

	"vtepd/encap/packet"
	"vtepd/route"
)

// TestSetWakes: only what the kernel is to have takes a look.
func TestSetWakes(t *testing.T) {
	entry := func(prefix, via string, mac byte, way route.Way) route.Entry {
		return route.PrefixEntry(1, netip.MustParsePrefix(prefix), route.VTEP{Addr: netip.MustParseAddr(via), Port: 8472, VNI: 1}, packet.MAC{2, 5: mac}, way)
	}
	a, b := entry("10.244.2.0/24", "192.0.2.2", 1, route.Tunnel), entry("10.244.3.0/24", "192.0.2.3", 1, route.Tunnel)
	first := Wanted{Segments: []Segment{{VNI: 1, Device: "vx1"}}, Prefixes: []route.Entry{a, b}, Forward: []string{"cni0"}}
	for name, c := range map[string]struct {
		change func(*Wanted)
		wakes  bool
	}{
		"the same":         {func(*Wanted) {}, false},
		"another order":    {func(w *Wanted) { w.Prefixes = []route.Entry{b, a} }, false},
		"another MAC":      {func(w *Wanted) { w.Prefixes[0] = entry("10.244.2.0/24", "192.0.2.2", 9, route.Tunnel) }, false},
		"another VTEP":     {func(w *Wanted) { w.Prefixes[0] = entry("10.244.2.0/24", "192.0.2.9", 1, route.Tunnel) }, true},
		"another way":      {func(w *Wanted) { w.Prefixes[0] = entry("10.244.2.0/24", "192.0.2.2", 1, route.OnLink) }, true},
		"another prefix":   {func(w *Wanted) { w.Prefixes[0] = entry("10.244.9.0/24", "192.0.2.2", 1, route.Tunnel) }, true},
		"one less":         {func(w *Wanted) { w.Prefixes = w.Prefixes[:1] }, true},
		"another device":   {func(w *Wanted) { w.Segments = []Segment{{VNI: 1, Device: "vx2"}} }, true},
		"nothing forwards": {func(w *Wanted) { w.Forward = nil }, true},
	} {
		h := New(Config{})
		h.Set(first)
		<-h.wake
		next := first
		next.Prefixes = slices.Clone(first.Prefixes)
		c.change(&next)
		h.Set(next)
		if woke := len(h.wake) == 1; woke != c.wakes {
			t.Errorf("%s: a look is asked for: %v, want %v", name, woke, c.wakes)
		}
	}
}
