package tap

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/songgao/water"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
)

// errRefused is in the chain of errors that a plain device may not meet.
var errRefused = errors.New("the kernel refused a virtio_net_hdr")

// The bits of TUNSETOFFLOAD (include/uapi/linux/if_tun.h) that x/sys does not
// name.
const (
	tunFUSO4 = 0x20
	tunFUSO6 = 0x40
)

// openOffload opens queues that carry a virtio_net_hdr. VNET_HDR of the first
// queue holds for all (drivers/net/tun.c, tun_set_iff), so they have one opener.
func openOffload(h *netlink.Handle, s Spec, found *netlink.Tuntap) (fds []int, caps offload.Caps, err error) {
	t := &netlink.Tuntap{
		LinkAttrs:  netlink.LinkAttrs{Name: s.Name},
		Mode:       mode(s),
		Flags:      netlink.TUNTAP_MULTI_QUEUE | netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
		Queues:     s.Queues,
		NonPersist: !s.Persist,
	}
	if found != nil {
		t.Owner, t.Group = found.Owner, found.Group
	}
	if err := h.LinkAdd(t); err != nil {
		if found != nil {
			return nil, caps, fmt.Errorf("%w (a device that others hold open, or made without multi_queue, cannot be attached to)", err)
		}
		return nil, caps, explain(err)
	}
	defer func() {
		if err != nil {
			closeAll(fds)
		}
	}()
	for i, f := range t.Fds {
		fd, err := adopt(f)
		if err != nil {
			for _, rest := range t.Fds[i+1:] {
				rest.Close()
			}
			return fds, caps, err
		}
		fds = append(fds, fd)
	}
	caps, err = setOffloads(fds)
	return fds, caps, err
}

// setOffloads asks for super-frames: with UDP, then without (kernels before
// 6.2), then for unfinished checksums only.
func setOffloads(fds []int) (offload.Caps, error) {
	const tcp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	for _, try := range []struct {
		bits int
		caps offload.Caps
	}{
		{tcp | tunFUSO4 | tunFUSO6, offload.Caps{VNetHdr: true, TSO: true, USO: true}},
		{tcp, offload.Caps{VNetHdr: true, TSO: true}},
		{unix.TUN_F_CSUM, offload.Caps{VNetHdr: true}},
	} {
		if err := setOffload(fds, try.bits); err == nil {
			return try.caps, nil
		} else if !errors.Is(err, unix.EINVAL) {
			return offload.Caps{}, err
		}
	}
	return offload.Caps{}, fmt.Errorf("TUNSETOFFLOAD: %w", errRefused)
}

func setOffload(fds []int, bits int) error {
	for _, fd := range fds {
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, offload.HdrLen); err != nil {
			return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
		}
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, bits); err != nil {
			return err
		}
	}
	return nil
}

// openPortable opens plain queues through water. It prints nothing and keeps
// its names as long as New is not given a bad one; what it leaves undone
// (O_CLOEXEC, and a file that Go's poller knows of) is done here. It loses a
// descriptor where the kernel refuses the device, so that is tried first; the
// queue it was tried with stays until water's hold the device.
func openPortable(s Spec) (fds []int, err error) {
	first, err := tryQueue(s)
	if err != nil {
		return nil, explain(err)
	}
	defer func() { err = errors.Join(err, unix.Close(first)) }()
	for range s.Queues {
		var c water.Config
		if c.DeviceType = water.TAP; s.Packets {
			c.DeviceType = water.TUN
		}
		c.Name, c.Persist, c.MultiQueue = s.Name, s.Persist, true
		w, err := water.New(c)
		if err != nil {
			closeAll(fds)
			return nil, explain(err)
		}
		f, ok := w.ReadWriteCloser.(*os.File)
		if !ok {
			closeAll(fds)
			return nil, errors.Join(errors.New("water's device is not a file"), w.Close())
		}
		fd, err := adopt(f)
		if err != nil {
			closeAll(fds)
			return nil, err
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// tryQueue opens one plain queue as water would.
func tryQueue(s Spec) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(s.Name)
	if err == nil {
		req.SetUint16(uint16(mode(s)) | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE) // the modes are the kernel's IFF_TUN and IFF_TAP
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// noQueue leaves the device without a queueing discipline, as the kernel's own
// tunnel devices are. A multi-queue TAP would get one for each of its possible
// 256 queues: 3 MB and 30 ms a device, for packets that never wait in them
// (drivers/net/tun.c, tun_net_xmit; net/sched/sch_mq.c, mq_init). A kernel that
// refuses has no traffic control, and so none of this.
func noQueue(h *netlink.Handle, l netlink.Link) {
	_ = h.QdiscReplace(&netlink.GenericQdisc{QdiscType: "noqueue",
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT}})
}

// quiet keeps the kernel from giving a TUN device an IPv6 link-local address by
// itself, and with it from sending router solicitations that nobody answers. A
// kernel that refuses has no IPv6.
func quiet(h *netlink.Handle, l netlink.Link) {
	const none = 1 // IN6_ADDR_GEN_MODE_NONE
	_ = h.LinkSetIP6AddrGenMode(l, none)
}

// adopt takes the descriptor out of a file: a non-blocking duplicate that
// children do not inherit and Go's poller does not know. It closes the file.
func adopt(f *os.File) (fd int, err error) {
	c, err := f.SyscallConn()
	if err != nil {
		return -1, errors.Join(err, f.Close())
	}
	var dupErr error
	err = c.Control(func(old uintptr) {
		fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3)
		if dupErr == nil {
			dupErr = unix.SetNonblock(fd, true)
		}
	})
	return fd, errors.Join(err, dupErr, f.Close())
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // on the way out with an error already
	}
}

// explain adds what to do to the errors that users meet first.
func explain(err error) error {
	// netlink's error has the errno in its text only.
	denied := errors.Is(err, os.ErrPermission) || strings.HasSuffix(err.Error(), unix.EPERM.Error())
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: there is no /dev/net/tun; load the tun module or give the container the device", err)
	case denied:
		return fmt.Errorf("%w: CAP_NET_ADMIN and access to /dev/net/tun are needed", err)
	}
	return err
}
