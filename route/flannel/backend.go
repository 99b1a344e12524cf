package flannel

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"vtepd/encap"
	"vtepd/route"
)

// The backends that vtepd has, as networks and leases name them.
const (
	VXLAN  = "vxlan"
	HostGW = "host-gw"
)

const (
	defaultVNI  = 1
	defaultPort = 8472 // of the kernel's driver, which Flannel leaves it to
	maxVNI      = 1<<24 - 1
	minMTU      = 576
	maxMTU      = 65535
)

// A Backend says how packets travel between nodes.
type Backend struct {
	Type string // VXLAN or HostGW
	// Of VXLAN:
	VNI           uint32
	Port          uint16
	MTU           int  // of the underlay; 0 for that of the interface
	DirectRouting bool // on-link nodes are reached by plain routes
	// Learning asks a kernel device to learn from the wire. A routed segment
	// has nothing to learn, so it changes nothing here.
	Learning bool
}

// Way says how packets for the nodes of the network travel.
func (b Backend) Way() route.Way {
	switch {
	case b.Type == HostGW:
		return route.HostOnly
	case b.DirectRouting:
		return route.OnLink
	}
	return route.Tunnel
}

type rawBackend struct {
	Type          string
	VNI           *int64
	Port          int64
	MTU           int64
	GBP           bool
	Learning      bool
	DirectRouting bool
}

// parseBackend reads the Backend of a network (Flannel's
// pkg/backend/vxlan/vxlan.go).
func parseBackend(data []byte) (Backend, error) {
	if len(data) == 0 || string(data) == "null" {
		return Backend{}, errors.New(`Backend is missing, which means "udp" to Flannel; vtepd has vxlan and host-gw: write "Backend":{"Type":"vxlan"}`)
	}
	var raw rawBackend
	if err := json.Unmarshal(data, &raw); err != nil {
		return Backend{}, fmt.Errorf("Backend is not what it should be: %s", brief(err))
	}
	switch strings.ToLower(raw.Type) { // as pkg/backend/manager.go does
	case HostGW:
		return Backend{Type: HostGW, VNI: HostGWVNI}, nil
	case VXLAN:
		return raw.vxlan()
	case "":
		return Backend{}, errors.New(`Backend has no Type; write "Type":"vxlan" or "Type":"host-gw"`)
	}
	return Backend{}, fmt.Errorf("the backend %s is none that vtepd has (vxlan, host-gw)", quote(raw.Type))
}

func (raw rawBackend) vxlan() (Backend, error) {
	b := Backend{Type: VXLAN, VNI: defaultVNI, Port: defaultPort, DirectRouting: raw.DirectRouting, Learning: raw.Learning}
	switch {
	case raw.GBP:
		return b, errors.New("Backend.GBP is true: vtepd does not carry group policy ids, and nodes with and without them do not mix; set it to false")
	case raw.VNI != nil && (*raw.VNI < 0 || *raw.VNI > maxVNI):
		return b, fmt.Errorf("Backend.VNI %d is not from 0 to %d", *raw.VNI, maxVNI)
	case raw.Port < 0 || raw.Port > 65535:
		return b, fmt.Errorf("Backend.Port %d is not from 0 to 65535", raw.Port)
	case raw.MTU != 0 && (raw.MTU < minMTU || raw.MTU > maxMTU):
		return b, fmt.Errorf("Backend.MTU %d is not from %d to %d (0 for that of the interface)", raw.MTU, minMTU, maxMTU)
	}
	if raw.VNI != nil {
		b.VNI = uint32(*raw.VNI)
	}
	if raw.Port != 0 {
		b.Port = uint16(raw.Port)
	}
	b.MTU = int(raw.MTU)
	return b, nil
}

// MTU is what pods may send on this node: FLANNEL_MTU and the segment device's
// MTU. underlay is the MTU of the interface to the other nodes. Where the
// network has IPv6 one segment carries both families, and the outer headers of
// IPv6 count; flanneld takes off those of IPv4 always.
func (n *Network) MTU(underlay int) int {
	if n.Backend.Type == HostGW {
		return underlay
	}
	if n.Backend.MTU != 0 {
		underlay = n.Backend.MTU
	}
	if n.V6.Enabled() {
		return underlay - encap.OverheadV6
	}
	return underlay - encap.OverheadV4
}

// HostGWVNI stands in entries for the segment that a host-gw network has not.
// No VXLAN network has that number.
const HostGWVNI = maxVNI + 1
