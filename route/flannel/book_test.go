package flannel

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"vtepd/route"
)

// vxlanValue is a lease's value.
func vxlanValue(ip, mac string) string {
	return fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":%q}}`, ip, mac)
}

func record(revision int64, key, value string) Record {
	return Record{Key: key, Value: []byte(value), Size: len(value), Created: revision, Modified: revision}
}

// inForce is what a table fed with the batches has, as PREFIX via VTEP MAC.
func inForce(t testing.TB, table *route.Table) string {
	t.Helper()
	var out []string
	for _, e := range table.Select(func(k route.Key) bool { return k.Kind == route.Prefix }) {
		out = append(out, fmt.Sprintf("%v via %v %v", e.Key.Prefix, e.VTEP.Addr, e.MAC))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

const net16 = `{"Network":"10.244.0.0/16"` + vxlan

// TestBook plays what happens to leases and looks at what is in force after
// each step: by changes, and by a snapshot.
func TestBook(t *testing.T) {
	type step struct {
		put    []Record
		remove string
		want   string // in force after it
		says   string // the refusals, REASON KEY
	}
	const a, b = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
	tests := []struct {
		name  string
		steps []step
	}{
		{"comes and goes", []step{
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", a))}, want: "10.244.1.0/24 via 192.0.2.1 " + a},
			{put: []Record{record(3, "10.244.2.0-24", vxlanValue("192.0.2.2", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a + "\n10.244.2.0/24 via 192.0.2.2 " + b},
			{remove: "10.244.1.0-24", want: "10.244.2.0/24 via 192.0.2.2 " + b},
			{remove: "10.244.1.0-24", want: "10.244.2.0/24 via 192.0.2.2 " + b},
		}},
		{"another MAC", []step{
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", a))}, want: "10.244.1.0/24 via 192.0.2.1 " + a},
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + b},
		}},
		{"another address", []step{
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", a))}, want: "10.244.1.0/24 via 192.0.2.1 " + a},
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.9", a))}, want: "10.244.1.0/24 via 192.0.2.9 " + a},
		}},
		{"becomes bad and good again", []step{
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", a))}, want: "10.244.1.0/24 via 192.0.2.1 " + a},
			{put: []Record{record(2, "10.244.1.0-24", "not json")}, says: "value 10.244.1.0-24"},
			{put: []Record{record(2, "10.244.1.0-24", "not json")}}, // said once
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", a))}, want: "10.244.1.0/24 via 192.0.2.1 " + a},
		}},
		{"the older of two that overlap", []step{
			{put: []Record{record(2, "10.244.2.0-23", vxlanValue("192.0.2.1", a))}, want: "10.244.2.0/23 via 192.0.2.1 " + a},
			{put: []Record{record(3, "10.244.3.0-24", vxlanValue("192.0.2.2", b))}, want: "10.244.2.0/23 via 192.0.2.1 " + a, says: "overlap 10.244.3.0-24"},
			{put: []Record{record(4, "10.244.0.0-16", vxlanValue("192.0.2.3", b))}, want: "10.244.2.0/23 via 192.0.2.1 " + a, says: "own_subnet 10.244.0.0-16"},
			{remove: "10.244.2.0-23", want: "10.244.3.0/24 via 192.0.2.2 " + b},
		}},
		{"an older one comes back", []step{
			{put: []Record{record(3, "10.244.3.0-24", vxlanValue("192.0.2.2", b))}, want: "10.244.3.0/24 via 192.0.2.2 " + b},
			{put: []Record{record(2, "10.244.2.0-23", vxlanValue("192.0.2.1", a))}, want: "10.244.2.0/23 via 192.0.2.1 " + a, says: "overlap 10.244.3.0-24"},
			{put: []Record{record(2, "10.244.2.0-23", "{}")}, want: "10.244.3.0/24 via 192.0.2.2 " + b, says: "backend 10.244.2.0-23"},
		}},
		{"hostile", []step{
			{put: []Record{record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", a))}, want: "10.244.1.0/24 via 192.0.2.1 " + a},
			{put: []Record{record(3, "garbage", "{}")}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "key garbage"},
			{put: []Record{{Key: "10.244.2.0-24", Size: 10 << 20, Created: 4}}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "oversize 10.244.2.0-24"},
			{put: []Record{record(5, "10.245.3.0-24", vxlanValue("192.0.2.3", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "network 10.245.3.0-24"},
			{put: []Record{record(5, "0.0.0.0-1", vxlanValue("192.0.2.3", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "network 0.0.0.0-1"},
			{put: []Record{record(5, "10.244.3.0-24&fd00::-64", vxlanValue("192.0.2.3", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "network 10.244.3.0-24&fd00::-64"},
			{put: []Record{record(6, "10.244.4.0-24", vxlanValue("192.0.2.4", "01:00:00:00:00:01"))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "vtep_mac 10.244.4.0-24"},
			{put: []Record{record(7, "10.244.99.0-25", vxlanValue("192.0.2.5", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "own_subnet 10.244.99.0-25"},
			{put: []Record{record(7, "10.244.5.0-24", vxlanValue("192.0.2.99", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "own_address 10.244.5.0-24"},
			{put: []Record{record(7, "10.244.7.0-24", vxlanValue("10.244.7.7", b))}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "public_ip 10.244.7.0-24"},
			{put: []Record{record(7, "10.244.6.0-24", `{"PublicIP":"192.0.2.6","BackendType":"host-gw"}`)}, want: "10.244.1.0/24 via 192.0.2.1 " + a, says: "backend 10.244.6.0-24"},
		}},
	}
	for _, tt := range tests {
		b := newBook(network(t, net16), Node{PublicIP: netip.MustParseAddr("192.0.2.99")})
		b.setOwn(subnet(t, "10.244.99.0-24"), "10.244.99.0-24")
		table := route.NewTable()
		table.Apply(b.snapshot())
		for i, s := range tt.steps {
			if s.remove != "" {
				b.remove(s.remove)
			}
			for _, r := range s.put {
				b.put(r)
			}
			batch := b.changes()
			table.Apply(batch)
			if got := inForce(t, table); got != s.want {
				t.Errorf("%s, step %d: in force\n%s\nwant\n%s", tt.name, i, got, s.want)
			}
			for _, k := range batch.Remove {
				if slices.ContainsFunc(batch.Add, func(e route.Entry) bool { return e.Key == k }) {
					t.Errorf("%s, step %d: %v both ways", tt.name, i, k)
				}
			}
			whole := route.NewTable()
			whole.Apply(b.snapshot())
			if got := inForce(t, whole); got != s.want {
				t.Errorf("%s, step %d: snapshot\n%s", tt.name, i, got)
			}
			var says []string
			for _, n := range b.news {
				says = append(says, string(n.refusal.Reason)+" "+n.key)
			}
			b.news = nil
			if got := strings.Join(says, "\n"); got != s.says {
				t.Errorf("%s, step %d: says %q, want %q", tt.name, i, got, s.says)
			}
			if len(b.refused) > len(b.peers) || len(b.blocked) > len(b.refused) {
				t.Errorf("%s, step %d: %d refused, %d blocked of %d", tt.name, i, len(b.refused), len(b.blocked), len(b.peers))
			}
		}
	}
}

// TestBookOneEvent wants the old state out in the batch that brings the new.
func TestBookOneEvent(t *testing.T) {
	b := newBook(network(t, net16), Node{})
	b.put(record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", "02:00:00:00:00:0a")))
	old := b.snapshot().Add // the prefix and its VTEP
	b.put(record(2, "10.244.1.0-24", vxlanValue("192.0.2.7", "02:00:00:00:00:0a")))
	batch := b.changes()
	if len(batch.Add) != 2 || len(batch.Remove) != 2 || batch.Snapshot || len(old) != 2 ||
		!slices.Contains(batch.Remove, old[0].Key) || !slices.Contains(batch.Remove, old[1].Key) {
		t.Errorf("address: %+v", batch)
	}
	b.put(record(2, "10.244.1.0-24", vxlanValue("192.0.2.7", "02:00:00:00:00:0b")))
	if batch := b.changes(); len(batch.Add) != 1 || len(batch.Remove) != 0 || batch.Add[0].MAC[5] != 0xb {
		t.Errorf("MAC: %+v", batch)
	}
	b.put(record(2, "10.244.1.0-24", vxlanValue("192.0.2.7", "02:00:00:00:00:0b")))
	if batch := b.changes(); len(batch.Add)+len(batch.Remove) != 0 { // a renewal
		t.Errorf("nothing: %+v", batch)
	}
}

// TestBookReset wants of a listing what the changes would have made, and the
// same refusal said once.
func TestBookReset(t *testing.T) {
	b := newBook(network(t, net16), Node{})
	records := []Record{
		record(5, "10.244.1.0-24", vxlanValue("192.0.2.1", "02:00:00:00:00:0a")),
		record(3, "10.244.1.0-25", vxlanValue("192.0.2.2", "02:00:00:00:00:0b")),
		record(4, "junk", ""),
		record(6, "10.244.7.0-24", vxlanValue("192.0.2.99", "02:00:00:00:00:0c")),
	}
	for range 3 {
		b.reset(records, "10.244.7.0-24", time.Time{})
	}
	table := route.NewTable()
	table.Apply(b.snapshot())
	if got := inForce(t, table); got != "10.244.1.0/25 via 192.0.2.2 02:00:00:00:00:0b" {
		t.Error(got)
	}
	if len(b.news) != 2 || b.counts[Overlap] != 1 || b.counts[BadKey] != 1 {
		t.Errorf("%+v %v", b.news, b.counts)
	}
	b.reset(nil, "", time.Time{})
	if batch := b.changes(); len(batch.Add) != 0 || len(b.peers)+len(b.refused)+len(b.blocked)+len(b.now) != 0 {
		t.Errorf("%+v", b)
	}
}

// TestDualStackEntries: a family's subnet is behind the address and the MAC of
// that family.
func TestDualStackEntries(t *testing.T) {
	for _, r := range recordings(t) {
		if r.name != "dual" {
			continue
		}
		n := network(t, string(r.config))
		const key = "10.244.45.0-24&fd44:244:0:31::-64"
		a, err := ParseLease([]byte(r.leases[key]), 1)
		if err != nil {
			t.Fatal(err)
		}
		v4, v6 := route.VTEP{Addr: netip.MustParseAddr("10.77.0.2"), Port: 8472, VNI: 1}, route.VTEP{Addr: netip.MustParseAddr("fd77::2"), Port: 8472, VNI: 1}
		want := []route.Entry{
			route.PrefixEntry(1, netip.MustParsePrefix("10.244.45.0/24"), v4, a.V4.MAC, route.Tunnel), route.RemoteEntry(1, v4),
			route.PrefixEntry(1, netip.MustParsePrefix("fd44:244:0:31::/64"), v6, a.V6.MAC, route.Tunnel), route.RemoteEntry(1, v6),
		}
		if got := n.entries(subnet(t, key), a); !reflect.DeepEqual(got, want) || a.V4.MAC == a.V6.MAC {
			t.Errorf("%+v", got)
		}
	}
}

// TestBookBounded: however many leases there are, so many are kept, and junk
// takes no place of others. One line says so.
func TestBookBounded(t *testing.T) {
	var records []Record
	for i := range 10_000 {
		records = append(records, Record{Key: fmt.Sprintf("0junk-%d", i), Created: int64(i)})
	}
	for i := range 2000 {
		records = append(records, record(int64(i), fmt.Sprintf("9.%d.%d.0-24", i/256, i%256), vxlanValue("192.0.2.1", "02:00:00:00:00:01")))
	}
	for i := range maxLeases + 500 {
		records = append(records, record(int64(i), fmt.Sprintf("10.%d.%d.%d-28", i>>12, i>>4&255, i<<4&255), vxlanValue("192.0.2.1", "02:00:00:00:00:01")))
	}
	const over = 10_000 + 2000 - maxStrays + 500
	check := func(what string, b *book, rounds uint64) {
		t.Helper()
		// They share one VTEP.
		if got := len(b.now) - 1; got != maxLeases || len(b.peers) != maxLeases+maxStrays || b.strays != maxStrays {
			t.Errorf("%s: %d in force, %d kept, %d strays", what, got, len(b.peers), b.strays)
		}
		said := 0
		for _, n := range b.news {
			if n.refusal.Reason == TooMany {
				said++
			}
		}
		if b.counts[TooMany] != over*rounds || said+b.untold == 0 || said > 1 || len(b.news) > maxNews {
			t.Errorf("%s: said %d times, %d news, %v", what, said, len(b.news), b.counts)
		}
	}
	n := network(t, `{"Network":"10.0.0.0/8"`+vxlan)
	b := newBook(n, Node{})
	for _, r := range records {
		b.put(r)
	}
	check("by changes", b, 1)
	b = newBook(n, Node{})
	b.reset(records, "", time.Time{})
	check("by a listing", b, 1)
	b.reset(records, "", time.Time{})
	check("by another", b, 2)
	for _, r := range records {
		b.remove(r.Key)
	}
	if len(b.peers)+b.strays+len(b.refused)+len(b.now)+len(b.users)+len(b.freed) != 0 {
		t.Errorf("left: %d %d %d %d %d", len(b.peers), b.strays, len(b.refused), len(b.now), len(b.users))
	}
}

// TestBookOrder: what is in force does not depend on how it came about.
func TestBookOrder(t *testing.T) {
	n := network(t, net16)
	values := []string{vxlanValue("192.0.2.1", "02:00:00:00:00:01"), vxlanValue("192.0.2.2", "02:00:00:00:00:02"), vxlanValue("192.0.2.1", "02:00:00:00:00:03"), "junk", vxlanValue("192.0.2.99", "02:00:00:00:00:04")}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := newBook(n, Node{PublicIP: netip.MustParseAddr("192.0.2.99")})
		table, there := route.NewTable(), map[string]Record{}
		for step := range 60 {
			bits := 20 + rnd.IntN(5)
			key := fmt.Sprintf("10.244.%d.0-%d", rnd.IntN(16)&^(1<<(24-bits)-1), bits)
			if rnd.IntN(3) == 0 {
				delete(there, key)
				b.remove(key)
			} else {
				r := record(int64(1000-step), key, values[rnd.IntN(len(values))])
				if old, ok := there[key]; ok {
					r.Created = old.Created
				}
				there[key] = r
				b.put(r)
			}
			table.Apply(b.changes())
			anew := newBook(n, b.node)
			anew.reset(slices.Collect(maps.Values(there)), "", time.Time{})
			if !maps.Equal(anew.now, b.now) || !maps.Equal(anew.users, b.users) || len(anew.refused) != len(b.refused) {
				t.Fatalf("seed %d, step %d:\n%v\nanew\n%v", seed, step, b.now, anew.now)
			}
			if got := len(table.Select(func(route.Key) bool { return true })); got != len(b.now) {
				t.Fatalf("seed %d, step %d: %d in the table, %d in force", seed, step, got, len(b.now))
			}
		}
	}
}

// TestSharedVTEP: a node that moves to another subnet has two leases for a
// while. Its VTEP is a member as long as one is there.
func TestSharedVTEP(t *testing.T) {
	b := newBook(network(t, net16), Node{})
	table := route.NewTable()
	v := route.VTEP{Addr: netip.MustParseAddr("192.0.2.1"), Port: 8472, VNI: 1}
	steps := []func(){
		func() { b.put(record(2, "10.244.1.0-24", vxlanValue("192.0.2.1", "02:00:00:00:00:0a"))) },
		func() { b.put(record(3, "10.244.2.0-24", vxlanValue("192.0.2.1", "02:00:00:00:00:0b"))) },
		func() { b.remove("10.244.1.0-24") },
		func() { b.remove("10.244.2.0-24") },
	}
	for i, step := range steps {
		step()
		table.Apply(b.changes())
		if _, ok := table.Get(route.RemoteEntry(1, v).Key); ok != (i < 3) {
			t.Errorf("step %d: a member: %v", i, ok)
		}
	}
	b = newBook(network(t, `{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}`), Node{})
	b.put(record(2, "10.244.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"host-gw"}`))
	if batch := b.changes(); len(batch.Add) != 1 || batch.Add[0].Key.Kind != route.Prefix {
		t.Errorf("host-gw: %+v", batch)
	}
}

// BenchmarkChange is one changed lease among 5,000.
func BenchmarkChange(b *testing.B) {
	book := newBook(network(b, `{"Network":"10.0.0.0/8"`+vxlan), Node{})
	var records []Record
	for i := range 5000 {
		records = append(records, record(int64(i), fmt.Sprintf("10.%d.%d.0-24", 1+i/256, i%256), vxlanValue(fmt.Sprintf("192.0.%d.%d", i/250, 1+i%250), "02:00:00:00:00:01")))
	}
	book.reset(records, "", time.Time{})
	if len(book.users) != 10000 {
		b.Fatal(len(book.now))
	}
	book.snapshot()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r := records[i%5000]
		r.Value = []byte(vxlanValue("198.51.100.1", fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8&255, i&255)))
		book.put(r)
		if batch := book.changes(); len(batch.Add) < 1 || len(batch.Add) > 2 {
			b.Fatal(batch)
		}
	}
}

// BenchmarkReset is a listing of 5,000 leases.
func BenchmarkReset(b *testing.B) {
	book := newBook(network(b, `{"Network":"10.0.0.0/8"`+vxlan), Node{})
	var records []Record
	for i := range 5000 {
		records = append(records, record(int64(i), fmt.Sprintf("10.%d.%d.0-24", 1+i/256, i%256), vxlanValue(fmt.Sprintf("192.0.%d.%d", i/250, 1+i%250), "02:00:00:00:00:01")))
	}
	b.ReportAllocs()
	for b.Loop() {
		book.reset(records, "", time.Time{})
		book.snapshot()
	}
}
