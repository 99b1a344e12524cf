package tunnelgso

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// HdrLen is the size in bytes of the virtio_net_hdr with tunnel fields.
const HdrLen = 24

// The bits of TUNSETOFFLOAD (include/uapi/linux/if_tun.h). UDP_TUNNEL_GSO
// needs a plain TSO beside it, else EINVAL.
const (
	offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN |
		tunFUSO4 | tunFUSO6 | tunFTunnelGSO | tunFTunnelGSOCsum
	tunFUSO4          = 0x20
	tunFUSO6          = 0x40
	tunFTunnelGSO     = 0x80
	tunFTunnelGSOCsum = 0x100
)

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE (include/uapi/linux/if_link.h).
const addrGenModeNone = 1

// A Device sends super-frames out of one egress interface. It has one queue a
// worker; each queue is used by one goroutine at a time, queues are
// independent.
type Device struct {
	name string
	fds  []int
	hook link.Link
}

// Open makes a device with the given number of queues for the egress
// interface. It fails where the kernel is older than 6.17 or a privilege is
// missing; the error says which.
func Open(egress, queues int) (_ *Device, err error) {
	d := &Device{name: fmt.Sprintf("vtgso%d", egress)}
	tun := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: d.name},
		Mode:      netlink.TUNTAP_MODE_TAP,
		Flags:     netlink.TUNTAP_MULTI_QUEUE | netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
		Queues:    queues, NonPersist: true,
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := h.LinkAdd(tun); err != nil {
		return nil, fmt.Errorf("make device %s: %w", d.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, f := range tun.Fds {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		d.fds = append(d.fds, fd)
		if err := prepareQueue(fd); err != nil {
			return nil, err
		}
	}
	l, err := h.LinkByName(d.name)
	if err != nil {
		return nil, err
	}
	if d.hook, err = attach(l.Attrs().Index, egress); err != nil {
		return nil, err
	}
	// No IPv6 address and so no router solicitations of its own.
	if err := h.LinkSetIP6AddrGenMode(l, addrGenModeNone); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, fmt.Errorf("device %s: %w", d.name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return nil, fmt.Errorf("device %s: %w", d.name, err)
	}
	return d, nil
}

// prepareQueue asks for the large header and the tunnel offloads. Older
// kernels refuse the latter with EINVAL.
func prepareQueue(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, HdrLen); err != nil {
		return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads); err != nil {
		return fmt.Errorf("the kernel has no UDP-tunnel GSO on TAP (Linux 6.17): TUNSETOFFLOAD: %w", err)
	}
	return nil
}

// Name returns the device's name.
func (d *Device) Name() string { return d.name }

// Write sends one super-frame: a virtio_net_hdr of HdrLen bytes, then the
// frame with all outer headers. The bytes are not kept.
func (d *Device) Write(queue int, b []byte) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(d.fds[queue]), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return errno
}

// Close removes the device and its hook.
func (d *Device) Close() error {
	var errs []error
	if d.hook != nil {
		errs = append(errs, d.hook.Close())
	}
	for _, fd := range d.fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
