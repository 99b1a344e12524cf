package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route"
)

var station = packet.MAC{2, 0, 0, 0, 0, 1}

// stationAt is a MAC of segment vni behind an address.
func stationAt(vni uint32, addr string) route.Entry {
	return route.MACEntry(vni, station, route.VTEP{Addr: netip.MustParseAddr(addr), Port: 4789, VNI: vni}, route.Static)
}

// where returns from which source and where a segment has the station, "" if
// nowhere.
func where(t *testing.T, d *Daemon, vni uint32) string {
	t.Helper()
	es, err := d.FDBGet(api.Segment(vni), station)
	if err != nil {
		return ""
	}
	return string(es[0].Source) + " " + es[0].Dst.String()
}

func wantAt(t *testing.T, d *Daemon, vni uint32, want string) {
	t.Helper()
	if got := where(t, d, vni); got != want {
		t.Errorf("segment %d has the station at %q, want %q", vni, got, want)
	}
}

// TestControlPlaneAndOperator: what a control plane says is in force until
// somebody better says otherwise, and only itself takes it back.
func TestControlPlaneAndOperator(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, _ := start(t, loopback, nil)
		defer func() { must(t, d.Close()) }()
		member := route.RemoteEntry(42, stationAt(42, "127.0.0.3").VTEP)
		d.take(route.Batch{Source: route.Flannel, Add: []route.Entry{stationAt(42, "127.0.0.3"), member}})
		wantAt(t, d, 42, "flannel 127.0.0.3")
		rs, err := d.Remotes(api.Selector{})
		if err != nil || len(rs) != 2 || rs[1].Source != "flannel" {
			t.Errorf("remotes %+v, %v", rs, err)
		}
		del := api.FDBChange{Op: api.OpDel, MAC: station}
		for what, err := range map[string]error{
			"fdb del":             second(d.FDBChange(del)),
			"remote del":          second(d.RemoteChange(api.RemoteChange{Op: api.OpDel, IP: member.Key.VTEP.Addr})),
			"fdb replace dynamic": second(d.FDBChange(api.FDBChange{Op: api.OpReplace, MAC: station, Dst: netip.MustParseAddr("127.0.0.4"), State: api.Dynamic})),
			"fdb add":             second(d.FDBChange(api.FDBChange{Op: api.OpAdd, MAC: station, Dst: netip.MustParseAddr("127.0.0.4")})),
		} {
			if err == nil || !strings.Contains(err.Error(), "from flannel") || !strings.Contains(err.Error(), ": use ") {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err = d.FDBChange(api.FDBChange{Op: api.OpReplace, MAC: station, Dst: netip.MustParseAddr("127.0.0.4")})
		must(t, err)
		wantAt(t, d, 42, "operator 127.0.0.4")
		d.take(route.Batch{Source: route.Flannel, Add: []route.Entry{stationAt(42, "127.0.0.5")}})
		wantAt(t, d, 42, "operator 127.0.0.4")
		_, err = d.FDBChange(del)
		must(t, err)
		wantAt(t, d, 42, "flannel 127.0.0.5")
		d.take(route.Batch{Source: route.Flannel, Snapshot: true})
		wantAt(t, d, 42, "")
	})
}

func second[T any](_ T, err error) error { return err }

// TestEntriesBeforeTheirSegment: a control plane knows of a segment before the
// file does, and goes on to while the segment is away.
func TestEntriesBeforeTheirSegment(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		two := strings.Replace(loopback, "]}]", "]}, {vni: 43, remotes: []}]", 1)
		next := two
		d, _ := start(t, loopback, func() (*config.Config, error) { return parse(t, next), nil })
		defer func() { must(t, d.Close()) }()
		reload := func(text string) {
			t.Helper()
			next = text
			_, err := d.Reload(t.Context())
			must(t, err)
		}
		d.take(route.Batch{Source: route.Flannel, Add: []route.Entry{stationAt(43, "127.0.0.3")}})
		reload(two)
		wantAt(t, d, 43, "flannel 127.0.0.3")
		_, err := d.FDBChange(api.FDBChange{Selector: api.Segment(43), Op: api.OpReplace, MAC: station, Dst: netip.MustParseAddr("127.0.0.4")})
		must(t, err)
		reload(loopback)
		d.take(route.Batch{Source: route.Flannel, Add: []route.Entry{stationAt(43, "127.0.0.5")}})
		reload(two)
		wantAt(t, d, 43, "flannel 127.0.0.5") // the operator's went with the segment
	})
}

