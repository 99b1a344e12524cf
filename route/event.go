// Package route is the model of reachability: which VTEPs a segment has, which
// MAC, neighbour and prefix is behind which. Sources (configuration, operators,
// control planes) yield batches of entries; a [Table] keeps one set a source
// and publishes what changes of the best entry of each key. It knows neither
// sockets nor the engine.
package route

import (
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

// A Source says who an entry is from.
type Source uint8

// The sources, the better one later: what an operator does at run time holds
// against the file, and both against control planes.
const (
	Config Source = iota
	Operator
	sourceCount
)

// A VTEP is a destination. It is comparable.
type VTEP struct {
	Addr netip.Addr
	Port uint16
	VNI  uint32
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

// An Entry is what one source says of a key. It is comparable.
type Entry struct {
	Key    Key
	Source Source
	VTEP   VTEP       // MAC, Prefix: where it is
	MAC    packet.MAC // Neighbor: where it is; Prefix: of the router behind the VTEP
	State  State      // MAC
	Way    Way        // Prefix
}

// A Batch is what one source says at one moment: changes, or with Snapshot all
// that it has, after which what was not repeated goes away.
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

// A Delta is one change of the best entry of a key. Entry is the new one, for
// Removed the one that went.
type Delta struct {
	Op    Op
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

// MACKey is the key for a MAC behind a VTEP.
func MACKey(vni uint32, mac packet.MAC, v VTEP) Key {
	k := Key{Kind: MAC, VNI: vni, MAC: mac}
	if mac.IsMulticast() {
		k.VTEP = v
	}
	return k
}
