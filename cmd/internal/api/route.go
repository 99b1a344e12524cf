package api

import (
	"net/netip"

	"vtepd/encap/packet"
)

// A Way says how packets for a prefix travel.
type Way string

// The ways.
const (
	WayTunnel   Way = "tunnel"
	WayOnLink   Way = "on-link"   // by a plain route where the VTEP is on-link, else by the tunnel
	WayHostOnly Way = "host-only" // by a plain route, never by the tunnel
)

// A Route is a prefix behind a VTEP, of a routed segment. A prefix behind
// several VTEPs has one each.
type Route struct {
	Prefix  netip.Prefix `json:"prefix"`
	Via     netip.Addr   `json:"via"` // the VTEP
	Port    uint16       `json:"port"`
	VNI     uint32       `json:"vni"` // the one that frames to it carry
	MAC     packet.MAC   `json:"mac,omitzero"`
	Ifname  string       `json:"ifname"`
	Segment uint32       `json:"segment"`
	Source  Source       `json:"source"`
	Way     Way          `json:"way"`
}

// A RouteChange is a request to place a prefix behind a VTEP or to take it
// away.
type RouteChange struct {
	// Op is OpAdd, which refuses a prefix that another source has or that is
	// behind the VTEP already, OpReplace, which puts the VTEP in place of all that
	// operators said of the prefix, or OpDel.
	Op Op `json:"op"`
	Selector
	Prefix netip.Prefix `json:"prefix"`
	// Via is the VTEP. OpDel may leave it out (the zero Addr): then all are
	// meant.
	Via netip.Addr `json:"via,omitzero"`
	// Port is 0 for the segment's own; for OpDel 0 is any.
	Port uint16 `json:"port,omitempty"`
	// VNI is nil for the segment's own; for OpDel nil is any.
	VNI *uint32 `json:"vni,omitempty"`
	// MAC is the router's behind the VTEP. Zero takes that of the other
	// prefixes there. OpDel ignores it.
	MAC packet.MAC `json:"mac,omitzero"`
}
