package vtep

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"vtepd/encap/offload"
)

// Remotes of one network are found as fast as others: no long search, whatever
// part of the address tells them apart.
func TestRemoteIndexSpreads(t *testing.T) {
	const n = 4096
	for name, addr := range map[string]func(uint16) netip.Addr{
		"the last bytes of IPv4":  func(i uint16) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) },
		"the first bytes of IPv4": func(i uint16) netip.Addr { return netip.AddrFrom4([4]byte{byte(i), byte(i >> 8), 0, 1}) },
		"the end of IPv6": func(i uint16) netip.Addr {
			return netip.AddrFrom16([16]byte{0x20, 1, 14: byte(i >> 8), 15: byte(i)})
		},
		"the networks of IPv6": func(i uint16) netip.Addr {
			a := [16]byte{0x20, 1, 15: 1}
			binary.BigEndian.PutUint16(a[6:], i)
			return netip.AddrFrom16(a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newRemoteIndex(n)
			for i := range uint16(n) {
				if r := (&Remote{vtep: VTEP{Addr: addr(i)}}); !x.add(r) {
					t.Fatal("no room")
				}
			}
			total := 0
			mask := uint64(len(x.slots) - 1)
			for i := range uint16(n) {
				at := x.home(addr(i))
				for ; x.slots[at].Load().vtep.Addr != addr(i); at = (at + 1) & mask {
					total++
				}
				if x.lookup(addr(i)) == nil {
					t.Fatalf("%v is not found", addr(i))
				}
			}
			// Half full, a search passes half a remote on average.
			if total > 2*n {
				t.Errorf("searches for %d remotes pass %d others", n, total)
			}
		})
	}
}

// A stranger who uses up all places over and over costs no more for it.
func TestLearningCopiesNoRemotes(t *testing.T) {
	r := newRig(t, offload.Caps{}, func(o *Options) { o.AcceptAny = true })
	next := uint32(10 << 24)
	learn := func() (n uint64) {
		for ; ; n++ {
			next++
			if r.seg.learnRemote(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, next)))) == nil {
				return n
			}
		}
	}
	learn()
	r.seg.Sweep(1) // forgets them: they have no FDB entry
	r.seg.Sweep(2) // and frees their places
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := learn()
	runtime.ReadMemStats(&after)
	if n != maxLearnedRemotes {
		t.Errorf("%d learned in freed places, want %d", n, maxLearnedRemotes)
	}
	if each := (after.TotalAlloc - before.TotalAlloc) / n; each > 2048 {
		t.Errorf("learning one of %d remotes takes %d bytes", n, each)
	}
	if got := len(r.seg.Remotes()); got != maxLearnedRemotes {
		t.Errorf("%d remotes", got)
	}
}
