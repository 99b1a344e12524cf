package route_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vtepd/encap/packet"
	"vtepd/route"
)

// This file plays EVPN (RFC 7432, RFC 9135, RFC 9136) between hosts: each has
// a table and a local state, and a speaker that does what route/evpn will do
// with both streams. Only BGP itself is missing.

// An rt is an EVPN route: type 2 (MAC, with or without an address), 3 (the
// VTEP of a segment) or 5 (a prefix).
type rt struct {
	typ    int
	vni    uint32
	mac    packet.MAC
	ip     netip.Addr
	prefix netip.Prefix
}

// attrs are what a route carries along.
type attrs struct {
	nextHop netip.Addr
	seq     uint32 // MAC mobility
	sticky  bool
	router  packet.MAC // type 5
	target  string     // route target, of no interest to anybody else
}

type rib = map[rt]attrs

// entries puts a route into the words of the event model.
func (r rt) entries(a attrs) []route.Entry {
	v := route.VTEP{Addr: a.nextHop, Port: 4789, VNI: r.vni}
	var out []route.Entry
	switch r.typ {
	case 2:
		out = append(out, route.MACEntry(r.vni, r.mac, v, route.Static))
		if r.ip.IsValid() {
			e := route.NeighborEntry(r.vni, r.ip, r.mac)
			e.VTEP = v
			out = append(out, e)
		}
	case 3:
		out = append(out, route.RemoteEntry(r.vni, v))
	case 5:
		e := route.PrefixEntry(r.vni, r.prefix, v, a.router, route.Tunnel)
		e.L3VNI = 4242
		out = append(out, e)
	}
	for i := range out {
		out[i].Seq, out[i].Sticky, out[i].Attr = a.seq, a.sticky, route.Attr(a.target)
	}
	return out
}

// A host has a VTEP and speaks EVPN.
type host struct {
	t     *testing.T
	addr  netip.Addr
	table *route.Table
	local *route.Local
	data  entries // what the data path was told
	sub   *route.LocalSubscription

	peers []*host
	down  bool               // sessions are down: nothing is sent or received
	mine  rib                // what we advertise
	has   map[rt]route.Entry // local entries behind mine
	from  map[*host]rib
}

func newHosts(t *testing.T, n int) []*host {
	var all []*host
	for i := range n {
		h := &host{t: t, addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), table: route.NewTable(route.EVPN),
			data: entries{}, mine: rib{}, from: map[*host]rib{}}
		h.local = route.NewLocal(h.table, 100)
		h.sub = h.local.Subscribe(4)
		h.local.SetSegments([]route.Segment{{VNI: 42, Device: "vx42", V4: h.addr, Port: 4789, MAC: packet.MAC{2, 0xff, 0, 0, 0, byte(i)}, MTU: 1450}})
		t.Cleanup(h.sub.Close)
		all = append(all, h)
	}
	for _, h := range all {
		for _, p := range all {
			if p != h {
				h.peers = append(h.peers, p)
				h.from[p] = rib{}
			}
		}
	}
	settle(all)
	return all
}

// settle lets every speaker do its work until nothing is left to do.
func settle(hosts []*host) {
	for busy := true; busy; {
		busy = false
		for _, h := range hosts {
			select {
			case <-h.sub.Changed():
				h.advertise(h.sub.Next())
				busy = true
			default:
			}
		}
	}
}

// advertise turns what is here into routes, and tells peers what changed.
func (h *host) advertise(u route.LocalUpdate) {
	if u.Resync {
		h.has = map[rt]route.Entry{}
	}
	for _, d := range u.Deltas {
		e := d.Entry
		r := rt{typ: 2, vni: e.Key.VNI, mac: e.Key.MAC}
		switch e.Key.Kind {
		case route.Neighbor:
			r.mac, r.ip = e.MAC, e.Key.IP
			if d.Op == route.Replaced && d.Old.MAC != e.MAC {
				delete(h.has, rt{typ: 2, vni: r.vni, mac: d.Old.MAC, ip: r.ip})
			}
		case route.Prefix:
			r = rt{typ: 5, vni: e.Key.VNI, prefix: e.Key.Prefix}
		}
		if delete(h.has, r); d.Op != route.Removed {
			h.has[r] = e
		}
	}
	next := rib{}
	for _, s := range u.Segments {
		next[rt{typ: 3, vni: s.VNI}] = attrs{nextHop: s.V4, target: "65000:42"}
		for r, e := range h.has {
			if r.vni == s.VNI {
				next[r] = attrs{nextHop: s.V4, seq: e.Seq, sticky: e.Sticky, router: s.MAC, target: "65000:42"}
			}
		}
	}
	for r, a := range next {
		if h.mine[r] != a {
			h.send(r, a, false)
		}
	}
	for r, a := range h.mine {
		if _, ok := next[r]; !ok {
			h.send(r, a, true)
		}
	}
	h.mine = next
}

