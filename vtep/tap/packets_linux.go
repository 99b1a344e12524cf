package tap

import (
	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep"
)

// A packetQueue is one queue of a TUN device. It implements [vtep.Port], with
// an Ethernet header in front of each packet that the kernel never sees. What
// the virtio_net_hdr says counts from the packet's first byte in the kernel, and
// from the header's here.
type packetQueue struct{ *queue }

// Read implements [vtep.Port].
func (q packetQueue) Read(f *offload.Frame) error {
	const eth = packet.EthernetLen
	f.Off = offload.Headroom + eth
	if err := q.read(f); err != nil {
		return err
	}
	if f.Len == 0 {
		return nil // counted as truncated
	}
	f.Off, f.Len = f.Off-eth, f.Len+eth
	packet.PutBareEthernet(f.Buf[f.Off:], f.Buf[f.Off+eth])
	if f.GSO.NeedsCsum {
		f.GSO.CsumStart += eth // not believed before it is validated
	}
	f.GSO.HdrLen += eth
	return nil
}

// Write implements [vtep.Port].
func (q packetQueue) Write(gso offload.GSO, pieces [][]byte) error {
	const eth = packet.EthernetLen
	if len(pieces) == 0 || len(pieces[0]) <= eth {
		return unix.EINVAL
	}
	if gso.NeedsCsum {
		gso.CsumStart -= eth
	}
	if gso.Type != offload.None {
		gso.HdrLen -= eth
	}
	return q.write(gso, pieces, eth)
}

var _ vtep.Port = packetQueue{}
