package lab

import "fmt"

// Bridge makes a bridge in the host, up, that floods groups. mtu 0 is 1500.
func (h *Host) Bridge(name string, mtu int, addrs ...string) error {
	if _, err := h.Run("ip", "link", "add", "name", name, "type", "bridge", "mcast_snooping", "0"); err != nil {
		return err
	}
	return h.plug(name, Wire{MTU: mtu}, addrs)
}

// Port joins another host to a bridge of h by a wire: the end in h is called
// port, the other one u0, with the wire's addresses B.
func (h *Host) Port(bridge, port string, other *Host, w Wire) error {
	if _, err := h.Run("ip", "link", "add", port, "type", "veth", "peer", "name", "u0", "netns", other.Name); err != nil {
		return err
	}
	if _, err := h.Run("ip", "link", "set", port, "master", bridge, "up"); err != nil {
		return err
	}
	return other.plug("u0", w, w.B)
}

// Switch joins hosts by a bridge in a namespace of its own. Host i has the
// addresses 192.0.2.i+1 and 2001:db8::i+1 on u0. Groups are flooded.
func (l *Lab) Switch(hosts ...*Host) error {
	sw, err := l.Host("switch")
	if err != nil {
		return err
	}
	if err := sw.Bridge("sw0", 0); err != nil {
		return err
	}
	for i, h := range hosts {
		if err := sw.Port("sw0", fmt.Sprintf("p%d", i), h, Wire{B: underlay(i + 1)}); err != nil {
			return err
		}
	}
	return nil
}
