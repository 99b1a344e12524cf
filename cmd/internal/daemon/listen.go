package daemon

import (
	"errors"
	"fmt"
	"net/netip"

	"vtepd/vtep"
	"vtepd/vtep/underlay"
)

// A listenKey says what a set of receive sockets is bound to. Segments with
// equal keys share it.
type listenKey struct {
	addr      netip.AddrPort // our address, the wildcard, or a group
	device    string         // bound to this interface, if all its segments name it
	ifIndex   int            // its index: one of the same name made anew is another one
	groupIf   int            // interface the group is joined on; 0 when not a group
	zeroCsum6 bool
}

// String implements [fmt.Stringer].
func (k listenKey) String() string {
	if k.device != "" {
		return fmt.Sprintf("%v%%%s", k.addr, k.device)
	}
	return k.addr.String()
}

func (k listenKey) isGroup() bool { return k.groupIf != 0 }

// A listener is the receive sockets of one key, one a worker. Of a group there
// is one socket only, since each would get its own copy.
type listener struct {
	key       listenKey
	receivers []vtep.Receiver
	sockets   []*underlay.Receiver
	segments  []uint32 // VNIs
}

// wantedListeners groups segments by what they must be reachable at. Those of
// one address and port share sockets, which are bound to an interface only if
// they all name the same.
func wantedListeners(segments map[uint32]*segment) map[listenKey]*listener {
	type bind struct {
		addr    netip.AddrPort
		groupIf int
	}
	members := make(map[bind][]*segment)
	for _, s := range segments {
		for _, a := range s.listenAddrs() {
			b := bind{addr: netip.AddrPortFrom(a, s.cfg.Port)}
			members[b] = append(members[b], s)
		}
		if g := s.cfg.Group; g.IsValid() {
			b := bind{addr: netip.AddrPortFrom(g, s.cfg.Port), groupIf: s.groupIf}
			members[b] = append(members[b], s)
		}
	}
	wanted := make(map[listenKey]*listener, len(members))
	for b, segs := range members {
		key := listenKey{addr: b.addr, groupIf: b.groupIf, device: segs[0].cfg.Interface, ifIndex: segs[0].ifIndex}
		var vnis []uint32
		for _, s := range segs {
			vnis = append(vnis, s.cfg.VNI)
			if s.cfg.Interface != key.device {
				key.device, key.ifIndex = "", 0
			}
			key.zeroCsum6 = key.zeroCsum6 || b.addr.Addr().Is6() && s.cfg.UDP6ZeroCsumRx
		}
		wanted[key] = &listener{key: key, segments: vnis}
	}
	return wanted
}

// listenAddrs returns where datagrams for the segment may arrive: our own
// addresses, or any while there is no remote to choose one by.
func (s *segment) listenAddrs() []netip.Addr {
	if l := s.locals(); len(l) > 0 {
		return l
	}
	return []netip.Addr{netip.IPv4Unspecified()}
}

// open opens the sockets of k for the given number of workers. held says that
// the daemon has other sockets on the same address and port, which the new ones
// take over from.
func (l *listener) open(workers int, gro, held bool) error {
	k := l.key
	l.receivers = make([]vtep.Receiver, workers)
	if k.isGroup() {
		r, err := underlay.ListenGroup(underlay.GroupSpec{Group: k.addr.Addr(), Port: k.addr.Port(),
			IfIndex: k.groupIf, Device: k.device, GRO: gro})
		if err != nil {
			return err
		}
		l.sockets = []*underlay.Receiver{r}
		// Spread the groups over the workers.
		last := k.addr.Addr().As16()[15]
		l.receivers[int(last)%workers] = r
		return nil
	}
	rs, err := underlay.Listen(underlay.Spec{Addr: k.addr, Device: k.device,
		ZeroCsum6: k.zeroCsum6, GRO: gro, Workers: workers, Join: held})
	if err != nil {
		return err
	}
	l.sockets = rs
	for i, r := range rs {
		l.receivers[i] = r
	}
	return nil
}

func (l *listener) close() error {
	var errs []error
	for _, s := range l.sockets {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// engineListener is what the engine needs of l.
func (l *listener) engineListener(segments map[uint32]*segment) vtep.Listener {
	out := vtep.Listener{Receivers: l.receivers, Segments: make(map[uint32]*vtep.Segment, len(l.segments))}
	for _, vni := range l.segments {
		out.Segments[vni] = segments[vni].engine
	}
	return out
}

// holds reports whether the daemon has sockets on the address and port of k
// under another key.
func (d *Daemon) holds(k listenKey) bool {
	for have := range d.listeners {
		if have.addr == k.addr && have != k {
			return true
		}
	}
	return false
}
