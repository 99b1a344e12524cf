package flannel

import (
	"testing"
	"time"

	"vtepd/route"
)

// TestKept: what only the store of before had stays in force until its node is
// back, its subnet is somebody else's, it is deleted, or its time is over.
func TestKept(t *testing.T) {
	const (
		one, two     = "10.244.1.0/24 via 192.0.2.1 02:00:00:00:00:01", "10.244.2.0/24 via 192.0.2.2 02:00:00:00:00:02"
		both         = one + "\n" + two
		first        = "10.244.1.0-24"
		oneIP, oneHW = "192.0.2.1", "02:00:00:00:00:01"
	)
	until := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name string
		then func(b *book)
		want string
	}{
		{"nothing happens", func(*book) {}, both},
		{"another listing", func(b *book) { b.reset(nil, "", time.Time{}) }, both},
		{"another store again does not prolong it", func(b *book) {
			b.reset(nil, "", until.Add(time.Hour))
			b.expire(until.Add(time.Second))
		}, ""},
		{"before its time", func(b *book) { b.expire(until.Add(-time.Second)) }, both},
		{"its time is over", func(b *book) { b.expire(until.Add(time.Second)) }, ""},
		{"it is written again", func(b *book) {
			b.put(record(3, first, vxlanValue(oneIP, oneHW)))
			b.expire(until.Add(time.Second))
		}, one},
		{"it is written again and deleted", func(b *book) {
			b.put(record(3, first, vxlanValue(oneIP, oneHW)))
			b.remove(first)
		}, two},
		{"its node has another subnet", func(b *book) { b.put(record(3, "10.244.9.0-24", vxlanValue(oneIP, oneHW))) },
			two + "\n10.244.9.0/24 via 192.0.2.1 02:00:00:00:00:01"},
		{"the listing has it with another subnet", func(b *book) {
			b.reset([]Record{record(3, "10.244.9.0-24", vxlanValue(oneIP, oneHW))}, "", until)
		}, two + "\n10.244.9.0/24 via 192.0.2.1 02:00:00:00:00:01"},
		{"somebody else has its subnet", func(b *book) { b.put(record(3, first, vxlanValue("192.0.2.9", "02:00:00:00:00:09"))) },
			"10.244.1.0/24 via 192.0.2.9 02:00:00:00:00:09\n" + two},
		{"somebody else has addresses of it", func(b *book) {
			b.put(record(3, "10.244.1.0-25", vxlanValue("192.0.2.9", "02:00:00:00:00:09")))
			b.remove("10.244.1.0-25")
		}, two},
		{"we have its subnet", func(b *book) { b.setOwn(subnet(t, first), first) }, two},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook(network(t, net16), Node{})
			b.put(record(1, first, vxlanValue(oneIP, oneHW)))
			b.put(record(2, "10.244.2.0-24", vxlanValue("192.0.2.2", "02:00:00:00:00:02")))
			b.put(record(2, "10.244.2.0-25", vxlanValue("192.0.2.5", "02:00:00:00:00:02"))) // refused, and not kept
			b.reset(nil, "", until)
			c.then(b)
			table := route.NewTable()
			table.Apply(b.snapshot())
			if got := inForce(t, table); got != c.want {
				t.Errorf("in force:\n%s\nwant:\n%s", got, c.want)
			}
			if len(b.refused)+len(b.blocked) != 0 {
				t.Errorf("refused %v, blocked %v", b.refused, b.blocked)
			}
			for ip, p := range b.kept {
				if b.peers[p.key] != p || p.attrs.nodeIP() != ip {
					t.Errorf("kept %v: %+v", ip, p)
				}
			}
		})
	}
}

// TestKeptOfOneNode: of a node with two leases, as after it moved, the newer is
// kept, and the count is that of the store.
func TestKeptOfOneNode(t *testing.T) {
	for range 20 { // whatever the order of a map
		b := newBook(network(t, net16), Node{})
		b.put(record(1, "10.244.1.0-24", vxlanValue("192.0.2.1", "02:00:00:00:00:01")))
		b.put(record(2, "10.244.2.0-24", vxlanValue("192.0.2.1", "02:00:00:00:00:02")))
		b.reset(nil, "", time.Now().Add(time.Hour))
		table := route.NewTable()
		table.Apply(b.snapshot())
		if got := inForce(t, table); got != "10.244.2.0/24 via 192.0.2.1 02:00:00:00:00:02" || b.count() != 0 {
			t.Fatalf("%s, %d in the store", got, b.count())
		}
	}
}
