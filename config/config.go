// Package config is the configuration of vtepd: strict YAML or flags, checked
// as a whole, into an immutable [Config]. It looks at nothing but the file: what
// the host must say (addresses, routes) is found out by the daemon.
package config

import (
	"net/netip"
	"time"

	"vtepd/encap"
	"vtepd/encap/packet"
)

// A Config is a whole configuration, checked. It is never changed.
type Config struct {
	Segments []Segment // in the file's order; VNIs and devices are distinct
	Control  Control
	Log      Log
	Datapath Datapath
	CNI      CNI
	Flannel  *Flannel // nil for none

	warnings []Problem
}

// Control says where the control socket is.
type Control struct{ Path string }

// Log says what is logged and how.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // console, json
}

// Datapath says how frames are moved.
type Datapath struct {
	Tier    string        // auto, portable, offload, tunnel-gso, ebpf
	Workers int           // 0 for auto
	Spin    time.Duration // how long a worker polls before it sleeps
}

// A Segment is one VNI with its device. Keys of `underlay` are merged into it.
type Segment struct {
	VNI       uint32
	Mode      Mode
	Device    string
	Address   []netip.Prefix // of the device, with host bits
	MTU       int            // bytes; 0 for auto
	Local     []netip.Addr   // our outer addresses, at most one a family; empty to let the kernel choose
	Interface string
	Port      uint16
	SrcPort   encap.PortRange
	Remotes   []Destination
	Group     netip.Addr // zero for none
	Learning  bool
	Ageing    time.Duration // 0 = never
	MaxMACs   int
	// RemoteShare is the percentage of MaxMACs one remote may fill.
	RemoteShare int
	MAC         packet.MAC // zero to derive one
	TTL         Inherited  // Value 0 is auto
	TOS         Inherited
	DF          DF
	UDPCsum     bool
	// UDP6ZeroCsumTx sends checksum 0 over IPv6, UDP6ZeroCsumRx accepts it.
	UDP6ZeroCsumTx bool
	UDP6ZeroCsumRx bool
	VLANPass       bool
	Accept         Accept
	Bridge         string
	Static         []StaticMAC
	Neighbours     []Neighbour
	Suppress       bool
	Persist        bool
	Prefixes       []Prefix // routed only, each with a router MAC

	// Line is where the segment starts in the file, 0 for flags.
	Line int
}

// Mode says what a segment carries.
type Mode uint8

// The modes.
const (
	Bridged Mode = iota // Ethernet frames, through a TAP
	Routed              // IP packets, through a TUN
)

// A Prefix is behind a VTEP, whose router has the given MAC. Behind several
// VTEPs it stands several times.
type Prefix struct {
	Prefix netip.Prefix // masked
	Via    Destination
	MAC    packet.MAC
}

// A Destination is a VTEP: port and VNI are filled in from the segment where
// the file leaves them out.
type Destination struct {
	IP   netip.Addr
	Port uint16
	VNI  uint32
}

// Inherited is an outer header's byte that may come from the inner header.
type Inherited struct {
	Value   uint8
	Inherit bool
}

// DF is the outer Don't Fragment bit.
type DF uint8

// The values of DF.
const (
	DFUnset DF = iota
	DFSet
	DFInherit
)

// AcceptMode says from whom frames are accepted.
type AcceptMode uint8

// The modes.
const (
	AcceptKnown AcceptMode = iota // remotes, static destinations; with a group its subnets
	AcceptAny
	AcceptList // Prefixes only
)

// Accept says from which outer sources frames are accepted.
type Accept struct {
	Mode     AcceptMode
	Prefixes []netip.Prefix
}

// A StaticMAC places a MAC behind one VTEP, or a multicast MAC behind several
// by standing several times.
type StaticMAC struct {
	MAC packet.MAC
	Dst Destination
}

// A Neighbour says at which MAC an overlay address is.
type Neighbour struct {
	IP  netip.Addr
	MAC packet.MAC
}

// Warnings are what is allowed but seldom meant.
func (c *Config) Warnings() []Problem { return c.warnings }
