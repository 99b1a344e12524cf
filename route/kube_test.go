package route_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"vtepd/encap/packet"
	"vtepd/route"
)

// This file plays a Kubernetes source: list, watch, and list again when the
// watch was cut off (410 Gone).

// A node is what the source takes from a Node object, dual stack or not.
type node struct {
	name   string
	ip     string
	cidrs  []string
	router packet.MAC
}

// A lister keeps what it said of each object: an event of the watch has the
// new object only, and what the old one said goes with it.
type lister struct {
	said map[string][]route.Entry
}

func (n *node) entries() (out []route.Entry) {
	v := route.VTEP{Addr: netip.MustParseAddr(n.ip), Port: 8472, VNI: 1}
	for _, c := range n.cidrs {
		e := route.PrefixEntry(1, netip.MustParsePrefix(c), v, n.router, route.OnLink)
		e.Attr = route.Attr(n.name)
		out = append(out, e)
	}
	return out
}

func (l *lister) list(nodes ...node) route.Batch {
	l.said = map[string][]route.Entry{}
	b := route.Batch{Source: route.Kube, Snapshot: true}
	for _, n := range nodes {
		l.said[n.name] = n.entries()
		b.Add = append(b.Add, l.said[n.name]...)
	}
	return b
}

func (l *lister) event(n node, deleted bool) route.Batch {
	b := route.Batch{Source: route.Kube}
	for _, e := range l.said[n.name] {
		b.Remove = append(b.Remove, e.Key)
	}
	delete(l.said, n.name)
	if !deleted {
		l.said[n.name] = n.entries()
		b.Add = l.said[n.name]
	}
	return b
}

func TestKubernetesListAndWatch(t *testing.T) {
	n1 := node{"n1", "192.0.2.1", []string{"10.244.1.0/24", "2001:db8:1::/64"}, mac1}
	n2 := node{"n2", "192.0.2.2", []string{"10.244.2.0/24"}, mac2}
	moved := node{"n1", "192.0.2.3", n1.cidrs, mac1}
	remade := node{"n2", n2.ip, n2.cidrs, mac1}
	n3 := node{"n3", "192.0.2.4", []string{"10.244.2.0/24"}, mac2}
	l, table := new(lister), route.NewTable(route.Flannel, route.Kube)
	count := func(ds []route.Delta) (n [3]int) {
		for _, d := range ds {
			n[d.Op]++
		}
		return n
	}
	for _, step := range []struct {
		name                     string
		batch                    func() route.Batch
		added, replaced, removed int
		nodes                    []node
	}{
		{"list", func() route.Batch { return l.list(n1, n2) }, 3, 0, 0, []node{n1, n2}},
		{"a modified event without a change for us", func() route.Batch { return l.event(n1, false) }, 0, 0, 0, []node{n1, n2}},
		{"another address of the node", func() route.Batch { return l.event(moved, false) }, 2, 0, 2, []node{moved, n2}},
		{"another MAC", func() route.Batch { return l.event(remade, false) }, 0, 1, 0, []node{moved, remade}},
		{"deleted", func() route.Batch { return l.event(moved, true) }, 0, 0, 2, []node{remade}},
		{"list again, with what the watch missed", func() route.Batch { return l.list(n1, n3) }, 3, 0, 1, []node{n1, n3}},
		{"the source is removed from the configuration", func() route.Batch { return l.list() }, 0, 0, 3, nil},
	} {
		ds := table.Apply(step.batch())
		if got, want := count(ds), [3]int{step.added, step.replaced, step.removed}; got != want {
			t.Errorf("%s: %d added, replaced, removed, want %d", step.name, got, want)
		}
		want, got := entries{}, entries{}
		for _, n := range step.nodes {
			for _, e := range n.entries() {
				e.Source = route.Kube
				want[e.Key] = e
			}
		}
		for _, e := range table.Segment(1) {
			got[e.Key] = e
		}
		if !maps.Equal(want, got) {
			t.Errorf("%s: have %+v, want %+v", step.name, slices.Collect(maps.Values(got)), slices.Collect(maps.Values(want)))
		}
	}
}
