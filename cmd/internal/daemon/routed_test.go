package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/vtep"
	"vtepd/vtep/fib"
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
		// A VTEP whose prefix is hidden so may still send to us when it is named
		// as a member: Flannel's leases name theirs.
		known := func(addr string) bool {
			for _, r := range d.running()[0].engine.Remotes() {
				if r.VTEP().Addr.String() == addr {
					return r.Known()
				}
			}
			return false
		}
		v.Addr = netip.MustParseAddr("127.0.0.4")
		hidden := route.PrefixEntry(1, netip.MustParsePrefix("10.2.0.0/16"), v, packet.MAC{2, 0, 0, 0, 0, 8}, route.Tunnel)
		say(hidden, route.RemoteEntry(1, v))
		wantWays(t, d, "10.2.3.4", way2, way3)
		if !known("127.0.0.4") {
			t.Error("datagrams of a hidden VTEP are not accepted")
		}
		remotes, err := d.Remotes(api.Selector{})
		must(t, err)
		for _, r := range remotes {
			if r.Flood {
				t.Errorf("nothing is flooded in a routed segment: %+v", r)
			}
		}
		must(t, d.FDB(api.Selector{}, func(e api.FDBEntry) error {
			t.Errorf("a routed segment has no FDB: %+v", e)
			return nil
		}))
		say(hidden)
		if known("127.0.0.4") {
			t.Error("a VTEP that nobody names is known")
		}
	})
}

// TestManyPrefixes starts with a large file, and takes in
// a large snapshot of a control plane; a change after it is quick.
func TestManyPrefixes(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		var file strings.Builder
		file.WriteString("underlay: {local: 127.0.0.1}\nsegments: [{vni: 1, mode: route, device: r1, prefixes: [\n")
		const inFile, ofPlane = 10_000, 50_000
		for i := range inFile {
			fmt.Fprintf(&file, "{prefix: 10.%d.%d.0/24, via: 127.0.0.%d, mac: 02:00:00:00:00:02},\n", i>>8, i&255, 2+i%100)
		}
		file.WriteString("]}]\n")
		begin := time.Now()
		d, _ := start(t, file.String(), nil)
		defer func() { must(t, d.Close()) }()
		t.Logf("started with %d prefixes in %v", inFile, time.Since(begin))
		es := make([]route.Entry, 0, ofPlane)
		for i := range ofPlane {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
			v := route.VTEP{Addr: netip.AddrFrom4([4]byte{127, 0, 1, byte(i % 200)}), Port: 4789, VNI: 1}
			es = append(es, route.PrefixEntry(1, p, v, packet.MAC{2, 0, 0, 0, 0, 2}, route.Tunnel))
		}
		say := func(b route.Batch) time.Duration {
			begin := time.Now()
			d.mu.Lock()
			defer d.mu.Unlock()
			b.Source = route.Flannel
			d.apply(b)
			return time.Since(begin)
		}
		t.Logf("a snapshot of %d took %v", ofPlane, say(route.Batch{Snapshot: true, Add: es}))
		took := say(route.Batch{Remove: []route.Key{es[0].Key}})
		t.Logf("one change took %v", took)
		if took > time.Second {
			t.Errorf("one change took %v", took)
		}
		if n := d.Segments()[0].Prefixes; n != inFile+ofPlane-1 {
			t.Errorf("%d prefixes", n)
		}
		wantWays(t, d, "11.0.0.0")
		wantWays(t, d, "11.0.0.1", "127.0.1.1 02:00:00:00:00:02")
	})
}

