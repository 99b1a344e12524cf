package daemon

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"go.uber.org/zap"

	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route/path"
	"vtepd/vtep"
	"vtepd/vtep/tap"
)

// openDevice opens the device of s, one queue a worker, and sets it up as its
// configuration says.
func (p *plan) openDevice(s *segment) error {
	c := s.cfg
	mac := c.MAC
	if mac.IsZero() {
		mac = deviceMAC(s)
	}
	dev, err := tap.Open(tap.Spec{Name: c.Device, Queues: p.d.engine.Workers(), Persist: c.Persist,
		MAC: mac, ForceMAC: !c.MAC.IsZero(), Offload: p.d.tier.offload, Packets: c.Mode == config.Routed})
	if err != nil {
		return err
	}
	p.fresh[dev] = true
	s.dev, s.ports = dev, make([]vtep.Port, p.d.engine.Workers())
	for i := range s.ports {
		s.ports[i] = dev.Queue(i)
	}
	p.opened = append(p.opened, func() { p.d.closing("device", s.closeDevice()) })
	s.measure(p.look)
	s.mtu = s.wantedMTU()
	s.deviceMTU = s.mtu
	if err := dev.Configure(tap.Settings{MTU: s.mtu, Addresses: c.Address, Bridge: c.Bridge}); err != nil {
		return fmt.Errorf("device %s: %w", c.Device, err)
	}
	return nil
}

// bringUp brings the device up when the segment has all its entries, so that
// the first frame finds its way.
func (d *Daemon) bringUp(s *segment) {
	if err := s.dev.Configure(tap.Settings{Up: true}); err != nil {
		s.logger(d.log).Error("device not up", zap.Error(err))
		return
	}
	s.logger(d.log).Info("device up", zap.Stringer("mac", s.dev.MAC), zap.Int("mtu", s.mtu),
		zap.Int("queues", len(s.ports)))
}

// deviceMAC derives a stable, locally administered address from our outer
// addresses, the VNI and the name, so that peers see the same station after a
// restart. The outer addresses tell VTEPs apart even where machines are clones
// of one another.
func deviceMAC(s *segment) packet.MAC { return stableMAC(s.listenAddrs(), s.cfg.VNI, s.cfg.Device) }

func stableMAC(outer []netip.Addr, vni uint32, device string) packet.MAC {
	h := sha256.New()
	for _, a := range outer {
		b := a.As16()
		h.Write(b[:])
	}
	if id, err := os.ReadFile("/etc/machine-id"); err == nil {
		h.Write(id)
	}
	h.Write(binary.BigEndian.AppendUint32(nil, vni))
	h.Write([]byte(device))
	var mac packet.MAC
	copy(mac[:], h.Sum(nil))
	mac[0] = mac[0]&^1 | 2
	return mac
}

// wantedMTU is the MTU the device should have: the configured one, or the
// smallest over the paths to the remotes less the outer headers.
func (s *segment) wantedMTU() int {
	if s.cfg.MTU != 0 {
		return s.cfg.MTU
	}
	return s.pathLimit
}

// measure finds out the path MTU to every remote, and the largest inner packet
// in bytes that fits all paths. A remote without a route has the MTU of the
// others. Of strangers it takes what the look has left.
func (s *segment) measure(r *look) {
	paths, unreachable := s.paths, s.unreachable
	s.paths = make(map[netip.Addr]path.Lookup)
	s.unreachable = make(map[netip.Addr]bool)
	s.waiting = 0
	best := 0
	for _, to := range s.remoteAddrs() {
		a := to.addr
		l, measured := paths[a]
		switch {
		case measured && r.news:
			if unreachable[a] {
				s.unreachable[a] = true
			}
		case to.stranger && r.strangers == 0:
			s.waiting++
			continue
		default:
			if to.stranger {
				r.strangers--
			}
			l = s.ask(r, a)
		}
		s.paths[a] = l
		if limit := l.MTU - overhead(a); best == 0 || limit < best {
			best = limit
		}
	}
	if best == 0 {
		best = s.pathMTU - overhead(s.listenAddrs()[0])
	}
	s.pathLimit = max(best, minMTU)
}

// ask asks the kernel how a remote is reached.
func (s *segment) ask(r *look, a netip.Addr) path.Lookup {
	from := s.v4
	if a.Is6() {
		from = s.v6
	}
	ifIndex := s.ifIndex
	if a.IsMulticast() {
		ifIndex = s.groupIf
	}
	l, err := r.Query(a, from, ifIndex)
	if err != nil {
		s.unreachable[a] = true
	}
	if l.MTU == 0 {
		l.MTU = s.pathMTU
	}
	return l
}

// minMTU is the smallest MTU a device gets by itself: IPv4's minimum
// (RFC 791 §3.2).
const minMTU = 68

// reconfigureDevice carries over to the device what a reload changed of it, and
// nothing else: what an operator set with `ip` stays.
func (d *Daemon) reconfigureDevice(c *config.SegmentChange) {
	s := d.segments[c.New.VNI]
	if s == nil || c.Old.Device != c.New.Device {
		return // opened anew, as the new configuration says
	}
	set := tap.Settings{Gone: without(c.Old.Address, c.New.Address), Addresses: without(c.New.Address, c.Old.Address)}
	if c.New.Bridge != c.Old.Bridge {
		set.Bridge, set.NoBridge = c.New.Bridge, c.New.Bridge == ""
	}
	if c.New.MTU != c.Old.MTU {
		set.MTU = s.wantedMTU()
	}
	if c.New.MAC != c.Old.MAC {
		if set.MAC = c.New.MAC; set.MAC.IsZero() {
			set.MAC = deviceMAC(s)
		}
	}
	if err := s.dev.Configure(set); err != nil {
		s.logger(d.log).Error("device not changed", zap.Error(err))
	}
	if c.New.Persist != c.Old.Persist {
		d.closing("persistence", s.dev.SetPersist(c.New.Persist))
	}
	if set.MTU != 0 {
		s.mtu, s.deviceMTU = set.MTU, set.MTU
	}
	s.engine.SetOptions(s.options())
}

// without returns the prefixes of a that b does not have.
func without(a, b []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(a), func(p netip.Prefix) bool { return slices.Contains(b, p) })
}
