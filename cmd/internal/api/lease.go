package api

import (
	"net/netip"
	"time"
)

// A Lease is this node's place in a network whose nodes have leases.
type Lease struct {
	Source Source `json:"source"`
	// Connected says whether the store answers, Since for how long it has been
	// so. LastError stays when it is over.
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	LastError string    `json:"last_error,omitempty"`
	Revision  int64     `json:"revision"` // of the store

	// Key is that of the lease below subnets/, empty before there is one; Value
	// is what we wrote.
	Key     string             `json:"key"`
	Value   string             `json:"value,omitempty"`
	Subnets List[netip.Prefix] `json:"subnets"`
	// Expires is the end of the lease, if it is not renewed. A reservation has
	// none.
	Expires  time.Time `json:"expires,omitzero"`
	Reserved bool      `json:"reserved"`

	Networks List[netip.Prefix] `json:"networks"`
	Backend  string             `json:"backend,omitempty"`
	Device   string             `json:"device,omitempty"` // of the segment in force
	VNI      *uint32            `json:"vni,omitempty"`
	Port     uint16             `json:"port,omitempty"`
	MTU      int                `json:"mtu,omitempty"` // FLANNEL_MTU, bytes
	// Interface is that to the other nodes.
	Interface  string `json:"interface,omitempty"`
	SubnetFile string `json:"subnet_file"`

	// Peers are the leases of other nodes that are in force; Refused counts, by
	// reason, those that were not, Refusals are sentences about those that are
	// not now, the first hundred.
	Peers      int          `json:"peers"`
	RefusedNow int          `json:"refused_now"`
	Refused    Tally        `json:"refused"`
	Refusals   List[string] `json:"refusals"`
	Renewals   uint64       `json:"renewals"`
	Races      uint64       `json:"races"`   // somebody else was faster
	Lost       uint64       `json:"lost"`    // the lease was gone, and was acquired again
	Relists    uint64       `json:"relists"` // the store was read anew
	Problems   List[string] `json:"problems"`
}
