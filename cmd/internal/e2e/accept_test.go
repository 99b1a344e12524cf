package e2e

import (
	"fmt"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// TestAccept says from whom frames are taken.
func TestAccept(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	quiet(t, a)
	d := vtepdFile(t, a, `
underlay: {local: [192.0.2.1, "2001:db8::1"]}
segments:
  - {vni: 42, remotes: [192.0.2.2, "2001:db8::2"], static: [{mac: 02:00:00:00:00:99, dst: 192.0.2.9}]}
  - {vni: 43, remotes: [192.0.2.2], accept: any}
  - {vni: 44, remotes: [192.0.2.2], accept: [192.0.2.128/25, "2001:db8::8000/113"]}
  - {vni: 45, group: 239.1.1.1, interface: u0}
`)
	wire := newForger(t, a, b)
	frame := inner{}.bytes(t)
	for _, c := range []struct {
		name     string
		vni      uint32
		from     string
		accepted bool
	}{
		{"known: a remote", 42, "192.0.2.2", true},
		{"known: a remote over IPv6", 42, "2001:db8::2", true},
		{"known: the destination of a static entry", 42, "192.0.2.9", true},
		{"known: a neighbour on the same subnet", 42, "192.0.2.3", false},
		{"known: a stranger over IPv6", 42, "2001:db8::3", false},
		{"any: a stranger", 43, "192.0.2.3", true},
		{"any: a stranger over IPv6", 43, "2001:db8::3", true},
		{"a list: inside", 44, "192.0.2.129", true},
		{"a list: inside, IPv6", 44, "2001:db8::8001", true},
		{"a list: outside", 44, "192.0.2.3", false},
		{"a list: a remote that it does not hold", 44, "192.0.2.2", false},
		{"a group: the connected subnet", 45, "192.0.2.3", true},
		{"a group: from far away", 45, "198.51.100.1", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := segment(t, d, c.vni)
			to := "192.0.2.1"
			if c.from[0] == '2' {
				to = "2001:db8::1"
			}
			wire.send(outer{from: c.from, to: to}, vxlan(c.vni, frame))
			must(t, lab.Until(patience, func() error {
				now := segment(t, d, c.vni)
				rx, refused := now.Rx.Frames-before.Rx.Frames, now.Drops.Rx["source_not_accepted"]-before.Drops.Rx["source_not_accepted"]
				switch {
				case rx+refused != 1:
					return fmt.Errorf("%d delivered, %d refused", rx, refused)
				case (rx == 1) != c.accepted:
					return &lab.Final{Err: fmt.Errorf("accepted: %v, want %v", rx == 1, c.accepted)}
				}
				return nil
			}))
		})
	}
	t.Run("an operator's remote is known, and is not when it is gone", func(t *testing.T) {
		ctl(t, d, "remote", "add", "192.0.2.3", "segment", "42")
		before := segment(t, d, 42)
		wire.send(outer{from: "192.0.2.3"}, vxlan(42, frame))
		waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.Rx.Frames == before.Rx.Frames+1 })
		ctl(t, d, "remote", "del", "192.0.2.3", "segment", "42")
		wire.send(outer{from: "192.0.2.3"}, vxlan(42, frame))
		waitSegment(t, d, 42, func(s api.SegmentCounters) bool {
			return s.Drops.Rx["source_not_accepted"] == before.Drops.Rx["source_not_accepted"]+1
		})
	})
}

// segment returns the counters of one segment.
func segment(t testing.TB, d *lab.Daemon, vni uint32) api.SegmentCounters {
	t.Helper()
	var c api.Counters
	decode(t, ctl(t, d, "-j", "counters", "segment", fmt.Sprint(vni)), &c)
	if len(c.Segments) != 1 {
		t.Fatalf("%d segments with VNI %d", len(c.Segments), vni)
	}
	return c.Segments[0]
}

// waitSegment waits until the counters of a segment are as ok wants.
func waitSegment(t testing.TB, d *lab.Daemon, vni uint32, ok func(api.SegmentCounters) bool) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		if s := segment(t, d, vni); !ok(s) {
			return fmt.Errorf("counters: %+v", s)
		}
		return nil
	}))
}

// TestInterface binds segments to an underlay interface, and sends them frames
// by others: those that another interface brings are not theirs.
func TestInterface(t *testing.T) {
	for _, c := range []struct{ name, second string }{
		{"the sockets are bound to it", ""},
		{"the packet information decides", "  - {vni: 43, remotes: [192.0.2.2]}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosts := lab.Hosts(t, 2, lab.Wire{})
			a, b := hosts[0], hosts[1]
			quiet(t, a)
			anywhere(t, a)
			// A second wire, u1, by which b reaches the same address.
			run(t, a, "ip", "link", "add", "u1", "type", "veth", "peer", "name", "u1", "netns", b.Name)
			run(t, a, "ip", "link", "set", "u1", "up")
			run(t, b, "ip", "link", "set", "u1", "up")
			d := vtepdFile(t, a, "underlay: {local: 192.0.2.1}\nsegments:\n  - {vni: 42, interface: u0, remotes: [192.0.2.2]}\n"+c.second)
			right := newForger(t, a, b)
			raw, err := b.Raw("u1")
			must(t, err)
			defer raw.Close()
			wrong := &forger{t: t, raw: raw, us: mac(t, b, "u1"), it: mac(t, a, "u1")}
			frame := inner{}.bytes(t)
			for range 5 {
				wrong.send(outer{}, vxlan(42, frame))
			}
			right.send(outer{}, vxlan(42, frame)) // it comes last, on the same processor
			waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.Rx.Frames > 0 })
			want := uint64(0)
			if c.second != "" {
				want = 5
				wrong.send(outer{}, vxlan(43, frame))
				waitSegment(t, d, 43, func(s api.SegmentCounters) bool { return s.Rx.Frames == 1 })
			}
			waitSegment(t, d, 42, func(s api.SegmentCounters) bool {
				return s.Rx.Frames == 1 && s.Drops.Rx["wrong_interface"] == want
			})
		})
	}
}

// anywhere has a host take packets by whatever interface they come.
func anywhere(t testing.TB, h *lab.Host) {
	t.Helper()
	for _, conf := range []string{"all", "default", "u0"} {
		sysctl(t, h, "net/ipv4/conf/"+conf+"/rp_filter", "0")
	}
}

// TestNestedTowardsUs has a station of the overlay send VXLAN to our own outer
// address, through the tunnel: it must not get into another segment that way.
func TestNestedTowardsUs(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	quiet(t, a)
	anywhere(t, a)
	d := vtepdFile(t, a, `
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2]}
  - {vni: 43, remotes: [192.0.2.2], accept: any}
`)
	wire := newForger(t, a, b)
	nested := inner{dst: mac(t, a, "vx42"), from: "192.0.2.2", to: "192.0.2.1", port: 4789, payload: vxlan(43, inner{}.bytes(t))}
	wire.send(outer{}, vxlan(42, nested.bytes(t)))
	waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.Rx.Frames == 1 })
	waitSegment(t, d, 43, func(s api.SegmentCounters) bool {
		return s.Drops.Rx["wrong_interface"] == 1 && s.Rx.Frames == 0
	})
}
