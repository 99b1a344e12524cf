package lab

import (
	"errors"

	"golang.org/x/sys/unix"
)

// packetVnetHdr is PACKET_VNET_HDR (include/uapi/linux/if_packet.h).
const packetVnetHdr = 15

// SendSuper sends a super-frame, as a guest with segmentation offload would:
// hdr is the virtio_net_hdr that says how the kernel is to cut frame.
func (h *Host) SendSuper(dev string, hdr, frame []byte) error {
	r, err := h.Raw(dev)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, packetVnetHdr, 1); err != nil {
		return errors.Join(err, r.Close())
	}
	return errors.Join(r.Send(append(append([]byte(nil), hdr...), frame...)), r.Close())
}
