package api

import (
	"net/netip"

	"vtepd/encap/packet"
)

// Version says what the daemon is.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"` // the Go release it was built with
	PID     int    `json:"pid"`
}

// Status is the daemon at a glance.
type Status struct {
	Version string `json:"version"`
	PID     int    `json:"pid"`
	Uptime  int64  `json:"uptime_seconds"`
	// Config is the configuration file, empty when there are only flags.
	Config string `json:"config"`
	// LogLevel is the one in force.
	LogLevel string `json:"log_level"`
	// Tier is how frames are moved: portable, offload, tunnel-gso, ebpf.
	Tier string `json:"tier"`
	// Capabilities are what the kernel was found to do, such as udp_segment.
	Capabilities List[string] `json:"capabilities"`
	// WhyNotFaster says why Tier is not a faster one; empty for the fastest.
	WhyNotFaster string              `json:"why_not_faster"`
	Workers      int                 `json:"workers"`
	Sockets      List[Socket]        `json:"sockets"`
	Segments     List[SegmentStatus] `json:"segments"`
	// Node is left out where nobody gives subnets to pods.
	Node *Node `json:"node,omitempty"`
	// Kernel is left out where nothing is written into it.
	Kernel *Kernel `json:"kernel,omitempty"`
	// Sources are the control planes that are followed.
	Sources List[SourceStatus] `json:"sources"`
	// Problems are sentences about what does not work now.
	Problems List[string] `json:"problems"`
}

// A SourceStatus is one control plane at a glance.
type SourceStatus struct {
	Source Source `json:"source"`
	// Connected says whether its store answers; while it does not, the last
	// state stays in force.
	Connected bool `json:"connected"`
	// Leases is how many other nodes are in force, Refused how many leases are
	// not.
	Leases  int `json:"leases"`
	Refused int `json:"refused"`
}

// A Socket is where the daemon listens for datagrams.
type Socket struct {
	Addr   netip.AddrPort `json:"address"`
	Device string         `json:"device,omitempty"` // bound to it
	Group  bool           `json:"group,omitempty"`  // Addr is a group that was joined
	// Dropped is how many datagrams the kernel dropped at the socket: no room,
	// or a wrong outer checksum.
	Dropped uint64 `json:"dropped"`
}

// A Mode says what a segment carries.
type Mode string

// The modes, as the configuration has them.
const (
	ModeBridge Mode = "bridge" // Ethernet frames
	ModeRoute  Mode = "route"  // IP packets
)

// A SegmentStatus is one segment at a glance.
type SegmentStatus struct {
	VNI    uint32 `json:"vni"`
	Mode   Mode   `json:"mode"`
	Device string `json:"device"`
	// MAC is the device's, and of a routed segment, whose device has none, that
	// of our VTEP.
	MAC packet.MAC `json:"mac"`
	// MTU is the device's in bytes.
	MTU int `json:"mtu"`
	// Local are the outer addresses frames leave with, at most one a family.
	Local     List[netip.Addr] `json:"local"`
	Interface string           `json:"interface,omitempty"` // of the underlay, when one is named
	Group     netip.Addr       `json:"group,omitzero"`
	Port      uint16           `json:"port"`
	Bridge    string           `json:"bridge,omitempty"` // that the device is in
	Learning  bool             `json:"learning"`
	Ageing    int64            `json:"ageing_seconds"` // 0 = never
	MaxMACs   int              `json:"max_macs"`
	// Accept is known, any or a list of prefixes with commas.
	Accept   string `json:"accept"`
	Suppress bool   `json:"suppress"`
	// Remotes and Entries are how many VTEPs and FDB entries there are.
	Remotes int `json:"remotes"`
	Entries int `json:"fdb_entries"`
	// Prefixes is how many a routed segment has in the data path.
	Prefixes int `json:"prefixes"`
	// Tier is the daemon's, or a slower one that the segment's options or the
	// host asked for; Reason says why then.
	Tier   string `json:"tier"`
	Reason string `json:"reason,omitempty"`
	// Problems are sentences about what does not work now.
	Problems List[string] `json:"problems"`
}
