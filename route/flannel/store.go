package flannel

import (
	"context"
	"errors"
	"time"
)

// A Store is where a network's configuration and leases are. A [Source] calls
// its methods from one goroutine, besides Watch, which has its own. They obey
// their context; the Source gives them a limit of time.
type Store interface {
	// List reads all at one moment.
	List(ctx context.Context) (Listing, error)
	// Watch hands to told, in their order, the changes after a revision that
	// List returned, until ctx ends or they cannot be told any more: the
	// revision is forgotten, the store changed, it has no leader. It always
	// returns an error then, and the caller lists anew.
	Watch(ctx context.Context, revision int64, told func(Changes)) error
	// Check reads the configuration and one lease as they are now, and counts
	// the leases.
	Check(ctx context.Context, key string) (Check, error)
	// Create writes a lease that is not there, or returns [ErrExists].
	Create(ctx context.Context, key string, value []byte, ttl time.Duration) (Written, error)
	// Replace writes a lease whose last change was at revision, or returns
	// [ErrChanged]. ttl 0 makes it last for ever, as reservations do.
	Replace(ctx context.Context, key string, value []byte, ttl time.Duration, revision int64) (Written, error)
	// Delete removes a lease whose last change was at revision, or returns
	// [ErrChanged].
	Delete(ctx context.Context, key string, revision int64) error
}

// What a store says besides that it does not work: of writes that somebody else
// was before, and of a watch.
var (
	ErrExists  = errors.New("the key is there already")
	ErrChanged = errors.New("the lease was changed by somebody else")
	// ErrForgotten is that of a revision which the store has not any more.
	ErrForgotten = errors.New("the store has forgotten what happened since")
)

// A Record is a lease as it stands in the store.
type Record struct {
	Key      string // below subnets/, such as 10.5.52.0-24
	Value    []byte // nil when it has more than MaxValue bytes
	Size     int    // of the value, in bytes
	Created  int64  // revision of the first write
	Modified int64  // revision of the last
	Reserved bool   // it has no time to live
}

// A Listing is all that a store has for a network.
type Listing struct {
	Revision int64
	Cluster  uint64 // who answers; another one has other revisions
	Config   []byte // nil when there is none
	Records  []Record
	Dropped  int // records beyond what a listing holds
}

// Changes are what happened at one moment.
type Changes struct {
	Revision int64
	Put      []Record
	Removed  []string
	// Config is the configuration when ConfigChanged; nil when it went away.
	Config        []byte
	ConfigChanged bool
}

// A Check is what stands in the store now.
type Check struct {
	Revision int64
	Cluster  uint64
	Config   []byte
	Own      *Record // nil when the lease is not there; without its value
	Leases   int     // how many there are, whatever they hold
}

// Written is what a write made.
type Written struct {
	Revision int64
	Expires  time.Time // zero for a reservation
}
