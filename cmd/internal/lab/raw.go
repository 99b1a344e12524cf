package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// A Raw sends and receives whole Ethernet frames on an interface of a host. It
// sees only frames that come in. One goroutine uses it.
type Raw struct {
	fd   int
	to   unix.SockaddrLinklayer
	buf  []byte
	ctrl []byte
}

// packetIgnoreOutgoing is PACKET_IGNORE_OUTGOING (include/uapi/linux/if_packet.h).
const packetIgnoreOutgoing = 23

// Raw opens an interface of the host.
func (h *Host) Raw(dev string) (*Raw, error) {
	r := &Raw{fd: -1, buf: make([]byte, 1<<17), ctrl: make([]byte, 256)}
	err := h.Do(func() error {
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return fmt.Errorf("%s: %w", dev, err)
		}
		const all = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
		if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		r.to = unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: all}
		return errors.Join(
			unix.SetsockoptInt(r.fd, unix.SOL_PACKET, packetIgnoreOutgoing, 1),
			unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
			unix.Bind(r.fd, &r.to))
	})
	if err != nil && r.fd >= 0 {
		err = errors.Join(err, unix.Close(r.fd))
	}
	return r, err
}

// Send sends a frame. A device that is full takes it a little later.
func (r *Raw) Send(frame []byte) error {
	for range 1000 {
		err := unix.Sendto(r.fd, frame, 0, &r.to)
		if !errors.Is(err, unix.ENOBUFS) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return unix.ENOBUFS
}

// Receive returns the frames that come until none came for quiet.
func (r *Raw) Receive(quiet time.Duration) (frames [][]byte, err error) {
	for {
		fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(quiet.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 || err != nil {
			return frames, err
		}
		n, oob, _, _, err := unix.Recvmsg(r.fd, r.buf, r.ctrl, 0)
		if err != nil {
			return frames, err
		}
		frames = append(frames, tagged(r.buf[:n], r.ctrl[:oob]))
	}
}

// tagged copies a frame, with the VLAN tag that the kernel took out of it.
func tagged(frame, ctrl []byte) []byte {
	out := append([]byte(nil), frame...)
	msgs, err := unix.ParseSocketControlMessage(ctrl)
	if err != nil {
		return out
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		const vlanValid = 1 << 4 // TP_STATUS_VLAN_VALID; struct tpacket_auxdata
		if binary.NativeEndian.Uint32(m.Data)&vlanValid == 0 || len(out) < 12 {
			continue
		}
		tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(m.Data[18:]))
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
		out = append(out[:12:12], append(tag, out[12:]...)...)
	}
	return out
}

// Close closes the socket.
func (r *Raw) Close() error { return unix.Close(r.fd) }
