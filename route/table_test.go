package route_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/route/static"
)

var (
	vtepA = route.VTEP{Addr: netip.MustParseAddr("192.0.2.1"), Port: 4789, VNI: 42}
	vtepB = route.VTEP{Addr: netip.MustParseAddr("192.0.2.2"), Port: 4789, VNI: 42}
	mac1  = packet.MAC{2, 0, 0, 0, 0, 1}
	mac2  = packet.MAC{2, 0, 0, 0, 0, 2}
	group = packet.MAC{1, 0, 0x5e, 0, 0, 1}
)

func at(v route.VTEP) route.Entry { return route.MACEntry(42, mac1, v, route.Permanent) }

func member(v route.VTEP) route.Entry { return route.RemoteEntry(42, v) }

// net is 10.1.0.0/24 behind a VTEP with a router of the given MAC.
func net(v route.VTEP, router packet.MAC) route.Entry {
	return route.PrefixEntry(42, netip.MustParsePrefix("10.1.0.0/24"), v, router, route.Tunnel)
}

func add(s route.Source, es ...route.Entry) route.Batch { return route.Batch{Source: s, Add: es} }

func snapshot(es ...route.Entry) route.Batch {
	return route.Batch{Source: route.Config, Snapshot: true, Add: es}
}

func del(s route.Source, es ...route.Entry) route.Batch {
	b := route.Batch{Source: s}
	for _, e := range es {
		b.Remove = append(b.Remove, e.Key)
	}
	return b
}

func from(s route.Source, e route.Entry) route.Entry {
	e.Source = s
	return e
}

