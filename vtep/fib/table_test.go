package fib

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func hop(n int) Hop { return Hop{fdb.Dest(n), packet.MAC{2, 0, 0, 0, 0, byte(n)}} }

// put is a batch of one.
func put(t testing.TB, tab *Table, p string, h Hop) {
	t.Helper()
	b := tab.Batch()
	if _, err := b.Put(prefix(p), h); err != nil {
		t.Fatal(err)
	}
	b.Publish()
}

func TestLongestMatch(t *testing.T) {
	tab := New()
	for i, p := range []string{"0.0.0.0/0", "10.0.0.0/8", "10.2.0.0/16", "10.2.3.4/32", "2001:db8::/32", "2001:db8:2::/64", "10.2.0.0/24"} {
		put(t, tab, p, hop(i+1))
	}
	for a, want := range map[string]int{
		"192.0.2.1": 1, "10.9.9.9": 2, "10.2.9.9": 3, "10.2.3.4": 4, "10.2.3.5": 3, "10.2.0.5": 7,
		"2001:db8::1": 5, "2001:db8:2::1": 6, "2001:db9::1": 0, "::ffff:10.2.3.4": 0, "::1": 0,
	} {
		got := 0
		if s := tab.Lookup(addr(a)); s != nil {
			got = int(s.Pick(7).Dest)
		}
		if got != want {
			t.Errorf("%s: hop %d, want %d", a, got, want)
		}
	}
	if p, s := tab.Match(addr("10.2.3.5")); p != prefix("10.2.0.0/16") || s.Pick(0) != hop(3) {
		t.Errorf("matched %v %v", p, s)
	}
	if p, s := tab.Match(addr("2001:db9::1")); p.IsValid() || s != nil {
		t.Errorf("matched %v %v", p, s)
	}
	if tab.Lookup(netip.Addr{}) != nil {
		t.Error("no address has a hop")
	}
}

func TestBatchIsAllOrNothing(t *testing.T) {
	tab := New()
	put(t, tab, "10.1.0.0/16", hop(1))
	for _, n := range []int{3, 1000} { // kept apart from the table in use both ways
		b := tab.Batch()
		for i := range n {
			if _, err := b.Put(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 32), hop(2)); err != nil {
				t.Fatal(err)
			}
		}
		b.Delete(prefix("10.1.0.0/16"), hop(1).Dest)
		if tab.Lookup(addr("10.1.0.1")) == nil || tab.Lookup(addr("10.2.0.1")) != nil || tab.Len() != 1 {
			t.Errorf("%d changes are seen before they are published", n)
		}
	}
	b := tab.Batch()
	if b.Delete(prefix("10.1.0.0/16"), 9) || b.Delete(prefix("10.0.0.0/8"), 1) || !b.Delete(prefix("10.1.0.7/16"), 1) {
		t.Error("deleted something else")
	}
	b.Publish()
	if tab.Len() != 0 || len(tab.singles) != 1 { // hop(2) of the batches thrown away
		t.Errorf("%d prefixes, %v", tab.Len(), tab.singles)
	}
}

