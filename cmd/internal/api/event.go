package api

import "time"

// A Kind is a kind of events.
type Kind string

// The kinds.
const (
	KindFDB    Kind = "fdb"
	KindRemote Kind = "remote"
	KindNeigh  Kind = "neigh"
	KindRoute  Kind = "route"
)

// Kinds returns all kinds, in the order they are printed.
func Kinds() []Kind { return []Kind{KindFDB, KindRemote, KindNeigh, KindRoute} }

// An Action is what happened to the subject of an [Event].
type Action string

// The actions.
const (
	Added   Action = "added"
	Changed Action = "changed" // moved to another VTEP, or replaced
	Deleted Action = "deleted" // aged out or taken away
)

// An Event is one change. Of the pointers the one of its Kind is set.
type Event struct {
	Time   time.Time  `json:"time"`
	Kind   Kind       `json:"kind"`
	Action Action     `json:"action"`
	FDB    *FDBEntry  `json:"fdb,omitempty"`
	Remote *Remote    `json:"remote,omitempty"`
	Neigh  *Neighbour `json:"neigh,omitempty"`
	Route  *Route     `json:"route,omitempty"`
}
