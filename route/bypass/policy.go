package bypass

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// readRouting reads the rules of policy routing that choose by what a redirect
// does not look at (net/core/filter.c, __bpf_redirect_neigh_v4: addresses,
// protocol and mark only, with the interface given), or what the routes to
// VTEPs are asked for without: the datagrams of sockets may go elsewhere.
func (l *Look) readRouting() error {
	rules, err := netlink.RuleList(netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return err
	}
	for _, r := range rules {
		if r.Dport != nil || r.Sport != nil || r.IPProto != 0 || r.Tos != 0 || r.UIDRange != nil || r.OifName != "" {
			l.routing = append(l.routing, r)
		}
	}
	return nil
}

// routed returns what in policy routing may be for the flow, "" when nothing
// is.
func (l *Look) routed(f Flow) string {
	family := unix.AF_INET
	if f.Dst.Is6() {
		family = unix.AF_INET6
	}
	for i := range l.routing {
		if r := &l.routing[i]; r.Family == family && (r.Invert || selects(r, f)) {
			return fmt.Sprintf("routing rule %d chooses by more than addresses", r.Priority)
		}
	}
	return ""
}

// selects reports whether a rule may be for the flow.
func selects(r *netlink.Rule, f Flow) bool {
	return inside(r.Src, f.Src) && inside(r.Dst, f.Dst) && (r.IPProto == 0 || r.IPProto == unix.IPPROTO_UDP) &&
		(r.Dport == nil || r.Dport.Start <= f.Port && f.Port <= r.Dport.End) &&
		(r.OifName == "" || r.OifName == f.Device)
}
