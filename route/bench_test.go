package route_test

import (
	"net/netip"
	"testing"

	"vtepd/encap/packet"
	"vtepd/route"
)

// nets are n prefixes, each behind a VTEP of its own.
func nets(n int) []route.Entry {
	out := make([]route.Entry, 0, n)
	for i := range n {
		v := route.VTEP{Addr: netip.AddrFrom4([4]byte{172, byte(i >> 16), byte(i >> 8), byte(i)}), Port: 8472, VNI: 1}
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24)
		out = append(out, route.PrefixEntry(1, p, v, packet.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, route.Tunnel))
	}
	return out
}

// BenchmarkSnapshot5000 takes in the leases of a large network, and again what
// a watch that starts over repeats of them.
func BenchmarkSnapshot5000(b *testing.B) {
	batch := route.Batch{Source: route.Flannel, Snapshot: true, Add: nets(5000)}
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			route.NewTable(route.Flannel).Apply(batch)
		}
	})
	b.Run("again", func(b *testing.B) {
		t := route.NewTable(route.Flannel)
		t.Apply(batch)
		for b.Loop() {
			t.Apply(batch)
		}
	})
}

// BenchmarkChange changes one prefix among many: the cost does not grow with
// the table.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{1000, 200000} {
		b.Run(map[int]string{1000: "among 1000", 200000: "among 200000"}[n], func(b *testing.B) {
			all := nets(n)
			t := route.NewTable(route.Flannel)
			t.Apply(route.Batch{Source: route.Flannel, Add: all})
			i := 0
			for b.Loop() {
				e := all[i%n]
				e.MAC = mac1
				e.Seq = uint32(i)
				t.Apply(route.Batch{Source: route.Flannel, Add: []route.Entry{e}})
				i++
			}
		})
	}
}
