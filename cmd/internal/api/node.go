package api

import "net/netip"

// Node is what a network plugin for containers asks for: the subnets that this
// node's pods get addresses of.
type Node struct {
	// Subnets are at most a few, of one or both families; without host bits.
	Subnets List[netip.Prefix] `json:"subnets"`
	// MTU is that of the segment pods talk over in bytes, 0 when there is none.
	MTU int `json:"mtu"`
	// Source says who gave the subnets: config, flannel. Empty without any.
	Source Source `json:"source,omitempty"`
	// Waiting says why there are no subnets yet when they are still to come.
	Waiting string `json:"waiting,omitempty"`
	// Conflist is the network configuration written for container runtimes,
	// empty when there is none.
	Conflist string `json:"conflist,omitempty"`
}
