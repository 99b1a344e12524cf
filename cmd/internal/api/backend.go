package api

import (
	"context"
	"net/netip"

	"vtepd/encap/packet"
)

// A Backend is the daemon as its control socket sees it. All methods may be
// called from any goroutine, at the same time. Errors that are not an [*Error]
// count as [Internal]. A [Selector] that chooses no segment is an error of
// kind [NotFound]; one that chooses several where one is to be changed is of
// kind [Usage] and names them.
type Backend interface {
	Version() Version
	Status() Status
	// Node answers at any time, also before there are subnets.
	Node() Node
	// Segments returns the segments, ordered by VNI.
	Segments() []SegmentStatus
	Counters(Selector) (Counters, error)

	// FDB calls emit with each entry, the flood list first, and stops at its
	// first error, which it returns. emit may wait for a slow reader: it is
	// called with no lock held. Errors of its own FDB returns before the first
	// emit.
	FDB(s Selector, emit func(FDBEntry) error) error
	// FDBGet returns the entries of one MAC: several for the flood list, for a
	// multicast MAC, and for several segments. None is an error of kind
	// [NotFound].
	FDBGet(Selector, packet.MAC) ([]FDBEntry, error)
	FDBChange(FDBChange) (Result, error)
	FDBFlush(FDBFlush) (Result, error)

	Remotes(Selector) ([]Remote, error)
	RemoteChange(RemoteChange) (Result, error)
	Neighbours(Selector) ([]Neighbour, error)
	NeighChange(NeighChange) (Result, error)

	// Routes calls emit with each prefix of the routed segments as FDB does,
	// ordered within a segment.
	Routes(s Selector, emit func(Route) error) error
	// RouteGet returns the longest prefix that holds an address, once for each
	// VTEP that it is behind and segment. None is an error of kind [NotFound].
	RouteGet(Selector, netip.Addr) ([]Route, error)
	RouteChange(RouteChange) (Result, error)

	// Leases returns what control planes gave this node, one for each that
	// gives leases.
	Leases() []Lease

	// Reload reads the configuration file again and returns when it is in
	// force. A file with problems is an [*Error] of kind [Refused] that lists
	// them, and nothing has changed.
	Reload(context.Context) (Result, error)
	// SetLogLevel takes debug, info, warn or error.
	SetLogLevel(level string) error

	// Watch calls emit with each change of the given kinds from now on, one at
	// a time, until stop is called. emit returns at once and may be called with
	// locks held. stop returns when no emit is running and none will come.
	Watch(kinds []Kind, emit func(Event)) (stop func(), err error)
}