func TestPut(t *testing.T) {
	tab := New()
	b := tab.Batch()
	steps := []struct {
		p   string
		h   Hop
		had bool
	}{
		{"10.1.0.0/16", hop(1), false},
		{"10.1.0.0/16", hop(1), true},
		{"10.1.0.9/16", Hop{1, packet.MAC{6}}, true}, // another router there
		{"10.1.0.0/16", hop(2), false},
		{"::ffff:10.1.0.0/112", hop(2), true},
	}
	for i, s := range steps {
		if had, err := b.Put(prefix(s.p), s.h); had != s.had || err != nil {
			t.Errorf("step %d: %v %v", i, had, err)
		}
	}
	b.Publish()
	if got := tab.Get(prefix("10.1.0.0/16")).Hops(); !slices.Equal(got, []Hop{{1, packet.MAC{6}}, hop(2)}) || tab.Len() != 1 {
		t.Errorf("hops %v", got)
	}
	if len(tab.singles) != 0 {
		t.Errorf("sets without a prefix: %v", tab.singles)
	}
	if _, err := b.Put(netip.Prefix{}, hop(1)); err == nil {
		t.Error("took no prefix at all")
	}
	for i := range MaxHops - 2 {
		if _, err := b.Put(prefix("10.1.0.0/16"), hop(i+10)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Put(prefix("10.1.0.0/16"), hop(200)); !errors.Is(err, ErrFull) {
		t.Errorf("one hop more: %v", err)
	}
	if had, err := b.Put(prefix("10.1.0.0/16"), Hop{2, packet.MAC{8}}); err != nil || !had {
		t.Errorf("another router when it is full: %v", err)
	}
}

// TestPick wants every hop to get its part, and a flow to stay where it is
// when another hop comes or goes.
func TestPick(t *testing.T) {
	set := func(n int) *Set {
		s := new(Set)
		for i := range n {
			s.hops = append(s.hops, hop(i+1))
		}
		return s
	}
	for _, n := range []int{1, 2, 3, 8} {
		s, fewer, got := set(n), set(max(1, n-1)), map[Hop]int{}
		for h := range 1 << 16 {
			is := s.Pick(uint16(h))
			got[is]++
			if was := fewer.Pick(uint16(h)); n > 1 && was != is && is != hop(n) {
				t.Fatalf("flow %d went from %v to %v when %v came", h, was, is, hop(n))
			}
		}
		for _, c := range got {
			if want := 1 << 16 / n; len(got) != n || c < want*9/10 || c > want*11/10 {
				t.Errorf("%d hops: %v", n, got)
			}
		}
	}
}

// TestModel plays batches against a map that is searched from one end to the
// other.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, model := New(), map[netip.Prefix]map[fdb.Dest]Hop{}
		for range rapid.IntRange(1, 8).Draw(t, "batches") {
			b := tab.Batch()
			for range rapid.IntRange(0, 30).Draw(t, "ops") {
				play(t, b, model)
			}
			b.Publish()
			compare(t, tab, model)
		}
	})
}

func drawAddr(t *rapid.T) netip.Addr {
	b := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 0x80, 0xff}), 4, 4).Draw(t, "addr")
	if rapid.Bool().Draw(t, "v6") {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: b[0], 7: b[1], 8: b[2], 15: b[3]})
	}
	return netip.AddrFrom4([4]byte(b))
}

func play(t *rapid.T, b *Batch, model map[netip.Prefix]map[fdb.Dest]Hop) {
	a := drawAddr(t)
	p := netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
	h := hop(rapid.IntRange(1, 3).Draw(t, "hop"))
	_, had := model[p][h.Dest]
	if rapid.Bool().Draw(t, "delete") {
		if b.Delete(p, h.Dest) != had {
			t.Fatalf("delete %v %v: had %v", p, h, had)
		}
		if delete(model[p], h.Dest); len(model[p]) == 0 {
			delete(model, p)
		}
		return
	}
	if got, err := b.Put(p, h); got != had || err != nil {
		t.Fatalf("put %v %v: %v %v, had %v", p, h, got, err, had)
	}
	if model[p] == nil {
		model[p] = map[fdb.Dest]Hop{}
	}
	model[p][h.Dest] = h
}

func compare(t *rapid.T, tab *Table, model map[netip.Prefix]map[fdb.Dest]Hop) {
	if tab.Len() != len(model) {
		t.Fatalf("%d prefixes, want %d", tab.Len(), len(model))
	}
	singles := map[Hop]int{}
	for _, hops := range model {
		if len(hops) == 1 {
			for _, h := range hops {
				singles[h]++
			}
		}
	}
	for h, s := range tab.singles {
		if s.refs != singles[h] {
			t.Fatalf("%v is held %d times, want %d", h, s.refs, singles[h])
		}
	}
	for range 20 {
		a := drawAddr(t)
		best := netip.Prefix{}
		for p := range model {
			if p.Contains(a) && (!best.IsValid() || p.Bits() > best.Bits()) {
				best = p
			}
		}
		s := tab.Lookup(a)
		if (s == nil) == best.IsValid() {
			t.Fatalf("%v: %v, want %v", a, s, best)
		}
		if s == nil {
			continue
		}
		if got := slices.Collect(maps.Values(model[best])); len(got) != len(s.hops) || !slices.Contains(got, s.Pick(uint16(best.Bits()))) {
			t.Fatalf("%v: %v, want %v", a, s.hops, got)
		}
	}
}

