package packet

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds the bytes of b, as big-endian 16-bit words, to the one's complement
// sum initial (RFC 1071). An odd last byte counts as the high half of a word.
// The result is not folded.
func Sum(b []byte, initial uint64) uint64 {
	var sum uint64
	if n := wide(len(b)); n > 0 {
		sum, b = sumWide(&b[0], n), b[n:]
	}
	return initial + uint64(bits.ReverseBytes16(Fold(sumWords(b, sum))))
}

// CopySum copies src to dst, which is as long or longer and does not overlap,
// and returns what Sum does of it: the bytes pass the processor once.
func CopySum(dst, src []byte, initial uint64) uint64 {
	dst = dst[:len(src)]
	var sum uint64
	if n := wide(len(src)); n > 0 {
		sum = copySumWide(&dst[0], &src[0], n)
		dst, src = dst[n:], src[n:]
	}
	copy(dst, src)
	return initial + uint64(bits.ReverseBytes16(Fold(sumWords(src, sum))))
}

// sumWords adds b to sum in 64-bit little-endian words with end-around carry:
// the bytes of the folded result are swapped (RFC 1071 §2, B).
func sumWords(b []byte, sum uint64) uint64 {
	var c uint64
	for len(b) >= 64 {
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[8:]), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[16:]), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[24:]), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[32:]), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[40:]), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[48:]), c)
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b[56:]), c)
		b = b[64:]
	}
	for len(b) >= 8 {
		sum, c = bits.Add64(sum, binary.LittleEndian.Uint64(b), c)
		b = b[8:]
	}
	var tail uint64
	for i, x := range b {
		tail |= uint64(x) << (8 * i)
	}
	sum, c = bits.Add64(sum, tail, c)
	sum, c = bits.Add64(sum, 0, c)
	sum += c
	sum = sum>>32 + sum&0xffffffff
	return sum>>32 + sum&0xffffffff
}

// Fold folds a sum to 16 bits with end-around carry. It is not inverted.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// PseudoSum returns the unfolded sum of the pseudo-header of the L4 header
// (RFC 793 §3.1, RFC 8200 §8.1), with the length that the IP header gives.
func (p *Parsed) PseudoSum(frame []byte) uint64 {
	return Sum(p.addrs(frame), uint64(p.Proto)+uint64(p.End-p.L4))
}

// CsumState is what is known of an inner L4 checksum.
type CsumState uint8

// The states.
const (
	CsumNone    CsumState = iota // there is none: other protocol, fragment, UDP over IPv4 with 0
	CsumGood                     // it is right
	CsumPartial                  // it is only the folded pseudo-header sum (the kernel's CHECKSUM_PARTIAL)
	CsumBad                      // it is wrong
)

// csumField returns the offset of the L4 checksum field, or 0.
func (p *Parsed) csumField() int {
	if p.L4 == 0 || p.Fragment {
		return 0
	}
	switch {
	case p.Proto == ProtoTCP:
		return p.L4 + 16
	case p.Proto == ProtoUDP:
		return p.L4 + 6
	case p.Proto == ProtoICMPv6 && p.Kind == IPv6:
		return p.L4 + 2
	}
	return 0
}

// CsumIsPartial reports whether the L4 checksum is only the folded
// pseudo-header sum: the form in which a kernel leaves it to hardware that a
// veth does not have. It does not look at the payload.
func (p *Parsed) CsumIsPartial(frame []byte) bool {
	at := p.csumField()
	return at != 0 && p.Proto != ProtoICMPv6 &&
		binary.BigEndian.Uint16(frame[at:]) == Fold(p.PseudoSum(frame))
}

// L4Checksum says what the inner L4 checksum is.
func (p *Parsed) L4Checksum(frame []byte) CsumState {
	at := p.csumField()
	if at == 0 {
		return CsumNone
	}
	have := binary.BigEndian.Uint16(frame[at:])
	if have == 0 && p.Proto == ProtoUDP {
		if p.Kind == IPv4 {
			return CsumNone
		}
		return CsumBad // RFC 8200 §8.1
	}
	pseudo := p.PseudoSum(frame)
	if have == Fold(pseudo) && p.Proto != ProtoICMPv6 {
		return CsumPartial
	}
	if Fold(Sum(frame[p.L4:p.End], pseudo)) == 0xffff {
		return CsumGood
	}
	return CsumBad
}

// CompleteChecksum computes the inner L4 checksum and stores it. It reports
// whether there is one to compute.
func (p *Parsed) CompleteChecksum(frame []byte) bool {
	at := p.csumField()
	if at == 0 {
		return false
	}
	binary.BigEndian.PutUint16(frame[at:], 0)
	sum := ^Fold(Sum(frame[p.L4:p.End], p.PseudoSum(frame)))
	if sum == 0 && p.Proto == ProtoUDP {
		sum = 0xffff // RFC 768
	}
	binary.BigEndian.PutUint16(frame[at:], sum)
	return true
}
