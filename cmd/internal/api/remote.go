package api

import (
	"net/netip"

	"vtepd/encap/packet"
)

// A Remote is a VTEP that a segment knows.
type Remote struct {
	IP      netip.Addr `json:"ip"` // a group's address for a group
	Port    uint16     `json:"port"`
	VNI     uint32     `json:"vni"` // the one that frames to it carry
	Ifname  string     `json:"ifname"`
	Segment uint32     `json:"segment"`
	Source  Source     `json:"source"`
	// Flood says that it is a member of the flood list. Others are only
	// destinations of FDB entries.
	Flood bool `json:"flood"`
	// MTU is the largest inner IP packet in bytes that the path takes.
	MTU int `json:"mtu"`
	// Problem says why nothing can be sent to it now; empty when all is well.
	Problem string `json:"problem,omitempty"`
}

// A RemoteChange is a request to add a VTEP to a segment's flood list or to
// delete one from it.
type RemoteChange struct {
	Op Op `json:"op"` // OpAdd, OpDel
	Selector
	IP netip.Addr `json:"ip"`
	// Port is 0 for the segment's own; for OpDel 0 is any.
	Port uint16 `json:"port,omitempty"`
	// VNI is nil for the segment's own; for OpDel nil is any.
	VNI *uint32 `json:"vni,omitempty"`
}

// A Neighbour says at which MAC an overlay address is, for answers to ARP and
// neighbour solicitations.
type Neighbour struct {
	IP      netip.Addr `json:"ip"`
	MAC     packet.MAC `json:"mac"`
	Ifname  string     `json:"ifname"`
	Segment uint32     `json:"segment"`
	State   State      `json:"state"`
	Source  Source     `json:"source"`
}

// A NeighChange is a request to add a neighbour to a segment or to delete one.
type NeighChange struct {
	Op Op `json:"op"` // OpAdd, OpReplace, OpDel
	Selector
	IP netip.Addr `json:"ip"`
	// MAC is left out (the zero MAC) by OpDel.
	MAC packet.MAC `json:"mac,omitzero"`
}

// A Result is the answer to a change that was carried out.
type Result struct {
	// Changed is how many entries were added, replaced or deleted.
	Changed int `json:"changed"`
	// Note is a sentence that whoever asked should read; often empty.
	Note string `json:"note,omitempty"`
}

// NoteNamed is the note of a deletion that the configuration file undoes.
const NoteNamed = "named by the configuration file: back at the next reload or restart"
