package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vtepd/config"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// at is a segment with our outer addresses.
func at(c config.Segment, locals ...string) *segment {
	s := &segment{cfg: &c}
	for _, a := range addrs(locals...) {
		s.setLocal(a)
	}
	if c.Group.IsValid() {
		s.groupIf = 7
	}
	return s
}

// TestListeners says which segments share sockets, and when those are bound
// to an interface.
func TestListeners(t *testing.T) {
	group := netip.MustParseAddr("239.1.1.1")
	for _, c := range []struct {
		name     string
		segments []*segment
		want     []string // address, device, VNIs
	}{
		{"one", []*segment{at(config.Segment{VNI: 1, Port: 4789}, "192.0.2.1")}, []string{"192.0.2.1:4789 [1]"}},
		{"two that share", []*segment{at(config.Segment{VNI: 1, Port: 4789}, "192.0.2.1"), at(config.Segment{VNI: 2, Port: 4789}, "192.0.2.1")},
			[]string{"192.0.2.1:4789 [1 2]"}},
		{"two ports", []*segment{at(config.Segment{VNI: 1, Port: 4789}, "192.0.2.1"), at(config.Segment{VNI: 2, Port: 4790}, "192.0.2.1")},
			[]string{"192.0.2.1:4789 [1]", "192.0.2.1:4790 [2]"}},
		{"both families", []*segment{at(config.Segment{VNI: 1, Port: 4789}, "192.0.2.1", "2001:db8::1"), at(config.Segment{VNI: 2, Port: 4789}, "2001:db8::1")},
			[]string{"192.0.2.1:4789 [1]", "[2001:db8::1]:4789 [1 2]"}},
		{"all name the interface", []*segment{at(config.Segment{VNI: 1, Port: 4789, Interface: "eth0"}, "192.0.2.1"), at(config.Segment{VNI: 2, Port: 4789, Interface: "eth0"}, "192.0.2.1")},
			[]string{"192.0.2.1:4789%eth0 [1 2]"}},
		{"one names none", []*segment{at(config.Segment{VNI: 1, Port: 4789, Interface: "eth0"}, "192.0.2.1"), at(config.Segment{VNI: 2, Port: 4789}, "192.0.2.1")},
			[]string{"192.0.2.1:4789 [1 2]"}},
		{"they name different ones", []*segment{at(config.Segment{VNI: 1, Port: 4789, Interface: "eth0"}, "192.0.2.1"), at(config.Segment{VNI: 2, Port: 4789, Interface: "eth1"}, "192.0.2.1")},
			[]string{"192.0.2.1:4789 [1 2]"}},
		{"no address yet", []*segment{at(config.Segment{VNI: 1, Port: 4789})}, []string{"0.0.0.0:4789 [1]"}},
		{"a group", []*segment{at(config.Segment{VNI: 1, Port: 4789, Group: group}, "192.0.2.1"), at(config.Segment{VNI: 2, Port: 4789, Group: group}, "192.0.2.1")},
			[]string{"192.0.2.1:4789 [1 2]", "239.1.1.1:4789 [1 2]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			segments := make(map[uint32]*segment)
			for _, s := range c.segments {
				segments[s.cfg.VNI] = s
			}
			for range 10 { // maps have no order
				var got []string
				for k, l := range wantedListeners(segments) {
					slices.Sort(l.segments)
					got = append(got, fmt.Sprint(k, " ", l.segments))
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Fatalf("%v, want %v", got, c.want)
				}
			}
		})
	}
}

// TestDeviceMAC: stable, different for different VTEPs, VNIs and names, and
// locally administered.
func TestDeviceMAC(t *testing.T) {
	seen := make(map[string]string)
	for name, s := range map[string]*segment{
		"a":             at(config.Segment{VNI: 1, Device: "vx1"}, "192.0.2.1"),
		"another VTEP":  at(config.Segment{VNI: 1, Device: "vx1"}, "192.0.2.2"),
		"another VNI":   at(config.Segment{VNI: 2, Device: "vx1"}, "192.0.2.1"),
		"another name":  at(config.Segment{VNI: 1, Device: "vx2"}, "192.0.2.1"),
		"both families": at(config.Segment{VNI: 1, Device: "vx1"}, "192.0.2.1", "2001:db8::1"),
	} {
		mac := deviceMAC(s)
		if mac != deviceMAC(s) || mac.IsMulticast() || mac[0]&2 == 0 {
			t.Errorf("%s: %v", name, mac)
		}
		if other, ok := seen[mac.String()]; ok {
			t.Errorf("%s and %s have the same MAC", name, other)
		}
		seen[mac.String()] = name
	}
}
