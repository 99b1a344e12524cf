package vtep

import (
	"net/netip"

	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

// DF says what the outer Don't Fragment bit of IPv4 is. We send no outer
// fragments whatever it says.
type DF uint8

// The values of DF, as `ip link … type vxlan df` has them.
const (
	DFUnset DF = iota
	DFSet
	DFInherit // that of the inner IPv4 header; set for IPv6
)

// Options are what may change about a segment while it forwards. A set of
// options is immutable once given to [Segment.SetOptions].
type Options struct {
	Learning bool // place inner source MACs behind the VTEPs they come from
	Suppress bool // answer ARP and ND for known neighbours on the spot
	PassVLAN bool // carry inner VLAN tags (RFC 7348 §6.1 says drop)

	TTL        uint8 // outer TTL, 0 for the kernel's choice (1 to a group)
	TTLInherit bool  // take the inner TTL where there is one
	TOS        uint8 // outer DSCP; the ECN bits come from RFC 6040
	TOSInherit bool  // take the inner DSCP
	DF         DF

	// Local are our own outer addresses: never a source, never flooded to.
	Local []netip.Addr
	// IfIndex, when not 0, is the only interface datagrams may arrive by.
	IfIndex int32
	// A source may send to us when AcceptAny is set, or when AcceptKnown is set
	// and configuration or a control plane named it, or when it lies in one of
	// AcceptPrefixes.
	AcceptAny      bool
	AcceptKnown    bool
	AcceptPrefixes []netip.Prefix

	// MAC is the device's own address: a frame from the tunnel that claims it
	// is a loop.
	MAC packet.MAC
	// DeviceMTU is the device's MTU in bytes of inner IP packet.
	DeviceMTU int
	// PathMTU is the path MTU in bytes assumed for a VTEP nobody looked up yet.
	PathMTU int
	// Port is the UDP port of a VTEP that was learned from the wire.
	Port uint16

	// FDB limits the learned entries. Its Share applies once there are two
	// remotes or a group.
	FDB fdb.Limits
}

// accepts reports whether a source may send to us; r is its remote or nil.
func (o *Options) accepts(src netip.Addr, r *Remote) bool {
	if o.AcceptAny || o.AcceptKnown && r != nil && r.Known() {
		return true
	}
	for _, p := range o.AcceptPrefixes {
		if p.Contains(src) {
			return true
		}
	}
	return false
}

// isLocal reports whether a is one of our own outer addresses.
func (o *Options) isLocal(a netip.Addr) bool {
	for _, l := range o.Local {
		if l == a {
			return true
		}
	}
	return false
}

// isMartian reports whether src is an address that no VTEP can have. The
// kernel's vxlan device takes such sources; we do not (RFC 1812 §5.3.7).
func (o *Options) isMartian(src netip.Addr) bool {
	switch {
	case !src.IsValid(), src.IsUnspecified(), src.IsMulticast(), src == broadcast4:
		return true
	case o.isLocal(src):
		return true
	case src.IsLoopback():
		for _, l := range o.Local {
			if l.IsLoopback() {
				return false
			}
		}
		return true
	}
	return false
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})
