package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"vtepd/route/bypass"
	"vtepd/route/path"
	"vtepd/vtep"
	"vtepd/vtep/underlay"
	"vtepd/vtep/underlay/tunnelgso"
)

// An egress is the device that super-frames leave whole by, towards one
// interface.
type egress struct {
	dev *tunnelgso.Device // nil when it could not be opened
	why string            // then: why
}

// unmeasured says that a remote is cut for until the next look.
const unmeasured = "it was learned, and is not looked at yet"

// steer decides for each remote of s whether super-frames reach it whole, and
// puts that in force. It holds d.mu.
func (d *Daemon) steer(s *segment, k *look) {
	if !d.tier.whole {
		return
	}
	before, cut := s.dialer.Tunnels(), s.cut
	tunnels := make(map[netip.AddrPort]underlay.Tunnel)
	s.cut = make(map[netip.AddrPort]string)
	for _, r := range s.engine.Remotes() {
		v := r.VTEP()
		to := netip.AddrPortFrom(v.Addr, v.Port)
		l, measured := s.paths[v.Addr]
		if t, was := before[to]; was && measured && k.news {
			tunnels[to] = t
		} else if why, was := cut[to]; was && why != unmeasured && k.news {
			s.cut[to] = why
		} else if !measured {
			s.cut[to] = unmeasured
		} else if e, why := d.whole(s, to, l, k); why != "" {
			s.cut[to] = why
		} else {
			tunnels[to] = underlay.Tunnel{Device: e.dev, Hops: l.Hops}
		}
	}
	if maps.Equal(tunnels, before) {
		return
	}
	s.dialer.SetTunnels(tunnels)
	if err := s.engine.Renew(func(v vtep.VTEP) bool {
		to := netip.AddrPortFrom(v.Addr, v.Port)
		return tunnels[to] != before[to]
	}); err != nil {
		s.logger(d.log).Error("paths not renewed", zap.Error(err))
	}
	s.logger(d.log).Info("super-frames leave whole", zap.Int("remotes", len(tunnels)), zap.Int("cut", len(s.cut)))
}

// redirectable says why datagrams to a VTEP may not be redirected past the
// kernel's output path, "" when they may.
func (d *Daemon) redirectable(s *segment, to netip.AddrPort, l path.Lookup, k *look) string {
	a, src := to.Addr(), s.v4
	if a.Is6() {
		src = s.v6
	}
	switch {
	case s.unreachable[a]:
		return "there is no route to it"
	case a.IsMulticast():
		return "it is a group" // bpf_redirect_neigh takes unicast routes only
	case !l.Ethernet:
		return fmt.Sprintf("interface %s has no Ethernet headers", l.Device)
	case l.Encap:
		return "the route to it adds headers of its own"
	case !src.IsValid():
		return "there is no local address of its family"
	}
	return k.reason(bypass.Flow{Src: src, Dst: a, Port: to.Port(), Device: l.Device})
}

// whole returns the device by which super-frames reach a VTEP whole, or why
// they are cut.
func (d *Daemon) whole(s *segment, to netip.AddrPort, l path.Lookup, k *look) (*egress, string) {
	if spec := s.dialSpec(); !spec.Checksums(to.Addr().Is6()) {
		return nil, "its datagrams have no outer checksum"
	}
	if why := d.redirectable(s, to, l, k); why != "" {
		return nil, why
	}
	// Measured on a veth: what the kernel cuts for an interface, with inner
	// checksums left unfinished, is not joined again at the other end.
	if !d.tier.forced && !k.cuts(l.Device) {
		return nil, uncut(l.Device)
	}
	e := d.egresses[l.IfIndex]
	if e == nil {
		e = d.openEgress(l)
	}
	if e.dev != nil && !e.dev.Usable() {
		return nil, "the kernel refuses super-frames towards " + l.Device
	}
	return e, e.why
}

// uncut says that an interface leaves tunnel super-frames to the kernel.
func uncut(device string) string {
	return "interface " + device + " does not cut tunnel super-frames itself (ethtool: tx-udp_tnl-csum-segmentation)"
}

func (d *Daemon) openEgress(l path.Lookup) *egress {
	e := new(egress)
	dev, err := tunnelgso.Open(l.IfIndex, d.engine.Workers())
	if err != nil {
		e.why = err.Error()
		d.log.Warn("super-frames are cut", zap.String("interface", l.Device), zap.Error(err))
	} else {
		e.dev = dev
	}
	d.egresses[l.IfIndex] = e
	return e
}

// reached is the fastest tier that a remote of s has, and why others have not.
func (d *Daemon) reached(s *segment) (tier, reason string) {
	tier = d.tier.name
	var clauses []string
	if d.tier.fast {
		clauses = append(clauses, clauseEach("TCP with %s goes through user space: %s", s.slow)...)
		clauses = append(clauses, clauseEach("TCP super-frames with %s go through user space: %s", s.bulk)...)
		if len(s.fast) > len(s.bulk) || len(s.slow) == 0 {
			return tier, strings.Join(clauses, "; ")
		}
		tier = "offload"
		if d.tier.whole {
			tier = "tunnel-gso"
		}
	}
	if len(s.cut) > 0 && len(s.dialer.Tunnels()) == 0 {
		tier = "offload"
	}
	clauses = append(clauses, clauseEach("super-frames to %s are cut: %s", s.cut)...)
	return tier, strings.Join(clauses, "; ")
}

// clauseEach says a clause a reason, for all remotes that it is for; "" is
// none.
func clauseEach(format string, reasons map[netip.AddrPort]string) []string {
	remotes := make(map[string][]netip.AddrPort)
	for to, why := range reasons {
		if why != "" {
			remotes[why] = append(remotes[why], to)
		}
	}
	var clauses []string
	for why, to := range remotes {
		slices.SortFunc(to, netip.AddrPort.Compare)
		who := to[0].Addr().String()
		if n := len(to) - 1; n > 0 {
			who += fmt.Sprintf(" and %d more", n)
		}
		clauses = append(clauses, fmt.Sprintf(format, who, why))
	}
	slices.Sort(clauses)
	return clauses
}

// closeIdle closes the egress devices that no path uses any more. It holds
// d.mu.
func (d *Daemon) closeIdle() {
	if d.fast != nil {
		d.closing("tcx hook", d.fast.closeIdle(d.segments))
	}
	used := make(map[*tunnelgso.Device]bool)
	for _, s := range d.segments {
		for _, t := range s.dialer.Tunnels() {
			used[t.Device] = true
		}
	}
	var idle []*tunnelgso.Device
	for i, e := range d.egresses {
		// One that could not be opened is not tried again: each try is an
		// event of the host, and so would call for the next.
		if e.dev != nil && !used[e.dev] {
			delete(d.egresses, i)
			idle = append(idle, e.dev)
		}
	}
	if len(idle) == 0 {
		return
	}
	d.engine.Settle()
	for _, dev := range idle {
		d.closing("egress device", dev.Close())
	}
}

// closeEgresses closes all egress devices, when no worker runs any more.
func (d *Daemon) closeEgresses() error {
	var errs []error
	for _, e := range d.egresses {
		if e.dev != nil {
			errs = append(errs, e.dev.Close())
		}
	}
	clear(d.egresses)
	return errors.Join(errs...)
}
