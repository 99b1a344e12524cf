package daemon

import (
	"errors"
	"testing"
)

// TestUplink: the interface to the other nodes, and when another one or another
// address is taken in its place.
func TestUplink(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "link", "add", "u0", "type", "veth", "peer", "name", "u1")
		ip(t, "link", "add", "p0", "type", "bridge")
		for _, dev := range []string{"u0", "u1", "p0"} {
			ip(t, "link", "set", dev, "up")
		}
		ip(t, "addr", "add", "10.244.1.1/24", "dev", "p0")
		ip(t, "route", "add", "default", "dev", "u0")
		if u, err := findUplink(""); !errors.Is(err, errNoAddress) {
			t.Errorf("without an address that of another interface is taken: %+v %v", u, err)
		}
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "u0")
		first, err := findUplink("")
		must(t, err)
		now := func(what, name, v4 string, same bool) {
			t.Helper()
			u, err := first.again("", true, false)
			if err != nil || u.name != name || u.v4.String() != v4 || u.sameAs(&first) != same {
				t.Errorf("%s: %+v %v", what, u, err)
			}
		}
		now("nothing changed", "u0", "192.0.2.1", true)
		ip(t, "addr", "add", "198.51.100.1/24", "dev", "u0")
		ip(t, "route", "replace", "default", "via", "10.244.1.2")
		now("one address more, and another default route", "u0", "192.0.2.1", true)
		ip(t, "addr", "del", "192.0.2.1/24", "dev", "u0")
		now("the address is gone, and the default route leads elsewhere", "p0", "10.244.1.1", false)
		ip(t, "route", "replace", "default", "dev", "u0")
		now("the other address", "u0", "198.51.100.1", false)
		ip(t, "link", "del", "u0")
		if u, err := first.again("u0", true, false); err == nil {
			t.Errorf("the interface is gone: %+v", u)
		}
	})
}
