// Package offload cuts super-frames into wire frames and joins wire frames
// into super-frames, and reads and writes the virtio_net_hdr that carries them
// through a TAP device. It is pure: bytes in, bytes out, no file descriptors.
//
// Words, smallest to largest:
//
//   - A wire frame is one Ethernet frame as it would stand on a wire, without
//     FCS.
//   - A super-frame is one Ethernet frame with the headers of a wire frame and
//     a payload of up to 64 KiB, to be cut into wire frames of GSO.Size bytes of
//     payload each.
//   - A frame is either of the two.
package offload

// Type says how a frame is to be cut into wire frames. The values are the
// kernel's (include/uapi/linux/virtio_net.h, VIRTIO_NET_HDR_GSO_*).
type Type uint8

// The types a device hands us or takes.
const (
	None  Type = 0 // a wire frame
	TCPv4 Type = 1 // cut TCP over IPv4
	TCPv6 Type = 4 // cut TCP over IPv6
	UDP   Type = 5 // cut UDP into datagrams of Size bytes each (UDP_L4, "USO")
)

// GSO is what stands beside a frame about work left to do on it. The zero
// value is a wire frame with nothing left to do.
type GSO struct {
	Type       Type
	ECN        bool   // TCP: CWR only on the first wire frame (VIRTIO_NET_HDR_GSO_ECN)
	NeedsCsum  bool   // the L4 checksum field holds only the folded pseudo-header sum
	Size       uint16 // L4 payload bytes of each wire frame but the last
	HdrLen     uint16 // bytes up to the end of the L4 header, as the device said: a hint, never trusted
	CsumStart  uint16 // offset of the L4 header from the first byte of the frame
	CsumOffset uint16 // offset of the checksum field from CsumStart: 16 for TCP, 6 for UDP
}

// Headroom is how many bytes every reader leaves free in front of a frame, so
// that a virtio_net_hdr and all outer headers can be put there without a copy:
// 24 (virtio_net_hdr with tunnel fields) + 14 + 40 + 8 + 8, rounded up.
const Headroom = 128

// MaxFrame is the largest frame in bytes that a device hands over: 64 KiB of
// IP packet, an Ethernet header and two VLAN tags.
const MaxFrame = 65535 + 14 + 8

// A Frame is a wire frame or a super-frame in a buffer with room in front.
// Whoever filled Buf owns it and says how long the bytes stay valid.
type Frame struct {
	Buf []byte // the whole room: headroom, frame, and what is free behind it
	Off int    // where the frame starts in Buf
	Len int    // bytes of the frame
	GSO GSO
}

// Bytes returns the frame's bytes. They cannot grow into what lies behind.
func (f *Frame) Bytes() []byte { return f.Buf[f.Off : f.Off+f.Len : f.Off+f.Len] }

// WithHeader returns the frame's bytes with n bytes of its headroom in front,
// for the caller to fill. It panics if there is less room than that.
func (f *Frame) WithHeader(n int) []byte { return f.Buf[f.Off-n : f.Off+f.Len : f.Off+f.Len] }

// Caps says which super-frames a device takes.
type Caps struct {
	VNetHdr bool // the device carries a virtio_net_hdr: unfinished checksums may be handed over
	TSO     bool // TCP over IPv4 and IPv6
	USO     bool // UDP over IPv4 and IPv6
}
