package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/plugins/pkg/netlinksafe"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/route/ipam"
)

// A gateway is an address that we gave a bridge.
type gateway struct {
	bridge string
	addr   netip.Prefix
}

// noteName is the note of the store about gateways, a line each.
const noteName = "gateways"

// moveGateways takes from the bridge the gateways of subnets that the node has
// no longer and no pod has an address of, and remembers those of pools. A
// subnet that this node gave up may be another's now: with its address still on
// the bridge the host would look for those pods here.
func moveGateways(l *ipam.Locked, bridge string, pools []ipam.Pool) error {
	old := parseGateways(l.Note(noteName))
	var now []gateway
	for _, p := range pools {
		now = append(now, gateway{bridge, p.Prefix(p.Gateway())})
	}
	var errs []error
	for _, g := range old {
		if slices.Contains(now, g) {
			continue
		}
		used, err := l.InUse(g.addr)
		if err == nil && !used {
			err = g.remove()
		} else {
			now = append(now, g)
		}
		errs = append(errs, err)
	}
	if !slices.Equal(old, now) {
		errs = append(errs, l.SetNote(noteName, formatGateways(now)))
	}
	return errors.Join(errs...)
}

// remove takes the address from the bridge. One that is gone is no error.
func (g gateway) remove() error {
	h, err := netlinksafe.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(g.bridge)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	n := ipNet(g.addr)
	if err := h.AddrDel(link, &netlink.Addr{IPNet: &n}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("gateway %v of bridge %s: %w", g.addr, g.bridge, err)
	}
	return nil
}

func formatGateways(all []gateway) string {
	var b strings.Builder
	for _, g := range all {
		fmt.Fprintf(&b, "%s %v\n", g.bridge, g.addr)
	}
	return b.String()
}

// parseGateways reads what formatGateways wrote, and passes over the rest.
func parseGateways(text string) []gateway {
	var all []gateway
	for _, line := range strings.Split(text, "\n") {
		bridge, addr, _ := strings.Cut(line, " ")
		if p, err := netip.ParsePrefix(addr); err == nil && bridge != "" {
			all = append(all, gateway{bridge, p})
		}
	}
	return all
}
