package bypass

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// plain reports whether a kind of queueing discipline is one that a device has
// by itself, or that only orders what waits.
func plain(kind string) bool {
	switch kind {
	case "noqueue", "mq", "pfifo_fast", "pfifo", "fq", "fq_codel", "clsact", "ingress":
		return true
	}
	return false
}

// Controlled says what traffic control does to what leaves by a device, or with
// in to what arrives by it, "" when nothing does. What is redirected at the
// device's tcx hook escapes it.
func Controlled(ifIndex int, in bool) string {
	why, err := controlled(ifIndex, in)
	if err != nil {
		return "cannot tell about traffic control: " + err.Error()
	}
	return why
}

func controlled(ifIndex int, in bool) (string, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return "", err
	}
	defer h.Close()
	link, err := h.LinkByIndex(ifIndex)
	if err != nil {
		return "", err
	}
	queues, err := h.QdiscList(link)
	if err != nil {
		return "", err
	}
	parent, direction := uint32(netlink.HANDLE_MIN_EGRESS), "leaves"
	if in {
		parent, direction = netlink.HANDLE_MIN_INGRESS, "arrives"
	}
	for _, q := range queues {
		if !in && !plain(q.Type()) {
			return fmt.Sprintf("device %s has a queueing discipline, %s", link.Attrs().Name, q.Type()), nil
		}
		if q.Type() != "clsact" && (q.Type() != "ingress" || !in) {
			continue
		}
		filters, err := h.FilterList(link, parent)
		if err != nil {
			return "", err
		}
		if len(filters) > 0 {
			return fmt.Sprintf("device %s has traffic-control filters for what %s", link.Attrs().Name, direction), nil
		}
	}
	return "", nil
}
