package tap

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/encap/packet"
)

// Settings are what a device is set to. Zero values leave things as they are.
type Settings struct {
	MTU       int            // bytes
	Addresses []netip.Prefix // to have, with their host bits
	Gone      []netip.Prefix // to have no longer
	Bridge    string         // to be a port of
	NoBridge  bool           // to be no port of any bridge
	MAC       packet.MAC
	Up        bool // to bring up at the end
}

// Configure sets the device as s says.
func (d *Device) Configure(s Settings) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	l, err := d.link(h)
	if err != nil {
		return err
	}
	if s.MTU > 0 && l.Attrs().MTU != s.MTU {
		if err := h.LinkSetMTU(l, s.MTU); err != nil {
			return fmt.Errorf("set mtu %d: %w", s.MTU, err)
		}
	}
	if !s.MAC.IsZero() && s.MAC != d.MAC && d.packets {
		d.MAC = s.MAC
	} else if !s.MAC.IsZero() && s.MAC != d.MAC {
		if err := h.LinkSetHardwareAddr(l, s.MAC[:]); err != nil {
			return fmt.Errorf("set address %v: %w", s.MAC, err)
		}
		d.MAC = s.MAC
	}
	if err := d.setBridge(h, l, s); err != nil {
		return err
	}
	if err := d.setAddresses(h, l, s); err != nil {
		return err
	}
	if !s.Up {
		return nil
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	return nil
}

// link returns our device, whatever else may have its name now.
func (d *Device) link(h *netlink.Handle) (netlink.Link, error) {
	l, err := h.LinkByIndex(d.Index)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.Name, errors.Join(ErrGone, err))
	}
	return l, nil
}

func (d *Device) setBridge(h *netlink.Handle, l netlink.Link, s Settings) error {
	if s.NoBridge && l.Attrs().MasterIndex != 0 {
		if err := h.LinkSetNoMaster(l); err != nil {
			return fmt.Errorf("leave the bridge: %w", err)
		}
	}
	if s.Bridge == "" {
		return nil
	}
	br, err := h.LinkByName(s.Bridge)
	if err != nil {
		return fmt.Errorf("bridge %s: %w; make it with `ip link add %s type bridge`", s.Bridge, err, s.Bridge)
	}
	if br.Type() != "bridge" && br.Type() != "openvswitch" {
		return fmt.Errorf("%s is a %s, not a bridge", s.Bridge, br.Type())
	}
	if l.Attrs().MasterIndex == br.Attrs().Index {
		return nil
	}
	if err := h.LinkSetMaster(l, br); err != nil {
		return fmt.Errorf("join bridge %s: %w", s.Bridge, err)
	}
	return nil
}

func (d *Device) setAddresses(h *netlink.Handle, l netlink.Link, s Settings) error {
	for _, p := range s.Gone {
		if err := h.AddrDel(l, address(p)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("remove address %v: %w", p, err)
		}
	}
	for _, p := range s.Addresses {
		err := h.AddrAdd(l, address(p))
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return fmt.Errorf("add address %v: %w", p, err)
		}
		if d.undo != nil {
			d.undo = append(d.undo, func(h *netlink.Handle, l netlink.Link) error {
				if err := h.AddrDel(l, address(p)); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
					return err
				}
				return nil
			})
		}
	}
	return nil
}

func address(p netip.Prefix) *netlink.Addr {
	a := p.Addr()
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(p.Bits(), a.BitLen())}}
}

// remember notes what a found device is like, for restore.
func (d *Device) remember(l netlink.Link) {
	was := *l.Attrs()
	d.undo = append(d.undo, func(h *netlink.Handle, l netlink.Link) error {
		var errs []error
		now := l.Attrs()
		if now.MTU != was.MTU {
			errs = append(errs, h.LinkSetMTU(l, was.MTU))
		}
		if now.HardwareAddr.String() != was.HardwareAddr.String() {
			errs = append(errs, h.LinkSetHardwareAddr(l, was.HardwareAddr))
		}
		if now.MasterIndex != was.MasterIndex {
			errs = append(errs, h.LinkSetMasterByIndex(l, was.MasterIndex))
		}
		if was.Flags&net.FlagUp == 0 {
			errs = append(errs, h.LinkSetDown(l))
		}
		return errors.Join(errs...)
	})
}

// restore makes a found device what it was: what was set, last first.
func (d *Device) restore() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	l, err := d.link(h)
	if err != nil {
		return nil // gone: nothing to restore
	}
	var errs []error
	for i := len(d.undo) - 1; i >= 0; i-- {
		errs = append(errs, d.undo[i](h, l))
	}
	d.undo = nil
	return errors.Join(errs...)
}

// A State is what a device is like now.
type State struct {
	Index int
	MTU   int
	MAC   packet.MAC // zero for a TUN device
	Up    bool
}

// Look returns what the device of that name is like. Its error has [ErrGone] in
// its chain when there is none.
func Look(name string) (State, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return State{}, fmt.Errorf("netlink: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByName(name)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return State{}, fmt.Errorf("device %s: %w", name, ErrGone)
	}
	if err != nil {
		return State{}, fmt.Errorf("device %s: %w", name, err)
	}
	a := l.Attrs()
	s := State{Index: a.Index, MTU: a.MTU, Up: a.Flags&net.FlagUp != 0}
	if len(a.HardwareAddr) == 6 {
		s.MAC = packet.MAC(a.HardwareAddr)
	}
	return s, nil
}

// SetPersist says whether the device stays when we close it.
func (d *Device) SetPersist(on bool) error {
	value := 0
	if on {
		value = 1
	}
	if err := unix.IoctlSetInt(d.queues[0].fd, unix.TUNSETPERSIST, value); err != nil {
		return fmt.Errorf("device %s: TUNSETPERSIST: %w", d.Name, err)
	}
	return nil
}