func TestTable(t *testing.T) {
	type step struct {
		batch route.Batch
		want  []route.Delta
	}
	config, operator, flannel := route.Config, route.Operator, route.Flannel
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"what is new is added, once", []step{
			{add(config, at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
			{add(config, at(vtepA)), nil},
		}},
		{"the operator's entry replaces the file's, and gives it back", []step{
			{add(config, at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
			{add(operator, at(vtepB)), []route.Delta{{Op: route.Replaced, Old: from(config, at(vtepA)), Entry: from(operator, at(vtepB))}}},
			{del(operator, at(vtepB)), []route.Delta{{Op: route.Replaced, Old: from(operator, at(vtepB)), Entry: from(config, at(vtepA))}}},
		}},
		{"a change of the file under an operator's entry is not seen", []step{
			{add(operator, at(vtepB)), []route.Delta{{Op: route.Added, Entry: from(operator, at(vtepB))}}},
			{snapshot(at(vtepA)), nil},
			{snapshot(), nil},
		}},
		{"after a snapshot what was not repeated goes away", []step{
			{snapshot(at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
			{snapshot(), []route.Delta{{Op: route.Removed, Old: from(config, at(vtepA)), Entry: from(config, at(vtepA))}}},
		}},
		{"what is deleted of the file holds until its next snapshot", []step{
			{snapshot(at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
			{del(config, at(vtepA)), []route.Delta{{Op: route.Removed, Old: from(config, at(vtepA)), Entry: from(config, at(vtepA))}}},
			{snapshot(at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
		}},
		{"removing what is not there is nothing", []step{{del(operator, at(vtepA)), nil}}},
		{"what is removed and added at once is replaced", []step{
			{add(flannel, at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(flannel, at(vtepA))}}},
			{route.Batch{Source: flannel, Remove: []route.Key{at(vtepA).Key}, Add: []route.Entry{at(vtepB)}},
				[]route.Delta{{Op: route.Replaced, Old: from(flannel, at(vtepA)), Entry: from(flannel, at(vtepB))}}},
		}},
		{"a prefix that moves to another VTEP takes its old state with it", []step{
			{add(flannel, net(vtepA, mac1)), []route.Delta{{Op: route.Added, Entry: from(flannel, net(vtepA, mac1))}}},
			{route.Batch{Source: flannel, Snapshot: true, Add: []route.Entry{net(vtepB, mac1)}}, []route.Delta{
				{Op: route.Removed, Old: from(flannel, net(vtepA, mac1)), Entry: from(flannel, net(vtepA, mac1))},
				{Op: route.Added, Entry: from(flannel, net(vtepB, mac1))}}},
		}},
		{"another router MAC of the same VTEP tells the old one", []step{
			{add(flannel, net(vtepA, mac1)), []route.Delta{{Op: route.Added, Entry: from(flannel, net(vtepA, mac1))}}},
			{add(flannel, net(vtepA, mac2)), []route.Delta{
				{Op: route.Replaced, Old: from(flannel, net(vtepA, mac1)), Entry: from(flannel, net(vtepA, mac2))}}},
		}},
		{"sources compete for a prefix as a whole", []step{
			{add(flannel, net(vtepA, mac1), net(vtepB, mac2)), []route.Delta{
				{Op: route.Added, Entry: from(flannel, net(vtepA, mac1))},
				{Op: route.Added, Entry: from(flannel, net(vtepB, mac2))}}},
			{add(operator, net(vtepB, mac1)), []route.Delta{
				{Op: route.Removed, Old: from(flannel, net(vtepA, mac1)), Entry: from(flannel, net(vtepA, mac1))},
				{Op: route.Replaced, Old: from(flannel, net(vtepB, mac2)), Entry: from(operator, net(vtepB, mac1))}}},
			{add(flannel), nil},
			{del(operator, net(vtepB, mac1)), []route.Delta{
				{Op: route.Added, Entry: from(flannel, net(vtepA, mac1))},
				{Op: route.Replaced, Old: from(operator, net(vtepB, mac1)), Entry: from(flannel, net(vtepB, mac2))}}},
		}},
		{"a flood list is what all sources say together", []step{
			{add(config, member(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, member(vtepA))}}},
			{add(flannel, member(vtepB)), []route.Delta{{Op: route.Added, Entry: from(flannel, member(vtepB))}}},
		}},
		{"control planes rank in the order they were given", []step{
			{add(route.Kube, at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(route.Kube, at(vtepA))}}},
			{add(flannel, at(vtepB)), []route.Delta{{Op: route.Replaced, Old: from(route.Kube, at(vtepA)), Entry: from(flannel, at(vtepB))}}},
			{add(route.EVPN, at(vtepA)), []route.Delta{{Op: route.Replaced, Old: from(flannel, at(vtepB)), Entry: from(route.EVPN, at(vtepA))}}},
			{add(route.Source(77), at(vtepB)), nil},
		}},
		{"an empty snapshot takes a source out, and the next one comes in force", []step{
			{add(flannel, at(vtepB)), []route.Delta{{Op: route.Added, Entry: from(flannel, at(vtepB))}}},
			{add(route.EVPN, at(vtepA)), []route.Delta{{Op: route.Replaced, Old: from(flannel, at(vtepB)), Entry: from(route.EVPN, at(vtepA))}}},
			{route.Batch{Source: route.EVPN, Snapshot: true}, []route.Delta{{Op: route.Replaced, Old: from(route.EVPN, at(vtepA)), Entry: from(flannel, at(vtepB))}}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := route.NewTable(route.EVPN, route.Flannel, route.Kube)
			for i, s := range c.steps {
				if diff := cmp.Diff(s.want, table.Apply(s.batch), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
					t.Fatalf("step %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestMulticastMACHasAnEntryAVTEP(t *testing.T) {
	table := route.NewTable()
	table.Apply(add(route.Config, route.MACEntry(42, group, vtepA, route.Permanent), route.MACEntry(42, group, vtepB, route.Permanent)))
	if n := len(table.Select(func(k route.Key) bool { return k.MAC == group })); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

func TestRemoveVNITakesOutWhatOneSourceSays(t *testing.T) {
	table := route.NewTable()
	other := route.MACEntry(43, mac1, vtepA, route.Permanent)
	table.Apply(add(route.Operator, at(vtepA), other))
	table.Apply(add(route.Flannel, at(vtepB)))
	want := []route.Delta{{Op: route.Replaced, Old: from(route.Operator, at(vtepA)), Entry: from(route.Flannel, at(vtepB))}}
	if diff := cmp.Diff(want, table.RemoveVNI(route.Operator, 42), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, ok := table.Get(other.Key); !ok {
		t.Error("the entry of another segment went with it")
	}
}

func TestStaticSnapshot(t *testing.T) {
	b := static.Snapshot([]static.Segment{{VNI: 42, Remotes: []route.VTEP{vtepA},
		MACs:       []static.MAC{{MAC: mac1, VTEP: vtepA}},
		Neighbours: []static.Neighbour{{IP: netip.MustParseAddr("10.0.0.1"), MAC: mac1}}}})
	table := route.NewTable()
	if got := len(table.Apply(b)); got != 3 || !b.Snapshot {
		t.Errorf("%d deltas, snapshot %v", got, b.Snapshot)
	}
}
