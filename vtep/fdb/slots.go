package fdb

import (
	"math/bits"
	"sync/atomic"

	"vtepd/encap/packet"
)

// A slot's word is MAC<<16 | Dest. The two words that no entry has, since
// their MAC is zero, mark free places.
const (
	empty     = 0 // ends a probe
	tombstone = 1 // was an entry; a probe goes on
)

// The meta word of a slot is Tick<<5 | State<<3 | Source: ticks of 27 bits last
// 155 days and are compared modulo that.
const (
	tickShift = 5
	tickMask  = 1<<27 - 1
	ageless   = 3 << 3 // bits of State: not 0 for what does not age
)

func makeMeta(now Tick, st State, src Source) uint32 {
	return uint32(now&tickMask)<<tickShift | uint32(st)<<3 | uint32(src)
}

// slots is one generation of the hash table: open addressing with linear
// probing. Readers use it without a lock; the writer replaces it by a larger or
// cleaner one.
type slots struct {
	words []atomic.Uint64
	metas []atomic.Uint32
	shift uint8
	seed  uint64
	used  int // entries and tombstones
}

func newSlots(size int, seed uint64) *slots {
	return &slots{words: make([]atomic.Uint64, size), metas: make([]atomic.Uint32, size),
		shift: uint8(64 - bits.TrailingZeros(uint(size))), seed: seed}
}

// home is where the probe for a MAC starts. The seed differs from table to
// table, so that nobody can choose MACs that meet in one place.
func (s *slots) home(mac uint64) int {
	h := (mac ^ s.seed) * 0xff51afd7ed558ccd
	h = (h ^ h>>32 ^ s.seed>>17) * 0xc4ceb9fe1a85ec53
	return int(h >> s.shift)
}

// find returns the slot of a MAC, or -1.
func (s *slots) find(mac uint64) int {
	mask := len(s.words) - 1
	for i := s.home(mac); ; i = (i + 1) & mask {
		w := s.words[i].Load()
		if w>>16 == mac && w > tombstone {
			return i
		}
		if w == empty {
			return -1
		}
	}
}

// refresh notes that the MAC of slot i was heard from d. It reports whether that
// is where the slot has it; if not, it does nothing.
func (s *slots) refresh(i int, d Dest, now Tick) (r Result, here bool) {
	if Dest(s.words[i].Load()) != d {
		return 0, false
	}
	meta := s.metas[i].Load()
	if meta&ageless != 0 {
		return StaticHere, true
	}
	if fresh := uint32(now&tickMask)<<tickShift | meta&(1<<tickShift-1); fresh != meta {
		// Losing a race against a change of the entry costs one refresh.
		s.metas[i].CompareAndSwap(meta, fresh)
	}
	return Refreshed, true
}

// insert puts a MAC that is not there into the first free slot of its probe.
func (s *slots) insert(word uint64, meta uint32) {
	mask := len(s.words) - 1
	for i := s.home(word >> 16); ; i = (i + 1) & mask {
		w := s.words[i].Load()
		if w > tombstone {
			continue
		}
		if w == empty {
			s.used++
		}
		s.metas[i].Store(meta) // before the word: readers go by the word
		s.words[i].Store(word)
		return
	}
}

func (s *slots) entry(i int) (Entry, bool) {
	w := s.words[i].Load()
	if w <= tombstone {
		return Entry{}, false
	}
	m := s.metas[i].Load()
	return Entry{MAC: packet.MACFrom(w >> 16), Dest: Dest(w), State: State(m >> 3 & 3), Source: Source(m & 7),
		Updated: Tick(m >> tickShift)}, true
}
