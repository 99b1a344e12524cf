package route_test

import (
	"maps"
	"net/netip"
	"sync"
	"testing"

	"vtepd/encap/packet"
	"vtepd/route"
)

// TestManySourcesAndSubscribers has every source talk at once while subscribers
// follow at their pace. In the end each knows what is in force.
func TestManySourcesAndSubscribers(t *testing.T) {
	const rounds, prefixes = 300, 40
	table := route.NewTable(route.Flannel, route.EVPN, route.Kube)
	local := route.NewLocal(table, 10)
	local.SetSegments([]route.Segment{{VNI: 42, V4: vtepB.Addr, Port: 4789}})
	stop := make(chan struct{})
	var sources, subscribers sync.WaitGroup

	follow := func(changed <-chan struct{}, next func() route.Update, has entries) {
		update := func() {
			u := next()
			if u.Resync {
				clear(has)
			}
			for _, d := range u.Deltas {
				if has[d.Entry.Key] != d.Old {
					t.Errorf("told %+v, had %+v", d, has[d.Entry.Key])
				}
				if delete(has, d.Entry.Key); d.Op != route.Removed {
					has[d.Entry.Key] = d.Entry
				}
			}
		}
		for {
			select {
			case <-changed:
				update()
			case <-stop:
				update()
				return
			}
		}
	}
	known := make([]entries, 4)
	for i, limit := range []int{0, 5, 10000} {
		s := table.Subscribe(limit)
		known[i] = entries{}
		subscribers.Go(func() { follow(s.Changed(), s.Next, known[i]); s.Close() })
	}
	up := local.Subscribe(5)
	known[3] = entries{}
	subscribers.Go(func() {
		follow(up.Changed(), func() route.Update { return up.Next().Update }, known[3])
		up.Close()
	})

	for n, s := range []route.Source{route.Config, route.Operator, route.Flannel, route.EVPN, route.Kube} {
		sources.Go(func() {
			for i := range rounds {
				b := route.Batch{Source: s, Snapshot: i%10 == 0}
				v := route.VTEP{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 7)}), Port: 4789, VNI: 42}
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte((i*7 + n) % prefixes)}), 16)
				m := route.MACEntry(42, packet.MAC{2, 0, 0, 0, 0, byte(i % 20)}, v, route.Static)
				m.Seq = uint32(i)
				b.Add = []route.Entry{route.PrefixEntry(42, p, v, mac1, route.Tunnel), m}
				if !b.Snapshot && i%3 == 0 {
					b.Add, b.Remove = nil, []route.Key{b.Add[0].Key, m.Key}
				}
				table.Apply(b)
				table.Group(m.Key)
			}
		})
	}
	sources.Go(func() {
		for i := range rounds {
			mac := packet.MAC{2, 0, 0, 0, 0, byte(i % 25)}
			local.HearMAC(42, mac)
			if i%4 == 0 {
				local.Forget(route.MACKey(42, mac, route.VTEP{}))
			}
			local.SetSegments([]route.Segment{{VNI: 42, V4: vtepB.Addr, Port: 4789, MTU: 1400 + i%2}})
		}
	})
	sources.Wait()
	close(stop)
	subscribers.Wait()

	want := entries{}
	for _, e := range table.Select(func(route.Key) bool { return true }) {
		want[e.Key] = e
	}
	for i, has := range known[:3] {
		if !maps.Equal(has, want) {
			t.Errorf("subscriber %d has %d entries, want %d", i, len(has), len(want))
		}
	}
	if len(known[3]) > 10 {
		t.Errorf("%d stations, more than 10", len(known[3]))
	}
}