// TestRouteChanges is what operators do with prefixes, and that it outlives a
// reload.
func TestRouteChanges(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		text := routedFile + "  - {vni: 42, device: b1, remotes: [127.0.0.9]}\n"
		d, _ := start(t, text, func() (*config.Config, error) { return parse(t, text), nil })
		defer func() { must(t, d.Close()) }()
		change := func(op api.Op, prefix, via string, mac byte) api.RouteChange {
			c := api.RouteChange{Op: op, Prefix: netip.MustParsePrefix(prefix)}
			if via != "" {
				c.Via = netip.MustParseAddr(via)
			}
			if mac != 0 {
				c.MAC = packet.MAC{2, 0, 0, 0, 0, mac}
			}
			return c
		}
		bridged := change(api.OpAdd, "10.3.0.0/16", "127.0.0.2", 2)
		bridged.Selector = api.Device("b1")
		const far = "2001:db8::1"
		for _, c := range []struct {
			change api.RouteChange
			want   string // of an error; "" for none
			note   string
		}{
			{bridged, "b1 is a bridged segment", ""},
			{change(api.OpAdd, "10.3.0.0/16", "239.0.0.1", 2), "is a group", ""},
			{change(api.OpAdd, "10.3.0.0/16", far, 2), "cannot be reached", ""},
			{change(api.OpAdd, "10.3.0.0/16", "127.0.0.7", 0), "say it with lladdr", ""},
			{change(api.OpAdd, "10.2.0.0/16", "127.0.0.2", 2), "is from config already", ""},
			{change(api.OpDel, "10.3.0.0/16", "", 0), "no prefix 10.3.0.0/16", ""},
			{change(api.OpAdd, "10.3.0.0/16", "127.0.0.2", 0), "", ""}, // the MAC of another prefix there
			{change(api.OpAdd, "10.3.0.0/16", "127.0.0.2", 9), "behind 127.0.0.2 already", ""},
			{change(api.OpAdd, "10.3.0.0/16", "127.0.0.4", 4), "", ""}, // a second way
			{change(api.OpAdd, "10.4.0.0/16", "127.0.0.2", 9), "", ""},
			{change(api.OpAdd, "10.5.0.0/16", "127.0.0.2", 0), "several MACs", ""},
			{change(api.OpReplace, "10.4.0.0/16", "127.0.0.3", 0), "", ""},
			{change(api.OpDel, "10.3.0.0/16", "127.0.0.9", 0), "is not behind 127.0.0.9", ""},
			{change(api.OpReplace, "10.2.0.0/16", "127.0.0.4", 4), "", ""}, // in place of the file's
		} {
			r, err := d.RouteChange(c.change)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || r.Note != c.note {
				t.Errorf("%+v: %+v, %v, want %q", c.change, r, err, c.want)
			}
		}
		// As many VTEPs as the file may name for a prefix, and one more.
		for i := range fib.MaxHops + 1 {
			_, err := d.RouteChange(change(api.OpAdd, "10.6.0.0/16", fmt.Sprintf("127.0.1.%d", i), 2))
			if most := i == fib.MaxHops; most != (err != nil) || most && !strings.Contains(err.Error(), "64 VTEPs already") {
				t.Fatalf("VTEP %d: %v", i+1, err)
			}
		}
		_, err := d.RouteChange(change(api.OpDel, "10.6.0.0/16", "", 0))
		must(t, err)
		const way4 = "127.0.0.4 02:00:00:00:00:04"
		for range 2 {
			wantWays(t, d, "10.3.0.1", way2, way4)
			wantWays(t, d, "10.4.0.1", way3)
			wantWays(t, d, "10.2.0.1", way4)
			_, err := d.Reload(context.Background())
			must(t, err)
		}
		var shown []string
		must(t, d.Routes(api.Selector{}, func(r api.Route) error {
			shown = append(shown, r.Prefix.String()+" "+r.Via.String()+" "+string(r.Source))
			return nil
		}))
		if want := []string{"10.2.0.0/16 127.0.0.4 operator", "10.3.0.0/16 127.0.0.2 operator", "10.3.0.0/16 127.0.0.4 operator",
			"10.4.0.0/16 127.0.0.3 operator"}; !slices.Equal(shown, want) {
			t.Errorf("shown %q", shown)
		}
		if got, err := d.RouteGet(api.Selector{}, netip.MustParseAddr("10.3.7.7")); err != nil || len(got) != 2 {
			t.Errorf("got %+v, %v", got, err)
		}
		if _, err := d.RouteGet(api.Selector{}, netip.MustParseAddr("10.9.7.7")); err == nil {
			t.Error("got what is not there")
		}
		for _, prefix := range []string{"10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"} {
			_, err := d.RouteChange(change(api.OpDel, prefix, "", 0))
			must(t, err)
		}
		wantWays(t, d, "10.3.0.1")
		wantWays(t, d, "10.2.0.1", way2, way3) // the file's is back
		r, err := d.RouteChange(change(api.OpDel, "10.2.0.0/16", "127.0.0.2", 0))
		if err != nil || r.Note != api.NoteNamed {
			t.Errorf("%+v, %v", r, err)
		}
		wantWays(t, d, "10.2.0.1", way3)
	})
}

