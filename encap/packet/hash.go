package packet

import "encoding/binary"

// FlowHash hashes the inner flow, for the outer source port: addresses,
// protocol and ports for TCP, UDP and SCTP; addresses and protocol for other IP;
// addresses for all fragments, so that those of one packet stay together (over
// IPv6 only the first may tell the protocol); MACs and EtherType for the rest.
// It is the same in every process.
func (p *Parsed) FlowHash(frame []byte) uint16 {
	h := uint64(0x9e3779b97f4a7c15)
	if p.Kind != IPv4 && p.Kind != IPv6 {
		h = mix(h, p.Dst.Uint64()<<16|uint64(p.EtherType))
		h = mix(h, p.Src.Uint64())
		return fold(h)
	}
	a := p.addrs(frame)
	for len(a) >= 8 {
		h = mix(h, binary.BigEndian.Uint64(a))
		a = a[8:]
	}
	if p.Fragment {
		return fold(h)
	}
	v := uint64(p.Proto)
	if p.L4 != 0 {
		switch p.Proto {
		case ProtoTCP, ProtoUDP, ProtoSCTP:
			v |= uint64(binary.BigEndian.Uint32(frame[p.L4:])) << 8
		}
	}
	return fold(mix(h, v))
}

// mix and fold are the finisher of MurmurHash3: every input bit reaches every
// output bit.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0xff51afd7ed558ccd
	h ^= h >> 33
	return h * 0xc4ceb9fe1a85ec53
}

func fold(h uint64) uint16 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	return uint16(h >> 48)
}
