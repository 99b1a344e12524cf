package vtep

import (
	"vtepd/encap/drop"
	"vtepd/encap/packet"
)

// route sends an IP packet, or a super-frame of them, to the VTEP that the
// longest prefix of its destination is behind. The device is a link and not a
// hop: the TTL stays as it is, as with the kernel's vxlan device that a route
// points at.
func (w *Worker) route(a *attachment, opts *Options, e *encapsulation) drop.Reason {
	b, p := e.frame.Bytes(), &w.parsed
	if p.Kind != packet.IPv4 && p.Kind != packet.IPv6 {
		return w.dropFrames(a, e.frame, drop.Malformed)
	}
	dst := p.DstIP(b)
	if dst.IsMulticast() { // nobody is told (RFC 1122 §3.2.2)
		return w.dropFrames(a, e.frame, drop.Multicast)
	}
	set := a.seg.routes.Lookup(dst)
	if set == nil {
		w.unreachable(a, b, p)
		return w.dropFrames(a, e.frame, drop.NoRemote)
	}
	w.prepare(e, opts, b, p)
	hop := set.Pick(e.entropy)
	r := a.seg.RemoteAt(hop.Dest)
	if r == nil { // it went this moment
		return w.dropFrames(a, e.frame, drop.NoRemote)
	}
	p.SetEthernet(b, hop.Router, opts.MAC)
	w.sendTo(a, r, e)
	return drop.None
}

// unroutable says why a frame from the tunnel is none for a routed segment:
// those have our VTEP's MAC and an IP packet. A kernel peer also sends what its
// device is asked for as any other, such as neighbour solicitations and
// multicast listener reports.
func unroutable(p *packet.Parsed, opts *Options, frame []byte) drop.Reason {
	switch {
	case p.Dst != opts.MAC:
		return drop.OtherHost
	case !p.CarriesIP():
		return drop.UnhandledProto
	case p.HeaderCut(frame):
		return drop.Truncated
	case p.Kind == packet.Other:
		return drop.Malformed
	}
	return drop.None
}
