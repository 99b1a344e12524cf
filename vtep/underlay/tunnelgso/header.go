package tunnelgso

import (
	"encoding/binary"

	"vtepd/encap/offload"
)

// HdrLen is the size in bytes of the virtio_net_hdr with tunnel fields
// (include/uapi/linux/virtio_net.h, struct virtio_net_hdr_v1_hash_tunnel).
const HdrLen = 24

// The bits of a virtio_net_hdr that say how the outer headers are to be cut.
const (
	flagNeedsCsum  = 1
	flagTunnelCsum = 8 // the outer UDP header wants a checksum, too
	gsoTunnelIPv4  = 0x20
	gsoTunnelIPv6  = 0x40
	gsoECN         = 0x80
)

// udpChecksum is the offset of the checksum in a UDP header.
const udpChecksum = 6

// PutHeader writes to b the virtio_net_hdr of a super-frame behind outer
// headers of overhead bytes, the outer UDP header at offset l4 of them. gso is
// what was said of the inner frame alone and is true; l3 is the offset of the
// inner IP header in it. The outer UDP checksum is asked for: it must hold the
// folded pseudo-header sum.
func PutHeader(b []byte, gso *offload.GSO, v6 bool, overhead, l4, l3 int) {
	_ = b[HdrLen-1]
	clear(b[:HdrLen])
	typ := byte(gso.Type) | gsoTunnelIPv4
	if v6 {
		typ = byte(gso.Type) | gsoTunnelIPv6
	}
	if gso.ECN {
		typ |= gsoECN
	}
	b[0], b[1] = flagNeedsCsum|flagTunnelCsum, typ
	binary.LittleEndian.PutUint16(b[2:], uint16(overhead)+gso.HdrLen)
	binary.LittleEndian.PutUint16(b[4:], gso.Size)
	binary.LittleEndian.PutUint16(b[6:], uint16(overhead)+gso.CsumStart)
	binary.LittleEndian.PutUint16(b[8:], gso.CsumOffset)
	binary.LittleEndian.PutUint16(b[20:], uint16(l4))
	binary.LittleEndian.PutUint16(b[22:], uint16(overhead+l3))
}