// TestReadersSeeWholeBatches moves a prefix and its hop together while others
// look (run with the race detector).
func TestReadersSeeWholeBatches(t *testing.T) {
	tab := New()
	put(t, tab, "10.0.0.0/8", hop(1))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s := tab.Lookup(addr("10.1.2.3")); s == nil || len(s.Hops()) != 1 {
					t.Error("a moment without a hop, or with two")
					return
				}
			}
		})
	}
	for i := range 2000 {
		b := tab.Batch()
		from, to := hop(1+i%2), hop(1+(i+1)%2)
		_, err := b.Put(prefix("10.0.0.0/8"), to)
		if err != nil || !b.Delete(prefix("10.0.0.0/8"), from.Dest) {
			t.Fatal(err)
		}
		b.Publish()
	}
	close(stop)
	wg.Wait()
}

func TestLookupAllocatesNothing(t *testing.T) {
	tab := New()
	put(t, tab, "10.0.0.0/8", hop(1))
	put(t, tab, "10.0.0.0/8", hop(2))
	put(t, tab, "2001:db8::/32", hop(2))
	a, b := addr("10.1.2.3"), addr("2001:db8::1")
	if n := testing.AllocsPerRun(1000, func() { tab.Lookup(a).Pick(77); tab.Lookup(b).Pick(77) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// fill makes a table of n prefixes, of the lengths that routing tables have,
// and addresses within them.
func fill(tb testing.TB, n int, v6 bool) (*Table, []netip.Addr) {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	tab := New()
	b := tab.Batch()
	var inside []netip.Addr
	for b.next.Size() < n {
		a, bits := netip.AddrFrom4([4]byte{byte(1 + rnd.IntN(222)), byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())}), 16+rnd.IntN(13)
		if v6 {
			x := [16]byte{0x20, byte(rnd.IntN(8))}
			for i := 2; i < 16; i++ {
				x[i] = byte(rnd.Uint32())
			}
			a, bits = netip.AddrFrom16(x), 32+rnd.IntN(33)
		}
		if _, err := b.Put(netip.PrefixFrom(a, bits), hop(rnd.IntN(200))); err != nil {
			tb.Fatal(err)
		}
		if len(inside) < 1<<16 {
			inside = append(inside, a)
		}
	}
	b.Publish()
	rnd.Shuffle(len(inside), func(i, j int) { inside[i], inside[j] = inside[j], inside[i] })
	return tab, inside
}

// BenchmarkLookup looks up as many destinations as a busy host talks to, and
// so many that each lookup meets a cold cache.
func BenchmarkLookup(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		for _, n := range []int{1000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("v6 %v/%d", v6, n), func(b *testing.B) {
				tab, inside := fill(b, n, v6)
				for _, flows := range []int{256, len(inside)} {
					b.Run(fmt.Sprintf("to %d", flows), func(b *testing.B) {
						b.ReportAllocs()
						i := 0
						for b.Loop() {
							if tab.Lookup(inside[i%flows]) == nil {
								b.Fatal("no hop")
							}
							i++
						}
					})
				}
			})
		}
	}
}

// BenchmarkChange is one prefix that comes and goes in a table of n.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			tab, _ := fill(b, n, false)
			p := prefix("10.77.77.77/32")
			for b.Loop() {
				batch := tab.Batch()
				if _, err := batch.Put(p, hop(1)); err != nil {
					b.Fatal(err)
				}
				batch.Publish()
				batch = tab.Batch()
				batch.Delete(p, hop(1).Dest)
				batch.Publish()
			}
		})
	}
}

// BenchmarkFill is a snapshot of a million prefixes.
func BenchmarkFill(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var tab *Table
	for b.Loop() {
		tab, _ = fill(b, 1_000_000, false)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB")
	runtime.KeepAlive(tab)
}
