// Package fdb is the forwarding database of a segment: MAC to VTEP. It is the
// only place of learned entries, which it ranks below everything that control
// put there.
//
// Lookups and refreshes take no lock and allocate nothing. An entry is one
// 64-bit word of a hash table (48 bits of MAC, 16 of [Dest]) and one 32-bit
// word beside it, so that a million entries fit into tens of megabytes and a
// lookup is one cache miss. What changes the table takes a lock.
package fdb

import (
	"time"

	"vtepd/encap/packet"
)

// Dest is where an entry points: an index into the segment's remotes, opaque
// here.
type Dest uint16

// Tick is the coarse time of entries, in units of 100 ms since the owner
// started.
type Tick uint32

// TickLength is the unit of [Tick].
const TickLength = 100 * time.Millisecond

// State says how long an entry holds. Only dynamic entries age.
type State uint8

// The states, in the words of `bridge fdb`.
const (
	Dynamic State = iota
	Static
	Permanent
)

// String returns the state's name.
func (s State) String() string { return [...]string{"dynamic", "static", "permanent", "?"}[s&3] }

// Source says who made an entry.
type Source uint8

// The sources.
const (
	Learned Source = iota // from the wire
	Config
	Operator
	Flannel
	EVPN
	Kube
)

// String returns the source's name as `vtepctl fdb` prints it.
func (s Source) String() string {
	return [...]string{"learned", "config", "operator", "flannel", "evpn", "kube", "?", "?"}[s&7]
}

// An Entry places a MAC behind a destination.
type Entry struct {
	MAC     packet.MAC
	Dest    Dest
	State   State
	Source  Source
	Updated Tick // when the MAC was last heard, or the entry put
}

// Limits bound the learned entries of a table.
type Limits struct {
	Max    int           // most learned entries
	Share  int           // most of them, in percent of Max, behind one Dest; 100 for no limit
	Ageing time.Duration // unheard for so long, a dynamic entry goes; 0 for never
}

// Stats counts what happened to a table. Entries is the present number, the
// rest only grows.
type Stats struct{ Entries, Learned, Moved, Aged, Full uint64 }

// Op is what a [Change] did.
type Op uint8

// The changes.
const (
	Added Op = iota
	Moved
	Deleted
	Aged
)

// A Change is one change of a table, as [Table.SetNotify] tells it.
type Change struct {
	Op    Op
	Entry Entry
}

// Result is what [Table.Learn] made of a MAC.
type Result uint8

// The results.
const (
	Refreshed  Result = iota // known there already
	NewEntry                 // learned
	MovedEntry               // learned, was elsewhere
	Full                     // not learned: the table or the share of the Dest is full
	StaticHere               // a static entry says the same
	Conflict                 // a static entry says otherwise
)
