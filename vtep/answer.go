package vtep

import (
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// errorsPerTick is how many senders of frames that cannot be forwarded are told
// in 100 ms, a worker and segment: a flood of them must not become a flood of
// answers.
const errorsPerTick = 10

// suppress answers an ARP request or a neighbour solicitation for a known
// neighbour on the spot. Announcements and address probes for what is not
// known go on, so that duplicates are found.
func (w *Worker) suppress(a *attachment, b []byte, p *packet.Parsed) bool {
	n := 0
	switch p.Kind {
	case packet.ARP:
		_, sender, target, ok := packet.ARPRequest(b, p)
		if !ok || sender == target || sender.IsUnspecified() {
			return false
		}
		mac, ok := a.seg.Neighbours()[target]
		if !ok || mac == p.Src {
			return false
		}
		n = packet.AppendARPReply(w.answer[:], b, p, mac)
	case packet.IPv6:
		target, _, ok := packet.NeighbourSolicit(b, p)
		if !ok {
			return false
		}
		mac, ok := a.seg.Neighbours()[target]
		if !ok || mac == p.Src {
			return false
		}
		n = packet.NeighbourAdvert(w.answer[:], b, p, mac)
	}
	return n > 0 && w.writeAnswer(a, n)
}

// tooBig tells the sender of an oversize frame the largest packet that fits,
// as the inner destination would, whether or not there is a router between
// (RFC 1191, RFC 8201; kernel: skb_tunnel_check_pmtu).
func (w *Worker) tooBig(a *attachment, b []byte, p *packet.Parsed, limit int) {
	if !w.mayTell(a) {
		return
	}
	mtu, n := limit-14-4*int(p.Tags), 0
	switch p.Kind {
	case packet.IPv4:
		n = packet.FragNeeded(w.answer[:], b, p, mtu)
	case packet.IPv6:
		n = packet.TooBig(w.answer[:], b, p, mtu)
	}
	w.tell(a, n, TooBigSent)
}

// unreachable tells the sender of an IP packet that it has no way to go.
func (w *Worker) unreachable(a *attachment, b []byte, p *packet.Parsed) {
	if w.mayTell(a) {
		w.tell(a, packet.Unreachable(w.answer[:], b, p), UnreachableSent)
	}
}

// mayTell reports whether one more sender may be told of an error now.
func (w *Worker) mayTell(a *attachment) bool {
	if now := w.clock.now(); a.errorsTick != now {
		a.errorsTick, a.errors = now, 0
	}
	return a.errors < errorsPerTick
}

// tell writes the first n bytes of w.answer into the device and counts e.
func (w *Worker) tell(a *attachment, n int, e Event) {
	if n > 0 && w.writeAnswer(a, n) {
		a.errors++
		a.stats.events[e].Add(1)
	}
}

// writeAnswer writes the first n bytes of w.answer into the device.
func (w *Worker) writeAnswer(a *attachment, n int) bool {
	w.pieces[0] = w.answer[:n]
	return a.port.Write(offload.GSO{}, w.pieces[:1]) == nil
}
