package underlay

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"vtepd/vtep"
)

// cmsgHeader is the size in bytes of struct cmsghdr on 64-bit machines; what
// follows is aligned to 8.
const cmsgHeader = 16

// readControl takes what came along with a datagram out of its control
// messages. x/net's control messages know no TOS.
func readControl(d *vtep.Datagram, b []byte) {
	for len(b) >= cmsgHeader {
		size := int(min(binary.NativeEndian.Uint64(b), uint64(len(b))))
		if size < cmsgHeader {
			return
		}
		level := int(int32(binary.NativeEndian.Uint32(b[8:])))
		kind := int(int32(binary.NativeEndian.Uint32(b[12:])))
		readMessage(d, level, kind, b[cmsgHeader:size])
		b = b[min(len(b), (size+7)&^7):]
	}
}

func readMessage(d *vtep.Datagram, level, kind int, data []byte) {
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_TOS && len(data) >= 1:
		d.TOS = data[0]
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= 4:
		d.IfIndex = int32(binary.NativeEndian.Uint32(data))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS && len(data) >= 4:
		d.TOS = uint8(binary.NativeEndian.Uint32(data))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= 20:
		d.IfIndex = int32(binary.NativeEndian.Uint32(data[16:]))
	case level == unix.IPPROTO_UDP && kind == udpGRO && len(data) >= 2:
		d.SegSize = int(binary.NativeEndian.Uint16(data))
	}
}

// appendControl appends a control message.
func appendControl(b []byte, level, kind int, data []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(cmsgHeader+len(data)))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	b = append(b, data...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendInt appends a control message that holds a 32-bit number.
func appendInt(b []byte, level, kind, value int) []byte {
	var data [4]byte
	binary.NativeEndian.PutUint32(data[:], uint32(value))
	return appendControl(b, level, kind, data[:])
}

// appendHeaders appends what a message says of its outer headers: TTL and TOS,
// where they differ from the socket's, and the size of its segments.
func appendHeaders(b []byte, v6 bool, ttl, tos uint8, segment int) []byte {
	level, ttlKind, tosKind := unix.IPPROTO_IP, unix.IP_TTL, unix.IP_TOS
	if v6 {
		level, ttlKind, tosKind = unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, unix.IPV6_TCLASS
	}
	if ttl != 0 {
		b = appendInt(b, level, ttlKind, int(ttl))
	}
	if tos != 0 {
		b = appendInt(b, level, tosKind, int(tos))
	}
	if segment != 0 {
		var data [2]byte
		binary.NativeEndian.PutUint16(data[:], uint16(segment))
		b = appendControl(b, unix.IPPROTO_UDP, udpSegment, data[:])
	}
	return b
}
