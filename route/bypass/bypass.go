// Package bypass tells what in the kernel's output and input paths would treat
// the datagrams of a flow: IPsec policies, netfilter rules, policy routing and
// traffic control. Datagrams that are redirected past those paths would escape
// it, so they must not be.
//
// It errs on the safe side: what it does not understand counts as meant for the
// flow.
package bypass

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Flow is the outer datagrams to one VTEP, or from one.
type Flow struct {
	Src, Dst netip.Addr
	Port     uint16 // UDP destination port
	Device   string // interface that they leave or arrive by
	In       bool   // they are from the VTEP
}

// words says where the flow goes.
func (f Flow) words() string {
	if f.In {
		return fmt.Sprintf("datagrams from %v", f.Src)
	}
	return fmt.Sprintf("datagrams to %v", f.Dst)
}

// A Look is one look at the host's rules. One goroutine uses it.
type Look struct {
	policies []netlink.XfrmPolicy
	routing  []netlink.Rule // that choose by more than addresses
	filter   ruleset
	legacy   [2]string // tables of iptables-legacy, IPv4 and IPv6
	err      error
}

// NewLook reads the rules of the host's network namespace, which takes
// CAP_NET_ADMIN.
func NewLook() *Look {
	l := new(Look)
	h, err := netlink.NewHandle(unix.NETLINK_XFRM)
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT): // a kernel without IPsec
	case err != nil:
		l.err = fmt.Errorf("IPsec policies: %w", err)
		return l
	default:
		defer h.Close()
		l.policies, err = h.XfrmPolicyList(netlink.FAMILY_ALL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			l.err = fmt.Errorf("IPsec policies: %w", err)
		}
	}
	if err := l.readRouting(); err != nil && l.err == nil {
		l.err = fmt.Errorf("routing rules: %w", err)
	}
	l.legacy = LegacyTables()
	if err := l.filter.read(); err != nil && l.err == nil {
		l.err = fmt.Errorf("netfilter rules: %w", err)
	}
	return l
}

// LegacyTables returns the tables that iptables-legacy has for IPv4 and IPv6.
// Their rules cannot be read, and nobody tells when they come.
func LegacyTables() (tables [2]string) {
	for i, f := range []string{"/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"} {
		// Without the file there is no such module, and so no such rules.
		if b, err := os.ReadFile(f); err == nil {
			tables[i] = strings.Join(strings.Fields(string(b)), ", ")
		}
	}
	return tables
}

// Reason says in words what would treat the flow, "" when nothing does.
func (l *Look) Reason(f Flow) string {
	if l.err != nil {
		return "cannot tell what treats " + f.words() + ": " + l.err.Error()
	}
	for i := range l.policies {
		if covers(&l.policies[i], f) {
			return "an IPsec policy covers " + f.words()
		}
	}
	if !f.In {
		if why := l.routed(f); why != "" {
			return why
		}
	}
	i := 0
	if f.Dst.Is6() {
		i = 1
	}
	if l.legacy[i] != "" {
		return "iptables-legacy has tables (" + l.legacy[i] + "), whose rules cannot be read"
	}
	return l.filter.reason(f)
}

// covers reports whether an IPsec policy is for the flow.
func covers(p *netlink.XfrmPolicy, f Flow) bool {
	dir := netlink.XFRM_DIR_OUT
	if f.In {
		dir = netlink.XFRM_DIR_IN
	}
	return p.Dir == dir && inside(p.Dst, f.Dst) && inside(p.Src, f.Src) &&
		(p.Proto == 0 || p.Proto == unix.IPPROTO_UDP) && (p.DstPort == 0 || p.DstPort == int(f.Port))
}

// inside reports whether a is in n; no or an all-zero network is everywhere.
func inside(n *net.IPNet, a netip.Addr) bool {
	if n == nil {
		return true
	}
	if ones, bits := n.Mask.Size(); ones == 0 && bits == a.BitLen() {
		return true
	}
	return n.Contains(a.AsSlice())
}
