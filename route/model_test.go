package route_test

import (
	"maps"
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"vtepd/encap/packet"
	"vtepd/route"
)

// ranking is the order of sources that the model's table is made with.
var ranking = []route.Source{route.Operator, route.Config, route.Here, route.EVPN, route.Flannel, route.Kube}

// thing is what sources compete for.
type thing struct {
	kind   route.Kind
	vni    uint32
	vtep   route.VTEP // of a RemoteVTEP
	mac    packet.MAC
	ip     netip.Addr
	prefix netip.Prefix
}

func thingOf(k route.Key) thing {
	t := thing{kind: k.Kind, vni: k.VNI, mac: k.MAC, ip: k.IP, prefix: k.Prefix}
	if k.Kind == route.RemoteVTEP {
		t.vtep = k.VTEP
	}
	return t
}

type entries = map[route.Key]route.Entry

// model is what a table is: what each source says, and a rule of who is right.
type model map[route.Source]entries

func (m model) apply(b route.Batch) {
	set := m[b.Source]
	if set == nil || b.Snapshot {
		set = entries{}
		m[b.Source] = set
	}
	for _, k := range b.Remove {
		delete(set, k)
	}
	for _, e := range b.Add {
		e.Source = b.Source
		set[e.Key] = e
	}
	for k, here := range m[route.Here] {
		for _, s := range ranking[3:] { // control planes
			if there, ok := m[s][k]; ok {
				if movedAway(here, there) {
					delete(m[route.Here], k)
				}
				break
			}
		}
	}
}

// movedAway is RFC 7432 §15.1 and §15.2 for one of ours and one of others.
func movedAway(here, there route.Entry) bool {
	switch {
	case here.Key.Kind == route.Prefix || here.Key.Kind == route.RemoteVTEP:
		return false
	case there.Sticky != here.Sticky:
		return there.Sticky
	case there.Seq == here.Seq:
		return there.VTEP.Addr.Less(here.VTEP.Addr)
	}
	return there.Seq > here.Seq
}

// best returns what is in force, elsewhere or here.
func (m model) best(here bool) entries {
	out, taken := entries{}, map[thing]bool{}
	for _, s := range ranking {
		said := map[thing]bool{}
		for k, e := range m[s] {
			if t := thingOf(k); !taken[t] {
				said[t] = true
				if (s == route.Here) == here {
					out[k] = e
				}
			}
		}
		maps.Copy(taken, said)
	}
	return out
}

// A follower knows what deltas told it.
type follower struct {
	name string
	has  entries
}

func (f *follower) follow(t *rapid.T, deltas []route.Delta) {
	removing := true
	for _, d := range deltas {
		if d.Op != route.Removed {
			removing = false
		} else if !removing {
			t.Fatalf("%s: a removal after something else: %+v", f.name, deltas)
		}
		old, had := f.has[d.Entry.Key]
		if had != (d.Op != route.Added) || old != d.Old {
			t.Fatalf("%s: told %+v, had %+v (%v)", f.name, d, old, had)
		}
		switch {
		case d.Op == route.Removed && d.Entry != d.Old, d.Op == route.Replaced && d.Entry == d.Old:
			t.Fatalf("%s: %+v is no change", f.name, d)
		case d.Op == route.Removed:
			delete(f.has, d.Entry.Key)
		default:
			f.has[d.Entry.Key] = d.Entry
		}
	}
}

func (f *follower) update(t *rapid.T, u route.Update) {
	if u.Resync {
		f.has = entries{}
	}
	f.follow(t, u.Deltas)
}

func (f *follower) check(t *rapid.T, want entries, kinds ...route.Kind) {
	want = maps.Clone(want)
	maps.DeleteFunc(want, func(k route.Key, _ route.Entry) bool { return len(kinds) > 0 && !slices.Contains(kinds, k.Kind) })
	if !maps.Equal(f.has, want) {
		t.Fatalf("%s has %+v, want %+v", f.name, f.has, want)
	}
}

func drawEntry(t *rapid.T) route.Entry {
	vteps := []route.VTEP{vtepA, vtepB, {Addr: netip.MustParseAddr("2001:db8::1"), Port: 4789, VNI: 42}}
	v := rapid.SampledFrom(vteps).Draw(t, "vtep")
	vni := rapid.SampledFrom([]uint32{42, 43}).Draw(t, "vni")
	n := rapid.ByteRange(1, 2).Draw(t, "n")
	var e route.Entry
	switch rapid.SampledFrom([]string{"vtep", "mac", "group", "neighbor", "prefix"}).Draw(t, "what") {
	case "vtep":
		e = route.RemoteEntry(vni, v)
	case "mac":
		e = route.MACEntry(vni, packet.MAC{2, 0, 0, 0, 0, n}, v, route.Static)
	case "group":
		e = route.MACEntry(vni, packet.MAC{1, 0, 0x5e, 0, 0, n}, v, route.Static)
	case "neighbor":
		e = route.NeighborEntry(vni, netip.AddrFrom4([4]byte{10, 0, 0, n}), packet.MAC{2, 0, 0, 0, 0, 1})
		e.VTEP = v
	case "prefix":
		e = route.PrefixEntry(vni, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n}), 16), v, packet.MAC{2, 0, 0, 0, 0, n}, route.Tunnel)
	}
	if e.Key.Kind == route.MAC && !e.Key.MAC.IsMulticast() || e.Key.Kind == route.Neighbor {
		e.Seq = rapid.SampledFrom([]uint32{0, 1, 2, math.MaxUint32}).Draw(t, "seq")
		e.Sticky = rapid.IntRange(0, 4).Draw(t, "sticky") == 0
	}
	e.Attr = rapid.SampledFrom([]route.Attr{"", "a", "b"}).Draw(t, "attr")
	return e
}

