package underlay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What the code relies on the kernel for, each with where it was read or
// tried. Nothing else in this package repeats it.
const (
	// maxSegments is how many datagrams one UDP_SEGMENT message may hold:
	// UDP_MAX_SEGMENTS was 64 before 6.9, 128 after (include/linux/udp.h).
	maxSegments = 64
	// maxMessage is the most bytes of one UDP_SEGMENT message: a 16-bit length
	// less the largest headers (net/ipv4/udp.c, udp_sendmsg).
	maxMessage = 65000
	// maxDatagram is the largest payload that a receive may bring: a whole
	// tunnel super-frame from a kernel peer over a veth, which no wire cut
	// (tried on 6.18).
	maxDatagram = 1 << 16
	// receiveBuffer and sendBuffer are asked for in bytes; SO_RCVBUFFORCE takes
	// CAP_NET_ADMIN, else net.core.rmem_max is the bound (net/core/sock.c).
	receiveBuffer = 8 << 20
	sendBuffer    = 4 << 20
)

// Socket options that x/sys does not name (include/uapi/linux/in.h, in6.h,
// udp.h; include/uapi/linux/sock_diag.h).
const (
	ipPMTUDiscProbe     = 3
	ipPMTUDiscInterface = 4
	ipMulticastAll      = 49
	ipv6MulticastAll    = 29
	ipv6DontFrag        = 62
	ipv6AutoFlowLabel   = 70
	udpNoCheck6Tx       = 101
	udpNoCheck6Rx       = 102
	udpSegment          = 103
	udpGRO              = 104
	soMemInfo           = 55
	skMemInfoDrops      = 8 // index into the nine words of SO_MEMINFO
)

// ProbeGSO reports why UDP_SEGMENT cannot be used, nil if it can. A good probe
// is no promise: some routes refuse it at send (EIO for xfrm, EINVAL for a
// device MTU below the segment), so senders fall back.
func ProbeGSO() error {
	major, minor, patch := release()
	// Linux 7.0 to 7.1.4 damages headers when all fragments of a message are
	// equally long, and nothing at run time tells (tailscale 8b58bd6c6).
	if major == 7 && (minor == 0 || minor == 1 && patch < 5) {
		return fmt.Errorf("UDP_SEGMENT of Linux %d.%d.%d damages packets", major, minor, patch)
	}
	if err := probe(udpSegment, 1400); err != nil {
		return fmt.Errorf("UDP_SEGMENT: %w", err)
	}
	return nil
}

// ProbeGRO reports why UDP_GRO cannot be used, nil if it can. Before 5.12 it
// joined what it must not (wireguard-go c92064f).
func ProbeGRO() error {
	if major, minor, _ := release(); major < 5 || major == 5 && minor < 12 {
		return fmt.Errorf("UDP_GRO of Linux %d.%d is not usable", major, minor)
	}
	if err := probe(udpGRO, 1); err != nil {
		return fmt.Errorf("UDP_GRO: %w", err)
	}
	return nil
}

func probe(option, value int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_UDP, option, value), unix.Close(fd))
}

// release returns the running kernel's version.
func release() (major, minor, patch int) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return 0, 0, 0
	}
	var v [3]int
	for i, part := range strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3) {
		end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			part = part[:end]
		}
		v[i], _ = strconv.Atoi(part) // digits only, or empty: 0
	}
	return v[0], v[1], v[2]
}
