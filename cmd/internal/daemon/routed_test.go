package daemon

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/vtep"
)

const routedFile = `
underlay: {local: 127.0.0.1}
segments:
  - {vni: 1, mode: route, device: r1, prefixes: [{prefix: 10.2.0.0/16, via: 127.0.0.2, mac: 02:00:00:00:00:02},
     {prefix: 10.2.0.0/16, via: 127.0.0.3, mac: 02:00:00:00:00:03}]}
`

// ways returns where the data path sends packets for an address, each as
// VTEP and VNI and router.
func ways(t *testing.T, d *Daemon, vni uint32, addr string) (out []string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.segments[vni].engine
	set := s.Prefixes().Lookup(netip.MustParseAddr(addr))
	if set == nil {
		return nil
	}
	for _, h := range set.Hops() {
		out = append(out, strings.Join([]string{s.RemoteAt(h.Dest).VTEP().Addr.String(), h.Router.String()}, " "))
	}
	slices.Sort(out)
	return out
}

func wantWays(t *testing.T, d *Daemon, addr string, want ...string) {
	t.Helper()
	if got := ways(t, d, 1, addr); !slices.Equal(got, want) {
		t.Errorf("%s is behind %q, want %q", addr, got, want)
	}
}

const (
	way2 = "127.0.0.2 02:00:00:00:00:02"
	way3 = "127.0.0.3 02:00:00:00:00:03"
)

// TestPrefixDeltas plays what sources may say of a prefix into the data path.
func TestPrefixDeltas(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, _ := start(t, routedFile, nil)
		defer func() { must(t, d.Close()) }()
		wantWays(t, d, "10.2.3.4", way2, way3)
		p, mac := netip.MustParsePrefix("10.3.0.0/16"), packet.MAC{2, 0, 0, 0, 0, 2}
		v := route.VTEP{Addr: netip.MustParseAddr("127.0.0.2"), Port: 4789, VNI: 1}
		say := func(es ...route.Entry) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.apply(route.Batch{Source: route.Flannel, Snapshot: true, Add: es})
		}
		entry := func(change func(*route.Entry)) route.Entry {
			e := route.PrefixEntry(1, p, v, mac, route.Tunnel)
			change(&e)
			return e
		}
		say(entry(func(*route.Entry) {}))
		wantWays(t, d, "10.3.0.1", way2)
		say(entry(func(e *route.Entry) { e.Way = route.OnLink }))
		wantWays(t, d, "10.3.0.1", way2)
		say(entry(func(e *route.Entry) { e.Way = route.HostOnly }))
		wantWays(t, d, "10.3.0.1")
		say(entry(func(e *route.Entry) { e.L3VNI = 99 }))
		wantWays(t, d, "10.3.0.1", way2)
		d.mu.Lock()
		s := d.segments[1].engine
		if got := s.RemoteAt(s.Prefixes().Lookup(netip.MustParseAddr("10.3.0.1")).Hops()[0].Dest).VTEP(); got != (vtep.VTEP{Addr: v.Addr, Port: 4789, VNI: 99}) {
			t.Errorf("sent to %v", got)
		}
		d.mu.Unlock()
		say(entry(func(e *route.Entry) { e.MAC = packet.MAC{2, 0, 0, 0, 0, 9} }))
		wantWays(t, d, "10.3.0.1", "127.0.0.2 02:00:00:00:00:09")
		say(entry(func(e *route.Entry) { e.MAC = packet.MAC{} })) // cannot be used, and the old one is not true any more
		wantWays(t, d, "10.3.0.1")
		if st := d.Segments()[0]; len(st.Problems) != 1 {
			t.Errorf("problems %v", st.Problems)
		}
		say(entry(func(*route.Entry) {}))
		wantWays(t, d, "10.3.0.1", way2)
		if st := d.Segments()[0]; len(st.Problems) != 0 {
			t.Errorf("problems %v", st.Problems)
		}
		// Of a prefix that the file names, only what the file says counts.
		say(route.PrefixEntry(1, netip.MustParsePrefix("10.2.0.0/16"), v, packet.MAC{2, 0, 0, 0, 0, 8}, route.Tunnel))
		wantWays(t, d, "10.2.3.4", way2, way3)
		wantWays(t, d, "10.3.0.1")
	})
}

// TestReloadChangesMode: under the same device it cannot, under another one
// it does, and every entry is that of the new kind.
func TestReloadChangesMode(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		next := routedFile
		d, _ := start(t, routedFile, func() (*config.Config, error) { return parse(t, next), nil })
		defer func() { must(t, d.Close()) }()
		next = strings.ReplaceAll(loopback, "vni: 42", "vni: 1, device: r1")
		if _, err := d.Reload(context.Background()); err == nil || !strings.Contains(err.Error(), "device r1 cannot change its mode") {
			t.Errorf("the same device: %v", err)
		}
		wantWays(t, d, "10.2.3.4", way2, way3)
		next = strings.ReplaceAll(loopback, "vni: 42", "vni: 1, device: b1")
		_, err := d.Reload(context.Background())
		must(t, err)
		if r, err := d.Remotes(api.Segment(1)); err != nil || len(r) != 1 || !r[0].Flood {
			t.Errorf("remotes %+v, %v", r, err)
		}
		if out := ip(t, "-br", "link"); strings.Contains(out, "r1") || !strings.Contains(out, "b1") {
			t.Errorf("devices:\n%s", out)
		}
		next = routedFile
		_, err = d.Reload(context.Background())
		must(t, err)
		wantWays(t, d, "10.2.3.4", way2, way3)
		next = strings.Replace(routedFile, "via: 127.0.0.3, mac: 02:00:00:00:00:03", "via: 127.0.0.4, mac: 02:00:00:00:00:04", 1)
		_, err = d.Reload(context.Background())
		must(t, err)
		wantWays(t, d, "10.2.3.4", way2, "127.0.0.4 02:00:00:00:00:04")
		if r, err := d.Remotes(api.Segment(1)); err != nil || len(r) != 2 || r[0].Flood || r[0].Source != api.Config {
			t.Errorf("remotes %+v, %v", r, err)
		}
	})
}
