package tunnelgso

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cutting is what ethtool calls it that an interface cuts tunnel super-frames
// with an outer checksum (NETIF_F_GSO_UDP_TUNNEL_CSUM).
const cutting = "tx-udp_tnl-csum-segmentation"

// What SIOCETHTOOL is asked (include/uapi/linux/ethtool.h), and the set of
// strings that names the features. Their bits have no fixed numbers.
const (
	ethtoolStrings   = 0x1b // ETHTOOL_GSTRINGS
	ethtoolSetInfo   = 0x37 // ETHTOOL_GSSET_INFO
	ethtoolFeatures  = 0x3a // ETHTOOL_GFEATURES
	featureSet       = 4    // ETH_SS_FEATURES
	stringLen        = 32   // ETH_GSTRING_LEN
	featureBlockSize = 16   // struct ethtool_get_features_block: available, requested, active, never_changed
	maxFeatures      = 1024 // far more than the kernel has
)

// Cuts reports whether an interface cuts tunnel super-frames itself, or carries
// them whole. Where it does not the kernel cuts them for it.
//
// It asks by itself: the library at hand takes two megabytes a call.
func Cuts(device string) (_ bool, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("ethtool: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	ask := func(request []byte) error {
		if err := ethtool(fd, device, request); err != nil {
			return fmt.Errorf("ethtool: features of %s: %w", device, err)
		}
		return nil
	}
	order := binary.NativeEndian
	info := make([]byte, 20) // cmd, reserved, the mask of sets (64 bits), the size of each
	order.PutUint32(info, ethtoolSetInfo)
	order.PutUint64(info[8:], 1<<featureSet)
	if err := ask(info); err != nil {
		return false, err
	}
	n := min(int(order.Uint32(info[16:])), maxFeatures)
	names := make([]byte, 12+n*stringLen) // cmd, set, number, the strings
	order.PutUint32(names, ethtoolStrings)
	order.PutUint32(names[4:], featureSet)
	order.PutUint32(names[8:], uint32(n))
	if err := ask(names); err != nil {
		return false, err
	}
	blocks := (n + 31) / 32
	features := make([]byte, 8+blocks*featureBlockSize) // cmd, number, the blocks
	order.PutUint32(features, ethtoolFeatures)
	order.PutUint32(features[4:], uint32(blocks))
	if err := ask(features); err != nil {
		return false, err
	}
	for i := range n {
		name, _, _ := bytes.Cut(names[12+i*stringLen:][:stringLen], []byte{0})
		if string(name) == cutting {
			active := order.Uint32(features[8+i/32*featureBlockSize+8:])
			return active>>(i%32)&1 != 0, nil
		}
	}
	return false, nil
}

// ethtool puts one question; the answer takes its place.
func ethtool(fd int, device string, question []byte) error {
	var req struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is larger than what is used of it
	}
	if len(device) >= len(req.name) {
		return unix.ENODEV
	}
	copy(req.name[:], device)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&question[0])
	req.data = unsafe.Pointer(&question[0])
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}
