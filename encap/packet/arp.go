package packet

import (
	"encoding/binary"
	"net/netip"
)

const arpLen = 28 // Ethernet and IPv4 (RFC 826)

// ARPRequest reads a request for an IPv4 address over Ethernet. sender is
// 0.0.0.0 in an address probe, and target in a gratuitous announcement
// (RFC 5227 §1.2). ok is false for everything else.
func ARPRequest(frame []byte, p *Parsed) (mac MAC, sender, target netip.Addr, ok bool) {
	if p.Kind != ARP || len(frame) < p.L3+arpLen {
		return
	}
	a := frame[p.L3:]
	if binary.BigEndian.Uint64(a) != 0x0001_0800_06_04_0001 {
		return
	}
	mac = MAC(a[8:14])
	return mac, netip.AddrFrom4([4]byte(a[14:18])), netip.AddrFrom4([4]byte(a[24:28])), true
}

// AppendARPReply writes to dst the frame that answers the request in frame:
// its target is at mac. It returns the frame's length in bytes, 0 when frame is
// no request or dst is too small.
func AppendARPReply(dst, frame []byte, p *Parsed, mac MAC) int {
	asker, sender, target, ok := ARPRequest(frame, p)
	n := p.L3 + arpLen
	if !ok || len(dst) < n {
		return 0
	}
	answerEthernet(dst, frame, p, mac)
	a := dst[p.L3:]
	binary.BigEndian.PutUint64(a, 0x0001_0800_06_04_0002)
	copy(a[8:], mac[:])
	t, s := target.As4(), sender.As4()
	copy(a[14:], t[:])
	copy(a[18:], asker[:])
	copy(a[24:], s[:])
	return n
}

// answerEthernet writes the Ethernet header and tags of an answer to frame,
// from the given MAC back to its source.
func answerEthernet(dst, frame []byte, p *Parsed, from MAC) {
	copy(dst, p.Src[:])
	copy(dst[6:], from[:])
	copy(dst[12:], frame[12:p.L3])
}
