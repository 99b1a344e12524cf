package ctl

import (
	"fmt"
	"strings"

	"vtepd/cmd/internal/api"
	"vtepd/encap"
)

// fdbLine prints an entry as `bridge fdb` does for a vxlan device, and who
// made it.
func fdbLine(e *api.FDBEntry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v dev %s dst %v", e.MAC, e.Ifname, e.Dst)
	b.WriteString(place(e.Port, e.VNI, e.Segment))
	for _, f := range e.Flags {
		b.WriteString(" " + f)
	}
	fmt.Fprintf(&b, " %s", e.State)
	if e.State == api.Dynamic {
		fmt.Fprintf(&b, " age %ds", e.Age)
	}
	fmt.Fprintf(&b, " source %s", e.Source)
	return b.String()
}

// place prints port and VNI of a destination where they are not the usual
// ones, as `bridge fdb` does.
func place(port uint16, vni, segment uint32) string {
	s := ""
	if port != encap.Port {
		s += fmt.Sprintf(" port %d", port)
	}
	if vni != segment {
		s += fmt.Sprintf(" vni %d", vni)
	}
	return s
}

func remoteLine(r *api.Remote) string {
	s := fmt.Sprintf("%v dev %s%s mtu %d", r.IP, r.Ifname, place(r.Port, r.VNI, r.Segment), r.MTU)
	if r.Flood {
		s += " flood"
	}
	s += " source " + string(r.Source)
	if r.Problem != "" {
		s += "\n    problem: " + r.Problem
	}
	return s
}

// neighLine prints a neighbour as `ip neigh` does, and who made it.
func neighLine(n *api.Neighbour) string {
	return fmt.Sprintf("%v dev %s lladdr %v %s source %s",
		n.IP, n.Ifname, n.MAC, strings.ToUpper(string(n.State)), n.Source)
}

// routeLine prints a prefix as `ip route` does, and who made it.
func routeLine(r *api.Route) string {
	s := fmt.Sprintf("%v via %v dev %s%s", r.Prefix, r.Via, r.Ifname, place(r.Port, r.VNI, r.Segment))
	if !r.MAC.IsZero() {
		s += " lladdr " + r.MAC.String()
	}
	if r.Way == api.WayOnLink || r.Way == api.WayHostOnly {
		s += " " + string(r.Way)
	}
	return s + " source " + string(r.Source)
}
