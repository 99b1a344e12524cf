// Package route is the model of reachability: which VTEPs a segment has, which
// MAC, neighbour and prefix is behind which. Sources (configuration, operators,
// control planes) yield batches of entries; a [Table] keeps one set a source
// and publishes what changes of the best entry of each key. It knows neither
// sockets nor the engine.
package route

import (
	"cmp"
	"net/netip"

	"vtepd/encap/packet"
)

// A Kind says what an entry is about.
type Kind uint8

// The kinds.
const (
	RemoteVTEP Kind = iota // a member of a segment's flood list: a VTEP or a group
	MAC                    // a MAC behind a VTEP
	Neighbor               // an overlay IP address at a MAC
	Prefix                 // overlay addresses behind a VTEP
)

// A VTEP is a destination. It is comparable.
type VTEP struct {
	Addr netip.Addr
	Port uint16
	VNI  uint32
}

// Compare orders VTEPs by address, port and VNI.
func (v VTEP) Compare(o VTEP) int {
	return cmp.Or(v.Addr.Compare(o.Addr), cmp.Compare(v.Port, o.Port), cmp.Compare(v.VNI, o.VNI))
}

// A Key says what an entry is about. It is comparable. Which fields count
// depends on the Kind; the others are zero.
type Key struct {
	Kind Kind
	VNI  uint32 // of the segment
	// VTEP of a RemoteVTEP; of a Prefix or a multicast MAC, which may have
	// several: each is an entry of its own.
	VTEP   VTEP
	MAC    packet.MAC   // MAC
	IP     netip.Addr   // Neighbor
	Prefix netip.Prefix // Prefix: masked
}

// State says how long a MAC holds, in the words of `bridge fdb`.
type State uint8

// The states.
const (
	Permanent State = iota
	Static
	Dynamic // ages
)

// Way says how packets for a prefix travel.
type Way uint8

// The ways.
const (
	Tunnel   Way = iota // encapsulated
	OnLink              // by a plain route where the VTEP is on-link, else encapsulated
	HostOnly            // by a plain route, never encapsulated
)

// Attr is what a source keeps with an entry for itself: a route target, a
// distinguisher, a lease, in an encoding of its own. Nobody else looks into
// it. It is a string so that any two can be compared; an entry whose Attr
// changes is [Replaced], so what changes often and matters to nobody (the time
// of a renewal) does not belong here.
type Attr string

// An Entry is what one source says of a key. It is comparable with ==.
type Entry struct {
	Key    Key
	Source Source
	VTEP   VTEP       // MAC, Prefix: where it is
	MAC    packet.MAC // Neighbor: where it is; Prefix: of the router behind the VTEP
	State  State      // MAC
	Way    Way        // Prefix
	// L3VNI is the VNI that packets for a Prefix carry, where the source tells
	// it apart from that of the segment (RFC 9136 §3.1); else zero.
	L3VNI uint32
	// Seq counts the moves of a MAC or Neighbor (RFC 7432 §15): between one
	// on our own ports and one behind a VTEP, the higher number is the later.
	Seq    uint32
	Sticky bool // MAC, Neighbor: it does not move (RFC 7432 §15.2)
	Attr   Attr
}

// A Batch is what one source says at one moment: changes, or with Snapshot all
// that it has, after which what was not repeated goes away. An empty snapshot
// takes a source out of the table. A source that only lost its peer or its
// store says nothing: what it said last stays in force.
//
// Entries may be of segments that do not exist (yet). One key is in Add once;
// of several the last counts.
type Batch struct {
	Source   Source
	Snapshot bool
	Add      []Entry // their Source is that of the Batch
	Remove   []Key   // without Snapshot
}

// Op is what became of the best entry of a key.
type Op uint8

// The operations.
const (
	Added Op = iota
	Replaced
	Removed
)

// A Delta is one change of the best entry of a key.
//
// Old is the entry that was in force, so that whoever carries out the change
// can undo it: zero when Added. Entry is the one in force now; when Removed it
// is Old again. Of one event, all removals come first: what takes the place of
// something under another key finds room.
type Delta struct {
	Op    Op
	Old   Entry
	Entry Entry
}

// MACEntry is the entry for a MAC behind a VTEP.
func MACEntry(vni uint32, mac packet.MAC, v VTEP, state State) Entry {
	return Entry{Key: MACKey(vni, mac, v), VTEP: v, State: state}
}

// PrefixEntry is the entry for a prefix behind a VTEP, whose router has the
// given MAC address, zero where none is known.
func PrefixEntry(vni uint32, p netip.Prefix, v VTEP, router packet.MAC, way Way) Entry {
	return Entry{Key: Key{Kind: Prefix, VNI: vni, Prefix: p.Masked(), VTEP: v}, VTEP: v, MAC: router, Way: way}
}

// RemoteEntry is the entry for a member of a segment's flood list.
func RemoteEntry(vni uint32, v VTEP) Entry {
	return Entry{Key: Key{Kind: RemoteVTEP, VNI: vni, VTEP: v}}
}

// NeighborEntry is the entry for an overlay address at a MAC.
func NeighborEntry(vni uint32, ip netip.Addr, mac packet.MAC) Entry {
	return Entry{Key: Key{Kind: Neighbor, VNI: vni, IP: ip}, MAC: mac}
}

// MACKey is the key for a MAC behind a VTEP.
func MACKey(vni uint32, mac packet.MAC, v VTEP) Key {
	k := Key{Kind: MAC, VNI: vni, MAC: mac}
	if mac.IsMulticast() {
		k.VTEP = v
	}
	return k
}