func (h *host) send(r rt, a attrs, withdraw bool) {
	for _, p := range h.peers {
		if !h.down && !p.down {
			p.receive(h, r, a, withdraw)
		}
	}
}

// receive takes an update of a peer in and gives the table what it changes of
// the best path.
func (h *host) receive(from *host, r rt, a attrs, withdraw bool) {
	before := h.said(r)
	if delete(h.from[from], r); !withdraw {
		h.from[from][r] = a
	}
	b := route.Batch{Source: route.EVPN, Add: h.said(r)}
	for _, e := range before {
		b.Remove = append(b.Remove, e.Key)
	}
	h.apply(b)
}

// said returns what peers say of a route: of a MAC the best path (RFC 7432
// §15.1), of a prefix and a VTEP all of them.
func (h *host) said(r rt) (out []route.Entry) {
	var best attrs
	for _, p := range h.peers {
		a, ok := h.from[p][r]
		switch {
		case !ok:
		case r.typ != 2:
			out = append(out, r.entries(a)...)
		case !best.nextHop.IsValid() || a.sticky && !best.sticky || a.seq > best.seq:
			best = a // peers are in the order of their addresses
		}
	}
	if best.nextHop.IsValid() {
		out = r.entries(best)
	}
	return out
}

// resync is the end of the table after sessions came up again: what was not
// repeated is gone.
func (h *host) resync() {
	h.down = false
	all := map[rt]bool{}
	for _, p := range h.peers {
		h.from[p] = maps.Clone(p.mine)
		for r := range p.mine {
			all[r] = true
		}
	}
	b := route.Batch{Source: route.EVPN, Snapshot: true}
	for r := range all {
		b.Add = append(b.Add, h.said(r)...)
	}
	h.apply(b)
	for r, a := range h.mine {
		h.send(r, a, false)
	}
}

func (h *host) apply(b route.Batch) { h.follow(h.table.Apply(b)) }

func (h *host) follow(ds []route.Delta) {
	h.t.Helper()
	for _, d := range ds {
		if h.data[d.Entry.Key] != d.Old {
			h.t.Fatalf("%v: told %+v, had %+v", h.addr, d, h.data[d.Entry.Key])
		}
		if delete(h.data, d.Entry.Key); d.Op != route.Removed {
			h.data[d.Entry.Key] = d.Entry
		}
	}
}

func (h *host) hear(mac packet.MAC) {
	h.t.Helper()
	ds, ok := h.local.HearMAC(42, mac)
	if !ok {
		h.t.Fatalf("%v does not take %v", h.addr, mac)
	}
	h.follow(ds)
}

// at says where each host's data path has a MAC: at a host, or "-".
func at42(hosts []*host, mac packet.MAC) string {
	var out []string
	for _, h := range hosts {
		where := "-"
		if e, ok := h.data[route.MACKey(42, mac, route.VTEP{})]; ok {
			where = fmt.Sprintf("%v/%d", e.VTEP.Addr, e.Seq)
		}
		out = append(out, where)
	}
	return strings.Join(out, " ")
}

func advertisers(hosts []*host, mac packet.MAC) (n int) {
	for _, h := range hosts {
		if _, ok := h.mine[rt{typ: 2, vni: 42, mac: mac}]; ok {
			n++
		}
	}
	return n
}

func TestEVPNMobility(t *testing.T) {
	h := newHosts(t, 3)
	for _, step := range []struct {
		name string
		do   func()
		want string
	}{
		{"heard at 1", func() { h[0].hear(mac1) }, "- 192.0.2.1/0 192.0.2.1/0"},
		{"again: no news", func() { h[0].hear(mac1) }, "- 192.0.2.1/0 192.0.2.1/0"},
		{"moves to 2", func() { h[1].hear(mac1) }, "192.0.2.2/1 - 192.0.2.2/1"},
		{"and back", func() { h[0].hear(mac1) }, "- 192.0.2.1/2 192.0.2.1/2"},
		{"to 3", func() { h[2].hear(mac1) }, "192.0.2.3/3 192.0.2.3/3 -"},
		{"ages at 3", func() { h[2].follow(h[2].local.Forget(route.MACKey(42, mac1, route.VTEP{}))) }, "- - -"},
		{"is heard at 2 and 3 at once: the lower address has it", func() { h[2].hear(mac1); h[1].hear(mac1) }, "192.0.2.2/0 - 192.0.2.2/0"},
	} {
		step.do()
		settle(h)
		if got := at42(h, mac1); got != step.want {
			t.Fatalf("%s: %s, want %s", step.name, got, step.want)
		}
		if n := advertisers(h, mac1); n > 1 {
			t.Fatalf("%s: %d hosts advertise it", step.name, n)
		}
	}
}

