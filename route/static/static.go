// Package static is the source of reachability that stands in the
// configuration.
package static

import (
	"net/netip"

	"vtepd/encap/packet"
	"vtepd/route"
)

// A Segment is what the configuration says of one segment.
type Segment struct {
	VNI        uint32
	Remotes    []route.VTEP // flood list, the group included
	MACs       []MAC
	Neighbours []Neighbour
	Prefixes   []Prefix
}

// A MAC is a MAC behind a VTEP.
type MAC struct {
	MAC  packet.MAC
	VTEP route.VTEP
}

// A Neighbour is an overlay address at a MAC.
type Neighbour struct {
	IP  netip.Addr
	MAC packet.MAC
}

// A Prefix is behind a VTEP, whose router has a MAC.
type Prefix struct {
	Prefix netip.Prefix
	VTEP   route.VTEP
	Router packet.MAC
}

// Snapshot is all that a configuration says.
func Snapshot(segments []Segment) route.Batch {
	b := route.Batch{Source: route.Config, Snapshot: true}
	for _, s := range segments {
		for _, v := range s.Remotes {
			b.Add = append(b.Add, route.RemoteEntry(s.VNI, v))
		}
		for _, m := range s.MACs {
			b.Add = append(b.Add, route.MACEntry(s.VNI, m.MAC, m.VTEP, route.Permanent))
		}
		for _, n := range s.Neighbours {
			b.Add = append(b.Add, route.NeighborEntry(s.VNI, n.IP, n.MAC))
		}
		for _, p := range s.Prefixes {
			b.Add = append(b.Add, route.PrefixEntry(s.VNI, p.Prefix, p.VTEP, p.Router, route.Tunnel))
		}
	}
	return b
}
