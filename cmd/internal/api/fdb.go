package api

import (
	"net/netip"

	"vtepd/encap/packet"
)

// A State says how long an entry of the FDB or the neighbour table holds.
type State string

// The states, in the words of `bridge fdb`.
const (
	Dynamic   State = "dynamic"   // ages
	Static    State = "static"    // does not age
	Permanent State = "permanent" // does not age
)

// Valid reports whether s is one of the states.
func (s State) Valid() bool { return s == Dynamic || s == Static || s == Permanent }

// A Source says who made an entry.
type Source string

// The sources.
const (
	Learned  Source = "learned"  // from the wire
	Config   Source = "config"   // the configuration file or the flags
	Operator Source = "operator" // vtepctl
	Flannel  Source = "flannel"
	EVPN     Source = "evpn"
	Kube     Source = "kube"
)

// An FDBEntry places a MAC behind a VTEP. The zero MAC is the flood list: one
// entry for each member, the group included.
type FDBEntry struct {
	MAC     packet.MAC   `json:"mac"`
	Ifname  string       `json:"ifname"`      // the segment's device
	Segment uint32       `json:"segment"`     // the segment's VNI
	Dst     netip.Addr   `json:"dst"`         // the VTEP's outer address
	Port    uint16       `json:"port"`        // the VTEP's UDP port
	VNI     uint32       `json:"vni"`         // the VNI that frames to it carry
	State   State        `json:"state"`       //
	Source  Source       `json:"source"`      //
	Age     int64        `json:"age_seconds"` // since the MAC was last heard or put; 0 for what does not age
	Flags   List[string] `json:"flags"`       // as `bridge fdb` has them: self
}

// An Op is what is to be done with an entry.
type Op string

// The operations, as `bridge fdb` has them. Remotes know only OpAdd and OpDel,
// neighbours and routes OpReplace, too.
const (
	// OpAdd refuses a MAC that has a static or operator entry. It replaces a
	// learned one.
	OpAdd Op = "add"
	// OpAppend adds one more destination to a multicast MAC or to the flood
	// list.
	OpAppend Op = "append"
	// OpReplace puts the entry in place of all that the MAC has.
	OpReplace Op = "replace"
	// OpDel deletes the entry of the MAC with that destination, or all of them
	// when none is given.
	OpDel Op = "del"
)

// An FDBChange is a request to change the FDB of one segment.
type FDBChange struct {
	Op Op `json:"op"`
	Selector
	MAC packet.MAC `json:"mac"`
	// Dst is the VTEP. OpDel may leave it out (the zero Addr).
	Dst netip.Addr `json:"dst,omitzero"`
	// Port is the VTEP's UDP port, 0 for the segment's own; for OpDel 0 is any.
	Port uint16 `json:"port,omitempty"`
	// VNI is the one that frames to the VTEP carry, nil for the segment's own;
	// for OpDel nil is any.
	VNI *uint32 `json:"vni,omitempty"`
	// State is Permanent when it is empty. OpDel ignores it.
	State State `json:"state,omitempty"`
}

// An FDBFlush is a request to delete many entries. [FDBFlush.Takes] says which.
type FDBFlush struct {
	Selector
	// All takes operator entries of every state beside dynamic ones.
	All bool `json:"all,omitempty"`
	// Permanent, Static and Dynamic, when not nil, ask for entries of that state
	// (true) or for none of it (false).
	Permanent *bool `json:"permanent,omitempty"`
	Static    *bool `json:"static,omitempty"`
	Dynamic   *bool `json:"dynamic,omitempty"`
	// Dst, Port and VNI, when set, are the destination's.
	Dst  netip.Addr `json:"dst,omitzero"`
	Port uint16     `json:"port,omitempty"`
	VNI  *uint32    `json:"vni,omitempty"`
}

// Takes reports whether e is to be deleted. What the file or a control plane
// made is never taken. Of the rest dynamic entries are taken, operator entries
// of other states only with All or when their state is asked for by name; then
// every filter must hold.
func (f *FDBFlush) Takes(e *FDBEntry) bool {
	if e.Source != Learned && e.Source != Operator {
		return false
	}
	asked, named := f.states(e.State)
	if !asked {
		return false
	}
	if e.State != Dynamic && !f.All && !named {
		return false
	}
	return f.Matches(e.Ifname, e.Segment) &&
		(!f.Dst.IsValid() || f.Dst == e.Dst) &&
		(f.Port == 0 || f.Port == e.Port) &&
		(f.VNI == nil || *f.VNI == e.VNI)
}

// states reports whether the state filters let s through, and whether one of
// them names it.
func (f *FDBFlush) states(s State) (through, named bool) {
	wanted := false
	for state, want := range map[State]*bool{Permanent: f.Permanent, Static: f.Static, Dynamic: f.Dynamic} {
		if want == nil {
			continue
		}
		if state == s {
			return *want, *want
		}
		wanted = wanted || *want
	}
	return !wanted, false
}
