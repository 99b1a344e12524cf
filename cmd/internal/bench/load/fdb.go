package load

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

// The sizes of the tables that [FDB] compares.
const (
	FewEntries  = 1_000
	ManyEntries = 1_000_000
)

// An FDBResult is what lookups in a small and in a large table cost.
type FDBResult struct {
	// Few and Many are of lookupBatch lookups of the same number of MACs in
	// use, among few entries and among many.
	Few, Many time.Duration
	// All is of as many lookups of every MAC of the large table in turn: none
	// finds its slot in a cache, the worst that traffic can do.
	All   time.Duration
	Bytes float64 // of the large table, an entry
}

const (
	// lookupBatch is how many lookups are timed at once, and lookupTurns how
	// often, in both tables by turns.
	lookupBatch = 1_000_000
	lookupTurns = 7
)

// PerLookup is the time of one lookup in ns.
func PerLookup(d time.Duration) float64 { return float64(d.Nanoseconds()) / lookupBatch }

// FDB fills forwarding databases with random unicast MACs, as many VTEPs would
// be heard with, and looks FewEntries of each up, in an order that is not that
// of the table: what makes a lookup slower is then the table's size, and not how
// much of it is in use. Lookups do not wait for one another, as those of a burst
// of frames do not.
func FDB() (FDBResult, error) {
	few, _, err := fill(FewEntries)
	if err != nil {
		return FDBResult{}, err
	}
	many, bytes, err := fill(ManyEntries)
	if err != nil {
		return FDBResult{}, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var times [3][]time.Duration
	for range lookupTurns {
		for i, of := range []struct {
			table *fdb.Table
			macs  []packet.MAC
		}{{few.table, few.macs}, {many.table, many.macs[:FewEntries]}, {many.table, many.macs}} {
			d, err := lookups(of.table, of.macs)
			if err != nil {
				return FDBResult{}, err
			}
			times[i] = append(times[i], d)
		}
	}
	for i := range times {
		slices.Sort(times[i])
	}
	const median = lookupTurns / 2
	return FDBResult{Few: times[0][median], Many: times[1][median], All: times[2][median], Bytes: bytes}, nil
}

// filled is a table and what is in it.
type filled struct {
	table *fdb.Table
	macs  []packet.MAC
}

// fill makes a table of n random MACs and returns what one takes in bytes.
func fill(n int) (*filled, float64, error) {
	f := &filled{macs: make([]packet.MAC, n)}
	for i := range f.macs {
		f.macs[i] = packet.MACFrom(rand.Uint64()&^(1<<40) | 1<<41) // local, unicast
	}
	before := heap()
	f.table = fdb.New(fdb.Limits{Max: n, Share: 100})
	for i, mac := range f.macs {
		if r := f.table.Learn(mac, fdb.Dest(i), 0); r == fdb.Full {
			return nil, 0, fmt.Errorf("entry %d of %d is not taken", i, n)
		}
	}
	bytes := float64(heap()-before) / float64(n)
	rand.Shuffle(n, func(i, j int) { f.macs[i], f.macs[j] = f.macs[j], f.macs[i] })
	return f, bytes, nil
}

// heap is the memory in use, in bytes.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// lookups times lookupBatch lookups of the given MACs, in rounds.
func lookups(table *fdb.Table, macs []packet.MAC) (time.Duration, error) {
	missed, done := 0, 0
	begin, err := threadCPU()
	if err != nil {
		return 0, err
	}
	for done < lookupBatch {
		for _, mac := range macs {
			if _, ok := table.Lookup(mac); !ok {
				missed++
			}
		}
		done += len(macs)
	}
	end, err := threadCPU()
	if missed > 0 {
		return 0, fmt.Errorf("%d of %d lookups found nothing", missed, done)
	}
	return end - begin, err
}

// threadCPU is the processor time of the calling thread, which counts nothing
// that other programs do.
func threadCPU() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}
