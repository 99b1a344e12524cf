// Package tap opens TAP and TUN devices and sets them up. One device has one
// opener: `water` for plain queues (the portable tier), which it contains, or
// netlink's Tuntap for queues with a virtio_net_hdr and super-frames. It knows
// nothing of VXLAN.
package tap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// A Spec says what device to open.
type Spec struct {
	Name   string // at most 15 bytes
	Queues int
	// Persist attaches to an existing device of that name, makes one that
	// stays where there is none, and keeps either at Close.
	Persist bool
	// MAC is the address of the device, zero to leave it as it is. A device
	// that was there before keeps its own unless ForceMAC is set.
	MAC      packet.MAC
	ForceMAC bool
	// Offload asks for a virtio_net_hdr and super-frames.
	Offload bool
	// Packets makes it a TUN device, of IP packets. It has no address of its
	// own: MAC is then just noted in the Device.
	Packets bool
}

// A Device is an open TAP or TUN device.
type Device struct {
	Name  string
	Index int
	MAC   packet.MAC
	Caps  offload.Caps
	// Why says what kept Caps from being larger; empty when nothing did.
	Why string

	packets bool // it is a TUN device
	queues  []*queue
	undo    []func(*netlink.Handle, netlink.Link) error // makes a found device what it was
}

// ErrExists says that there is a device of the wanted name already.
type ErrExists struct {
	Name string
	Kind string // as `ip -d link` shows it: vxlan, bridge, veth, tun …
	Why  string // why it could not be attached to; empty when nobody asked
}

// Error implements error.
func (e *ErrExists) Error() string {
	if e.Why != "" {
		return fmt.Sprintf("device %s exists, is a %s and cannot be attached to: %s", e.Name, e.Kind, e.Why)
	}
	if e.Kind == "tun" {
		return fmt.Sprintf("device %s exists already; use another name, delete it, or attach to it with `persist`", e.Name)
	}
	return fmt.Sprintf("device %s exists already (kind %s); use another name, or delete it with `ip link del %s`", e.Name, e.Kind, e.Name)
}

// maxQueues is what a device has room for (drivers/net/tun.c, MAX_TAP_QUEUES),
// less the one that is tried first.
const maxQueues = 256 - 1

// ErrGone is in the chain of errors about a device that is not there.
var ErrGone = errors.New("no such device")

// Open opens the device. It leaves it down: [Device.Configure] brings it up.
func Open(s Spec) (_ *Device, err error) {
	if len(s.Name) == 0 || len(s.Name) >= unix.IFNAMSIZ || strings.ContainsAny(s.Name, "/% \t\n") {
		return nil, fmt.Errorf("%q cannot be the name of a device", s.Name)
	}
	if s.Queues < 1 || s.Queues > maxQueues {
		return nil, fmt.Errorf("device %s cannot have %d queues, only 1 to %d", s.Name, s.Queues, maxQueues)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	found, err := existing(h, s)
	if err != nil {
		return nil, err
	}
	d := &Device{Name: s.Name, packets: s.Packets}
	if err := d.open(h, s, found); err != nil {
		return nil, fmt.Errorf("open device %s: %w", s.Name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if found != nil {
		d.remember(found)
	}
	l, err := h.LinkByName(s.Name)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", s.Name, err)
	}
	d.Index = l.Attrs().Index
	if found == nil {
		noQueue(h, l)
		if s.Packets {
			quiet(h, l)
		}
	}
	if err := d.setMAC(h, l, s, found != nil); err != nil {
		return nil, err
	}
	return d, nil
}

// existing returns the device that is there and may be attached to, nil when
// there is none.
func existing(h *netlink.Handle, s Spec) (*netlink.Tuntap, error) {
	l, err := h.LinkByName(s.Name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", s.Name, err)
	}
	kind := l.Type()
	if kind == "tuntap" {
		kind = "tun"
	}
	t, isTun := l.(*netlink.Tuntap)
	switch {
	case !s.Persist:
		return nil, &ErrExists{Name: s.Name, Kind: kind}
	case !isTun && s.Packets:
		return nil, &ErrExists{Name: s.Name, Kind: kind, Why: "it is no TUN device"}
	case !isTun:
		return nil, &ErrExists{Name: s.Name, Kind: kind, Why: "it is no TAP device"}
	case t.Mode != mode(s) && s.Packets:
		return nil, &ErrExists{Name: s.Name, Kind: kind, Why: "it is a TAP device, which carries Ethernet frames and not packets"}
	case t.Mode != mode(s):
		return nil, &ErrExists{Name: s.Name, Kind: kind, Why: "it is a TUN device, which carries no Ethernet frames"}
	}
	return t, nil
}

func mode(s Spec) netlink.TuntapMode {
	if s.Packets {
		return netlink.TUNTAP_MODE_TUN
	}
	return netlink.TUNTAP_MODE_TAP
}

// open opens the queues, with super-frames if asked for and possible.
func (d *Device) open(h *netlink.Handle, s Spec, found *netlink.Tuntap) error {
	if s.Offload {
		fds, caps, err := openOffload(h, s, found)
		if err == nil {
			d.Caps = caps
			d.addQueues(fds)
			if !caps.USO {
				d.Why = "the kernel's device has no UDP segmentation (Linux 6.2)"
			}
			return nil
		}
		if !errors.Is(err, errRefused) {
			return err
		}
		d.Why = err.Error()
	}
	fds, err := openPortable(s)
	if err != nil {
		return err
	}
	d.addQueues(fds)
	return nil
}

func (d *Device) addQueues(fds []int) {
	for _, fd := range fds {
		d.queues = append(d.queues, &queue{fd: fd, caps: d.Caps})
	}
}

// setMAC sets the address that was asked for and notes the one in force.
func (d *Device) setMAC(h *netlink.Handle, l netlink.Link, s Spec, found bool) error {
	if d.packets {
		d.MAC = s.MAC
		return nil
	}
	if !s.MAC.IsZero() && (!found || s.ForceMAC) {
		if err := h.LinkSetHardwareAddr(l, s.MAC[:]); err != nil {
			return fmt.Errorf("device %s: set address %v: %w", s.Name, s.MAC, err)
		}
		d.MAC = s.MAC
		return nil
	}
	if hw := l.Attrs().HardwareAddr; len(hw) == 6 {
		d.MAC = packet.MAC(hw)
	}
	return nil
}

// Packets reports whether it is a TUN device.
func (d *Device) Packets() bool { return d.packets }

// Queues returns how many queues the device has.
func (d *Device) Queues() int { return len(d.queues) }

// Close gives the device back: it goes, unless it is to stay; then it is made
// what it was when it was found.
func (d *Device) Close() error {
	var errs []error
	if len(d.undo) > 0 {
		errs = append(errs, d.restore())
	}
	for _, q := range d.queues {
		errs = append(errs, q.Close())
	}
	return errors.Join(errs...)
}
