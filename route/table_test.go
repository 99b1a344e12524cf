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
	group = packet.MAC{1, 0, 0x5e, 0, 0, 1}
)

func at(v route.VTEP) route.Entry { return route.MACEntry(42, mac1, v, route.Permanent) }

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
	config, operator := route.Config, route.Operator
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
			{add(operator, at(vtepB)), []route.Delta{{Op: route.Replaced, Entry: from(operator, at(vtepB))}}},
			{del(operator, at(vtepB)), []route.Delta{{Op: route.Replaced, Entry: from(config, at(vtepA))}}},
		}},
		{"a change of the file under an operator's entry is not seen", []step{
			{add(operator, at(vtepB)), []route.Delta{{Op: route.Added, Entry: from(operator, at(vtepB))}}},
			{snapshot(at(vtepA)), nil},
			{snapshot(), nil},
		}},
		{"after a snapshot what was not repeated goes away", []step{
			{snapshot(at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
			{snapshot(), []route.Delta{{Op: route.Removed, Entry: from(config, at(vtepA))}}},
		}},
		{"what is deleted of the file holds until its next snapshot", []step{
			{snapshot(at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
			{del(config, at(vtepA)), []route.Delta{{Op: route.Removed, Entry: from(config, at(vtepA))}}},
			{snapshot(at(vtepA)), []route.Delta{{Op: route.Added, Entry: from(config, at(vtepA))}}},
		}},
		{"removing what is not there is nothing", []step{{del(operator, at(vtepA)), nil}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := route.NewTable()
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

func TestRemoveVNI(t *testing.T) {
	table := route.NewTable()
	table.Apply(add(route.Operator, at(vtepA)))
	table.Apply(add(route.Config, at(vtepB)))
	table.RemoveVNI(42)
	if _, ok := table.Get(at(vtepA).Key); ok {
		t.Error("the entry is still there")
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
