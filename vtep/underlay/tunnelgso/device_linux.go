package tunnelgso

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

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
	name    string
	index   int
	fds     []int
	hooks   []link.Link
	copiers []copier     // one a queue
	shared  []byte       // the memory of the copiers' slots
	refused atomic.Int32 // writes in a row that the kernel refused
	late    atomic.Bool  // the program did not end inside a write
}

// maxRefused is how many refusals in a row turn a device off: each costs a
// system call for nothing.
const maxRefused = 16

// Probe reports why the host cannot send super-frames whole, nil if it can: it
// opens a device as Open does and closes it.
func Probe() error {
	d, err := Open(0, 1)
	if err != nil {
		return err
	}
	return d.Close()
}

// Open makes a device with the given number of queues for the egress
// interface; egress 0 is the device itself, which leads nowhere. It fails where
// the kernel is older than 6.17 or a privilege is missing; the error says which.
func Open(egress, queues int) (_ *Device, err error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	name, err := freeName(h, egress)
	if err != nil {
		return nil, err
	}
	d := &Device{name: name}
	tun := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: d.name},
		Mode:      netlink.TUNTAP_MODE_TAP,
		Flags:     netlink.TUNTAP_MULTI_QUEUE | netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
		Queues:    queues, NonPersist: true,
	}
	if err := h.LinkAdd(tun); err != nil {
		return nil, fmt.Errorf("make device %s: %w", d.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.fds, err = takeQueues(tun.Fds); err != nil {
		return nil, err
	}
	l, err := h.LinkByName(d.name)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.name, err)
	}
	d.index = l.Attrs().Index
	if egress == 0 {
		egress = d.index
	}
	if err := d.program(egress, queues); err != nil {
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

// program hooks the programs to the device.
func (d *Device) program(to, queues int) error {
	heads, shared, copiers, err := share(queues)
	if err != nil {
		return err
	}
	d.shared, d.copiers = shared, copiers
	in, err := attach(d.index, ebpf.AttachTCXIngress, ingress(d.index, to, heads))
	if err = errors.Join(err, heads.Close()); in != nil { // the program holds the map from here on
		d.hooks = append(d.hooks, in)
	}
	if err != nil {
		return err
	}
	out, err := attach(d.index, ebpf.AttachTCXEgress, egress(d.index, to))
	if err != nil {
		return err
	}
	d.hooks = append(d.hooks, out)
	return nil
}

// freeName returns a name that no device has: another daemon on this host may
// use the same egress interface.
func freeName(h *netlink.Handle, egress int) (string, error) {
	for i := range 16 {
		name := fmt.Sprintf("vtgso%d", egress)
		if i > 0 {
			name = fmt.Sprintf("vtgso%d.%d", egress, i)
		}
		var none netlink.LinkNotFoundError
		if _, err := h.LinkByName(name); errors.As(err, &none) {
			return name, nil
		} else if err != nil {
			return "", fmt.Errorf("device %s: %w", name, err)
		}
	}
	return "", fmt.Errorf("all names for a device towards interface %d are taken", egress)
}

// takeQueues takes the descriptors out of files, which it closes, and prepares
// them. Those it returns are the caller's, also beside an error.
func takeQueues(files []*os.File) (fds []int, err error) {
	for _, f := range files {
		fd, dupErr := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		err = errors.Join(err, dupErr, f.Close())
		if dupErr != nil {
			continue
		}
		fds = append(fds, fd)
		if err == nil {
			err = prepareQueue(fd)
		}
	}
	return fds, err
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

// Index returns the device's interface index.
func (d *Device) Index() int { return d.index }

// Usable reports whether the kernel still takes what is written.
func (d *Device) Usable() bool { return d.refused.Load() < maxRefused }

// Write sends one super-frame: a virtio_net_hdr of HdrLen bytes, then the
// frame with all outer headers. The bytes are not kept.
func (d *Device) Write(queue int, b []byte) syscall.Errno {
	iov := [1]unix.Iovec{{Base: &b[0]}}
	iov[0].SetLen(len(b))
	return d.write(queue, iov[:])
}

func (d *Device) write(queue int, iovs []unix.Iovec) syscall.Errno {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, uintptr(d.fds[queue]), uintptr(unsafe.Pointer(&iovs[0])), uintptr(len(iovs)))
		switch errno {
		case unix.EINTR:
			continue
		case 0:
			if d.refused.Load() != 0 {
				d.refused.Store(0)
			}
		case unix.EINVAL, unix.EIO, unix.EBADFD:
			d.refused.Add(1)
		}
		return errno
	}
}

// Close removes the device and its hooks.
func (d *Device) Close() error {
	var errs []error
	for _, h := range d.hooks {
		errs = append(errs, h.Close())
	}
	if d.shared != nil {
		errs = append(errs, unix.Munmap(d.shared))
	}
	for _, fd := range d.fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}
