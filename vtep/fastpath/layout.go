package fastpath

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"vtepd/encap/packet"
)

// What bpf/fastpath.c has room for.
const (
	// MaxRemotes is how many remotes may take the fast path, of all segments.
	MaxRemotes = 4096
	maxPorts   = 64
)

// The flags of a remote.
const (
	flagTOSInherit = 1
	flagDF         = 2
	flagWhole      = 4
)

// A Remote is how the programs reach a VTEP, and know its datagrams.
type Remote struct {
	Src, Dst    netip.Addr // outer addresses, IPv4
	Port        uint16     // UDP destination port of datagrams to it
	VNI         uint32     // of datagrams to it
	Heard       bool       // datagrams from it are the segment's
	OurPort     uint16     // their UDP destination port
	OurVNI      uint32
	Egress      int // interface index of the underlay
	FrameLimit  int // largest inner frame that the path carries, bytes
	DeviceLimit int // largest inner frame that the device takes, bytes
	TOS, TTL    uint8
	TOSInherit  bool
	DF          bool
	Whole       bool     // super-frames leave by it as they are; else user space cuts them
	SrcPorts    []uint16 // the source ports, chosen by the inner flow; 64 at most
}

// remoteValue is struct remote of bpf/fastpath.c.
type remoteValue struct {
	Src, Dst       [4]byte
	Device, Egress uint32
	VNI            [4]byte
	Port           [2]byte
	FrameLimit     uint16
	DeviceLimit    uint16
	TOS, TTL       uint8
	Flags          uint8
	_              uint8
	Ports          uint16
	PortOf         [maxPorts][2]byte
}

// macKey is struct mac_key.
type macKey struct {
	Device uint32
	MAC    packet.MAC
	_      uint16
}

// macValue is struct mac.
type macValue struct {
	Remote uint32
	Heard  uint32 // in units of 2^heardShift ns of CLOCK_MONOTONIC
}

const heardShift = 27

// peerKey is struct peer_key.
type peerKey struct {
	Src, Dst [4]byte
	VNI      [4]byte
	Port     [2]byte
	_        uint16
}

// trafficValue is struct traffic.
type trafficValue struct{ RxFrames, RxBytes, TxFrames, TxBytes uint64 }

var errRemote = errors.New("fastpath: a remote needs IPv4 addresses and 1 to 64 source ports")

// value is what the maps hold of r, for a segment's device. The key is zero if
// it is not heard.
func (r *Remote) value(device int) (remoteValue, peerKey, error) {
	if !r.Src.Is4() || !r.Dst.Is4() || len(r.SrcPorts) == 0 || len(r.SrcPorts) > maxPorts {
		return remoteValue{}, peerKey{}, errRemote
	}
	v := remoteValue{Src: r.Src.As4(), Dst: r.Dst.As4(), Device: uint32(device), Egress: uint32(r.Egress),
		FrameLimit: clamp(r.FrameLimit), DeviceLimit: clamp(r.DeviceLimit), TOS: r.TOS, TTL: r.TTL, Ports: uint16(len(r.SrcPorts))}
	binary.BigEndian.PutUint32(v.VNI[:], r.VNI<<8)
	binary.BigEndian.PutUint16(v.Port[:], r.Port)
	if r.TOSInherit {
		v.Flags |= flagTOSInherit
	}
	if r.DF {
		v.Flags |= flagDF
	}
	if r.Whole {
		v.Flags |= flagWhole
	}
	for i, p := range r.SrcPorts {
		binary.BigEndian.PutUint16(v.PortOf[i][:], p)
	}
	if !r.Heard {
		return v, peerKey{}, nil
	}
	peer := peerKey{Src: v.Dst, Dst: v.Src}
	binary.BigEndian.PutUint32(peer.VNI[:], r.OurVNI<<8)
	binary.BigEndian.PutUint16(peer.Port[:], r.OurPort)
	return v, peer, nil
}

func clamp(n int) uint16 { return uint16(max(0, min(n, 1<<16-1))) }
