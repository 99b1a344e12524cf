package encap

// What encapsulation costs, in bytes.
const (
	// OverheadV4 is the difference of path MTU and overlay MTU over IPv4: outer
	// IPv4, UDP and VXLAN headers and the inner Ethernet header.
	OverheadV4 = 20 + 8 + HeaderLen + 14
	// OverheadV6 is the same over IPv6.
	OverheadV6 = 40 + 8 + HeaderLen + 14
)

// OverlayMTU returns the largest inner IP packet, in bytes, that fits a path
// of pathMTU bytes.
func OverlayMTU(pathMTU int, v6 bool) int {
	if v6 {
		return pathMTU - OverheadV6
	}
	return pathMTU - OverheadV4
}

// FrameLimit returns the largest inner Ethernet frame, in bytes without FCS
// and with its tags, that fits a path of pathMTU bytes.
func FrameLimit(pathMTU int, v6 bool) int { return OverlayMTU(pathMTU, v6) + 14 }

// A PortRange is a range of UDP source ports, both ends included.
type PortRange struct{ Min, Max uint16 }

// Size returns the number of ports in the range.
func (r PortRange) Size() int { return int(r.Max) - int(r.Min) + 1 }

// Pick spreads hashes evenly over the range.
func (r PortRange) Pick(hash uint16) uint16 {
	return r.Min + uint16(uint32(hash)*uint32(r.Size())>>16)
}