// TestRoutedSegmentsHaveNoFDB: what belongs to bridged segments is refused.
func TestRoutedSegmentsHaveNoFDB(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, _ := start(t, routedFile, nil)
		defer func() { must(t, d.Close()) }()
		mac, ip := packet.MAC{2, 0, 0, 0, 0, 1}, netip.MustParseAddr("127.0.0.2")
		_, fdb := d.FDBChange(api.FDBChange{Op: api.OpAdd, MAC: mac, Dst: ip})
		_, remote := d.RemoteChange(api.RemoteChange{Op: api.OpAdd, IP: ip})
		_, neigh := d.NeighChange(api.NeighChange{Op: api.OpAdd, IP: ip, MAC: mac})
		for _, err := range []error{fdb, remote, neigh} {
			if err == nil || !strings.Contains(err.Error(), "r1 is a routed segment and has no ") {
				t.Errorf("%v", err)
			}
		}
		if r, err := d.FDBFlush(api.FDBFlush{All: true}); err != nil || r.Changed != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if st := d.Segments()[0]; st.Mode != api.ModeRoute || st.Prefixes != 1 || st.MAC.IsZero() || st.Remotes != 2 {
			t.Errorf("%+v", st)
		}
	})
}

// TestReloadChangesMode: under the same device it cannot, under another one
// it does, and every entry is that of the new kind.
func TestReloadChangesMode(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		next := routedFile
		d, logs := start(t, routedFile, func() (*config.Config, error) { return parse(t, next), nil })
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
		for _, l := range logs.FilterMessage("entries not in force").All() {
			t.Errorf("entries of the old kind were given to the new one: %v", l.ContextMap())
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

// TestBehindOurselves: a file that all nodes share names each of them. What is
// behind this one is sent nowhere, and has no route into the tunnel.
func TestBehindOurselves(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		const here = "127.0.0.1 02:00:00:00:00:01"
		shared := func(local string) string {
			return strings.Replace(strings.ReplaceAll(routedFile, "via: 127.0.0.3, mac: 02:00:00:00:00:03", "via: 127.0.0.1, mac: 02:00:00:00:00:01"),
				"local: 127.0.0.1", "local: "+local, 1)
		}
		next := shared("127.0.0.1")
		d, _ := start(t, next, func() (*config.Config, error) { return parse(t, next), nil })
		defer func() { must(t, d.Close()) }()
		wanted := func() (vias []string) {
			for _, e := range d.wantedRoutes(added(d.table.Segment(1, route.Prefix))).Prefixes {
				vias = append(vias, e.VTEP.Addr.String())
			}
			return vias
		}
		wantWays(t, d, "10.2.3.4", way2)
		if got := wanted(); !slices.Equal(got, []string{"127.0.0.2"}) {
			t.Errorf("routes to %v", got)
		}
		_, err := d.RouteChange(api.RouteChange{Op: api.OpAdd, Prefix: netip.MustParsePrefix("10.3.0.0/16"),
			Via: netip.MustParseAddr("127.0.0.1"), MAC: packet.MAC{2, 0, 0, 0, 0, 1}})
		if err == nil || !strings.Contains(err.Error(), "127.0.0.1 is our own address") {
			t.Errorf("an operator: %v", err)
		}
		next = shared("127.0.0.2")
		_, err = d.Reload(context.Background())
		must(t, err)
		wantWays(t, d, "10.2.3.4", here)
		if got := wanted(); !slices.Equal(got, []string{"127.0.0.1"}) {
			t.Errorf("routes to %v", got)
		}
	})
}