func TestEVPNStickyMACDoesNotMove(t *testing.T) {
	h := newHosts(t, 2)
	h[1].apply(route.Batch{Source: route.EVPN, Add: rt{typ: 2, vni: 42, mac: mac1}.entries(attrs{nextHop: vtepA.Addr, sticky: true})})
	if _, ok := h[1].local.HearMAC(42, mac1); ok {
		t.Error("a sticky MAC moved")
	}
}

func TestEVPNRoutesOfEveryType(t *testing.T) {
	h := newHosts(t, 2)
	ip, prefix := netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.1.0.0/24")
	h[0].hear(mac1)
	ds, _ := h[0].local.HearNeighbor(42, ip, mac1)
	h[0].follow(append(ds, h[0].local.SetPrefixes(42, []netip.Prefix{prefix})...))
	settle(h)
	v := route.VTEP{Addr: h[0].addr, Port: 4789, VNI: 42}
	want := entries{}
	for _, e := range slices.Concat(
		rt{typ: 2, vni: 42, mac: mac1, ip: ip}.entries(attrs{nextHop: v.Addr}),
		rt{typ: 3, vni: 42}.entries(attrs{nextHop: v.Addr}),
		rt{typ: 5, vni: 42, prefix: prefix}.entries(attrs{nextHop: v.Addr, router: packet.MAC{2, 0xff}})) {
		e.Source, e.Attr = route.EVPN, "65000:42"
		want[e.Key] = e
	}
	if !maps.Equal(h[1].data, want) {
		t.Errorf("got %+v, want %+v", h[1].data, want)
	}
	h[0].follow(h[0].local.SetPrefixes(42, nil))
	h[0].follow(h[0].local.Forget(route.Key{Kind: route.Neighbor, VNI: 42, IP: ip}))
	h[0].local.SetSegments(nil)
	settle(h)
	if len(h[1].data) != 0 {
		t.Errorf("still there: %+v", h[1].data)
	}
}

// TestEVPNPeerDown has the sessions of a host go down: nothing is withdrawn.
// When they are up again, what changed meanwhile is put right in one event.
func TestEVPNPeerDown(t *testing.T) {
	h := newHosts(t, 3)
	h[0].hear(mac1)
	h[0].hear(mac2)
	settle(h)
	before := maps.Clone(h[2].data)
	h[2].down = true
	h[1].hear(mac1)                                                      // moves
	h[0].follow(h[0].local.Forget(route.MACKey(42, mac2, route.VTEP{}))) // goes
	settle(h)
	if !maps.Equal(before, h[2].data) {
		t.Fatal("what a source said last did not stay")
	}
	h[2].resync()
	settle(h)
	if got := at42(h, mac1) + ", " + at42(h, mac2); got != "192.0.2.2/1 - 192.0.2.2/1, - - -" {
		t.Error(got)
	}
}

// TestEVPNPrefixAtSeveralVTEPs has one prefix behind two hosts, and behind the
// third itself: nobody takes from a host what is behind it.
func TestEVPNPrefixAtSeveralVTEPs(t *testing.T) {
	h := newHosts(t, 3)
	prefix := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}
	key := route.PrefixEntry(42, prefix[0], route.VTEP{}, packet.MAC{}, route.Tunnel).Key
	h[0].follow(h[0].local.SetPrefixes(42, prefix))
	h[1].follow(h[1].local.SetPrefixes(42, prefix))
	settle(h)
	if n := len(h[2].table.Group(key)); n != 2 {
		t.Errorf("%d VTEPs, want 2", n)
	}
	if n := len(h[0].table.Group(key)); n != 0 {
		t.Errorf("a prefix of our own is behind %d VTEPs", n)
	}
	h[2].follow(h[2].local.SetPrefixes(42, prefix))
	if n := len(h[2].table.Group(key)); n != 0 {
		t.Errorf("a prefix of our own is behind %d VTEPs", n)
	}
	h[2].follow(h[2].local.SetPrefixes(42, nil))
	if n := len(h[2].table.Group(key)); n != 2 {
		t.Errorf("%d VTEPs, want 2 again", n)
	}
}
