package offload

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HdrLen is the size in bytes of the virtio_net_hdr without further fields
// (include/uapi/linux/virtio_net.h), which devices use by default.
const HdrLen = 10

// The flags of a virtio_net_hdr.
const (
	flagNeedsCsum = 1
	gsoECN        = 0x80
)

var errShortHdr = errors.New("virtio_net_hdr is cut short")

// Decode reads a virtio_net_hdr. What it says of the frame is not believed
// before [Validate] has looked at the frame.
func (g *GSO) Decode(hdr []byte) error {
	if len(hdr) < HdrLen {
		return errShortHdr
	}
	t := hdr[1]
	*g = GSO{Type: Type(t &^ gsoECN), ECN: t&gsoECN != 0, NeedsCsum: hdr[0]&flagNeedsCsum != 0,
		HdrLen:     binary.LittleEndian.Uint16(hdr[2:]),
		Size:       binary.LittleEndian.Uint16(hdr[4:]),
		CsumStart:  binary.LittleEndian.Uint16(hdr[6:]),
		CsumOffset: binary.LittleEndian.Uint16(hdr[8:])}
	switch g.Type {
	case None, TCPv4, TCPv6, UDP:
		return nil
	}
	return fmt.Errorf("virtio_net_hdr with unknown gso_type %#x", t)
}

// Encode writes the virtio_net_hdr for g to hdr, which holds HdrLen bytes.
func (g *GSO) Encode(hdr []byte) {
	_ = hdr[HdrLen-1]
	hdr[0], hdr[1] = 0, byte(g.Type)
	if g.NeedsCsum {
		hdr[0] = flagNeedsCsum
	}
	if g.ECN {
		hdr[1] |= gsoECN
	}
	binary.LittleEndian.PutUint16(hdr[2:], g.HdrLen)
	binary.LittleEndian.PutUint16(hdr[4:], g.Size)
	binary.LittleEndian.PutUint16(hdr[6:], g.CsumStart)
	binary.LittleEndian.PutUint16(hdr[8:], g.CsumOffset)
}
