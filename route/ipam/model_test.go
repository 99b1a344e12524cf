package ipam

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// TestModel holds the store against a map, through allocations, releases and
// new openings in any order.
func TestModel(t *testing.T) {
	if testing.Short() {
		t.Skip("the store's files are slow, and one goroutine uses it")
	}
	memory, err := os.MkdirTemp("/dev/shm", "ipam") // a disk waits for each fsync
	if err != nil {
		memory = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp(memory, "")
		if err != nil {
			r.Fatal(err)
		}
		all := pools(t, "10.0.0.0/29", "10.0.1.0/29", "fd00::/125", "fd00:1::/64")
		l := locked(t, dir, "net")
		held := map[netip.Addr]Owner{}
		r.Repeat(map[string]func(*rapid.T){
			"allocate": func(r *rapid.T) {
				o := owner(rapid.IntRange(0, 20).Draw(r, "owner"))
				p := rapid.SliceOfNDistinct(rapid.SampledFrom(all), 1, len(all), func(p Pool) Pool { return p }).Draw(r, "pools")
				got, err := l.Allocate(o, p)
				checkAllocation(r, held, o, p, got, err)
			},
			"release": func(r *rapid.T) {
				o := owner(rapid.IntRange(0, 20).Draw(r, "owner"))
				freed, err := l.Release(o)
				if err != nil {
					r.Fatal(err)
				}
				for _, a := range freed {
					if held[a] != o {
						r.Fatalf("%v was released, which %v held", a, held[a])
					}
					delete(held, a)
				}
				for a, other := range held {
					if other == o {
						r.Fatalf("%v was not released", a)
					}
				}
			},
			"open again": func(r *rapid.T) {
				if err := l.Unlock(); err != nil {
					r.Fatal(err)
				}
				l = locked(t, dir, "net")
			},
			"": func(r *rapid.T) {
				now, err := l.Held()
				if err != nil || len(now) != len(held) {
					r.Fatalf("%d are held, want %d: %v", len(now), len(held), err)
				}
				for _, h := range now {
					if h.Bad != nil || held[h.Addr] != h.Owner {
						r.Fatalf("%v is held by %v, want %v: %v", h.Addr, h.Owner, held[h.Addr], h.Bad)
					}
				}
			},
		})
	})
}

// checkAllocation wants an address for each family, none of them held before,
// or a good reason; and puts them into held.
func checkAllocation(r *rapid.T, held map[netip.Addr]Owner, o Owner, p []Pool, got []Allocation, err error) {
	var has *HeldError
	var full *FullError
	switch {
	case errors.As(err, &has):
		if held[has.Held.Addr] != o {
			r.Fatalf("%v, but it does not", err)
		}
	case errors.As(err, &full):
		n := 0
		for a := range held {
			if full.Subnet.Contains(a) {
				n++
			}
		}
		if n != full.Size {
			r.Fatalf("%v, but %d are", err, n)
		}
	case err != nil:
		r.Fatal(err)
	default:
		if len(got) != len(families(p)) {
			r.Fatalf("%d addresses of %d families", len(got), len(families(p)))
		}
	}
	for _, a := range got {
		if other, ok := held[a.Addr]; ok || !a.Pool.Hands(a.Addr) {
			r.Fatalf("%v is given to %v, %v has it", a.Addr, o, other)
		}
		held[a.Addr] = o
	}
}