func drawBatch(t *rapid.T) route.Batch {
	b := route.Batch{Source: rapid.SampledFrom(ranking).Draw(t, "source"), Snapshot: rapid.IntRange(0, 3).Draw(t, "snapshot") == 0}
	b.Add = rapid.SliceOfN(rapid.Custom(drawEntry), 0, 6).Draw(t, "add")
	if !b.Snapshot {
		for _, e := range rapid.SliceOfN(rapid.Custom(drawEntry), 0, 4).Draw(t, "remove") {
			b.Remove = append(b.Remove, e.Key)
		}
	}
	return b
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, m := route.NewTable(route.EVPN, route.Flannel), model{}
		data := follower{"the data path", entries{}}
		subs := []struct {
			follower
			sub   *route.Subscription
			kinds []route.Kind
		}{
			{follower{name: "quick"}, table.Subscribe(1000), nil},
			{follower{name: "slow"}, table.Subscribe(3), nil},
			{follower{name: "by level"}, table.Subscribe(0), nil},
			{follower{name: "prefixes"}, table.Subscribe(1000, route.Prefix), []route.Kind{route.Prefix}},
		}
		up := follower{name: "up"}
		local := route.NewLocal(table, 3)
		local.SetSegments([]route.Segment{{VNI: 42, V4: vtepB.Addr, Port: 4789}})
		upSub := local.Subscribe(3)
		defer upSub.Close()
		t.Repeat(map[string]func(*rapid.T){
			"batch": func(t *rapid.T) {
				b := drawBatch(t)
				m.apply(b)
				data.follow(t, table.Apply(b))
			},
			"hear": func(t *rapid.T) {
				mac := packet.MAC{2, 0, 0, 0, 0, rapid.ByteRange(1, 2).Draw(t, "n")}
				want, ok := m.hear(42, mac)
				deltas, took := local.HearMAC(42, mac)
				if took != ok {
					t.Fatalf("HearMAC(%v) = %v, want %v", mac, took, ok)
				}
				if ok {
					m.apply(route.Batch{Source: route.Here, Add: []route.Entry{want}})
				}
				data.follow(t, deltas)
			},
			"remove vni": func(t *rapid.T) {
				s := rapid.SampledFrom(ranking).Draw(t, "source")
				b := route.Batch{Source: s}
				for k := range m[s] {
					if k.VNI == 42 {
						b.Remove = append(b.Remove, k)
					}
				}
				m.apply(b)
				data.follow(t, table.RemoveVNI(s, 42))
			},
			"poll": func(t *rapid.T) {
				for i := range subs {
					if f := &subs[i]; rapid.Bool().Draw(t, f.name) {
						f.update(t, f.sub.Next())
					}
				}
				if rapid.Bool().Draw(t, "up") {
					up.update(t, upSub.Next().Update)
				}
			},
			"": func(t *rapid.T) { checkTable(t, table, m, &data) },
		})
		for i := range subs {
			f := &subs[i]
			f.update(t, f.sub.Next())
			f.check(t, m.best(false), f.kinds...)
			f.sub.Close()
		}
		up.update(t, upSub.Next().Update)
		up.check(t, m.best(true))
	})
}

// hear is what becomes of a MAC that is heard on our port.
func (m model) hear(vni uint32, mac packet.MAC) (route.Entry, bool) {
	e := route.MACEntry(vni, mac, vtepB, route.Dynamic)
	if old, ok := m[route.Here][e.Key]; ok {
		e.Seq = old.Seq
	} else if stations := slices.Collect(maps.Keys(m[route.Here])); len(slices.DeleteFunc(stations, func(k route.Key) bool { return k.Kind == route.Prefix })) >= 3 {
		return e, false
	}
	if other, ok := m.best(false)[e.Key]; ok {
		if other.Source == route.Operator || other.Source == route.Config || other.Sticky || other.Seq == math.MaxUint32 {
			return e, false
		}
		e.Seq = other.Seq + 1
	}
	return e, true
}

func checkTable(t *rapid.T, table *route.Table, m model, data *follower) {
	want := m.best(false)
	data.check(t, want)
	selected := follower{"Select", entries{}}
	for _, e := range table.Select(func(route.Key) bool { return true }) {
		selected.has[e.Key] = e
	}
	selected.check(t, want)
	segment := follower{"Segment", entries{}}
	for _, e := range append(table.Segment(42), table.Segment(43)...) {
		segment.has[e.Key] = e
	}
	segment.check(t, want)
	for s, set := range m {
		for k := range set {
			e, ok := table.Get(k)
			if w, has := want[k]; ok != has || e != w || !table.Has(s, k) {
				t.Fatalf("Get(%+v) = %+v, want %+v; Has %v", k, e, w, table.Has(s, k))
			}
			var all int
			for other := range want {
				if thingOf(other) == thingOf(k) {
					all++
				}
			}
			if got := len(table.Group(k)); got != all {
				t.Fatalf("%d entries in the group of %+v, want %d", got, k, all)
			}
		}
	}
}
