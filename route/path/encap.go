package path

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// encapsulates reports whether the route to dst puts headers of its own around
// packets (ip-route(8), `encap`: MPLS, SRv6, BPF, IP). The netlink package shows
// only some of them. A route that cannot be looked at counts as one that does.
func encapsulates(dst netip.Addr, o *netlink.RouteGetOptions) bool {
	family, bits := unix.AF_INET, uint8(32)
	if dst.Is6() {
		family, bits = unix.AF_INET6, 128
	}
	msg := nl.NewRtMsg()
	msg.Family, msg.Dst_len = uint8(family), bits
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, 0)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, dst.AsSlice()))
	if o.SrcAddr != nil {
		msg.Src_len = bits
		req.AddData(nl.NewRtAttr(unix.RTA_SRC, o.SrcAddr))
	}
	if o.OifIndex != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(o.OifIndex))))
	}
	replies, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil || len(replies) == 0 || len(replies[0]) < unix.SizeofRtMsg {
		return true
	}
	attrs, err := nl.ParseRouteAttr(replies[0][unix.SizeofRtMsg:])
	if err != nil {
		return true
	}
	for _, a := range attrs {
		if a.Attr.Type&^unix.NLA_F_NESTED == unix.RTA_ENCAP {
			return true
		}
	}
	return false
}
