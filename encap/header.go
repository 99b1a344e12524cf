// Package encap knows the outside of a tunnelled frame: the VXLAN header
// (RFC 7348 §5), what the outer headers cost, the source port, and templates of
// whole outer headers, which gopacket builds and checks once per remote.
package encap

// Sizes and limits of VXLAN.
const (
	// Port is the UDP port that IANA assigned (RFC 7348 §8.1).
	Port = 4789
	// HeaderLen is the size of the VXLAN header in bytes.
	HeaderLen = 8
	// MaxVNI is the largest VNI: it has 24 bits.
	MaxVNI = 1<<24 - 1
)

// Header is a VXLAN header as it stands on the wire.
type Header [HeaderLen]byte

// MakeHeader returns the header for vni. Reserved bits are zero: kernel VTEPs
// drop anything else (drivers/net/vxlan/vxlan_core.c, vxlan_rcv).
func MakeHeader(vni uint32) Header {
	return Header{0: 0x08, 4: byte(vni >> 16), 5: byte(vni >> 8), 6: byte(vni)}
}

// ParseHeader returns the VNI of the header that b starts with. ok is false
// when b is under 8 bytes or the I flag is clear. Reserved bits are ignored
// (RFC 7348 §5).
func ParseHeader(b []byte) (vni uint32, ok bool) {
	if len(b) < HeaderLen || b[0]&0x08 == 0 {
		return 0, false
	}
	return uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6]), true
}