// TestEntryOutOfReach: an entry that moves to where we cannot send is not left
// where it was, and no problem remains when it is taken back.
func TestEntryOutOfReach(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, _ := start(t, loopback, nil)
		defer func() { must(t, d.Close()) }()
		problem := func() bool {
			return slices.ContainsFunc(d.Status().Problems, func(p string) bool { return strings.Contains(p, "1 entries of segment 42 are not in force") })
		}
		d.take(route.Batch{Source: route.Flannel, Add: []route.Entry{stationAt(42, "127.0.0.3")}})
		d.take(route.Batch{Source: route.Flannel, Add: []route.Entry{stationAt(42, "2001:db8::3")}})
		wantAt(t, d, 42, "")
		if !problem() {
			t.Error("status says nothing of it")
		}
		d.take(route.Batch{Source: route.Flannel, Remove: []route.Key{stationAt(42, "2001:db8::3").Key}})
		if problem() {
			t.Error("status says it of an entry that is gone")
		}
	})
}

// TestPathsOfAControlPlane: the MTU follows the VTEPs that a control plane tells
// of, and takes back.
func TestPathsOfAControlPlane(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "link", "add", "u0", "type", "veth", "peer", "name", "u1")
		ip(t, "link", "set", "u0", "up")
		ip(t, "link", "set", "u1", "up")
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "u0")
		ip(t, "route", "add", "192.0.2.3", "dev", "u0", "mtu", "1400")
		d, _ := start(t, "segments: [{vni: 42, local: 192.0.2.1, remotes: [192.0.2.2]}]", nil)
		defer func() { must(t, d.Close()) }()
		for _, c := range []struct {
			add []route.Entry
			mtu int
		}{{nil, 1450}, {[]route.Entry{stationAt(42, "192.0.2.3")}, 1350}, {nil, 1450}} {
			d.take(route.Batch{Source: route.Flannel, Snapshot: true, Add: c.add})
			d.followNews()
			if got := d.Segments()[0].MTU; got != c.mtu {
				t.Errorf("with %d entries mtu %d, want %d", len(c.add), got, c.mtu)
			}
		}
	})
}

// TestSegmentsAreOffered: sources hear of our segments, and of what changes of
// them.
func TestSegmentsAreOffered(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		next := loopback
		d, _ := start(t, loopback, func() (*config.Config, error) { return parse(t, next), nil })
		defer func() { must(t, d.Close()) }()
		sub := d.local.Subscribe(10)
		defer sub.Close()
		want := func(what string, segments ...route.Segment) {
			t.Helper()
			select {
			case <-sub.Changed():
			default:
				t.Errorf("%s: nothing changed", what)
			}
			if got := sub.Next().Segments; !slices.Equal(got, segments) {
				t.Errorf("%s: %+v, want %+v", what, got, segments)
			}
		}
		s := route.Segment{VNI: 42, Device: "vx42", V4: netip.MustParseAddr("127.0.0.1"), Port: 4789,
			MAC: d.running()[0].dev.MAC, MTU: d.running()[0].deviceMTU}
		want("at start", s)
		ip(t, "link", "set", "vx42", "mtu", "1300", "address", "02:00:00:00:00:99")
		d.followHost()
		s.MTU, s.MAC = 1300, packet.MAC{2, 0, 0, 0, 0, 0x99}
		want("the device was changed", s)
		next = "underlay: {local: 127.0.0.1}\nsegments: [{vni: 41, mode: route, prefixes: []}]\n"
		_, err := d.Reload(t.Context())
		must(t, err)
		now := d.running()[0]
		want("another segment", route.Segment{VNI: 41, Device: "vx41", Routed: true, V4: s.V4, Port: 4789, MAC: now.dev.MAC, MTU: now.deviceMTU})
	})
}
