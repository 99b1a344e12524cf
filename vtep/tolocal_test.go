package vtep

import (
	"bytes"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vtepd/encap"
	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

// inbound is a frame from the far side to our host.
func inbound(c recipe) []byte {
	if c.src.IsZero() {
		c.src = farMAC
	}
	if c.dst.IsZero() {
		c.dst = hostMAC
	}
	return c.bytes()
}

func TestToLocal(t *testing.T) {
	plain := inbound(recipe{size: 100})
	ok := from(alpha.Addr, plain)
	with := func(d Datagram, f func(*Datagram)) Datagram {
		d.Payload = bytes.Clone(d.Payload)
		f(&d)
		return d
	}
	flooded := func(r *rig) { r.flood(alpha, beta, gamma) }
	specs := []struct {
		name    string
		opts    func(*Options)
		setup   func(*rig)
		in      Datagram
		drops   []string // nil: delivered as it is
		learned bool     // farMAC is behind the source
	}{
		{"delivered and learned", nil, flooded, ok, nil, true},
		{"over IPv6", nil, flooded, from(gamma.Addr, plain), nil, true},
		{"learning off", func(o *Options) { o.Learning = false }, flooded, ok, nil, false},
		{"an Ethernet header alone", nil, flooded, from(alpha.Addr, append(plain[:12:12], 0x88, 0xb5)), nil, true},
		{"reserved bits", nil, flooded, with(ok, func(d *Datagram) { d.Payload[0], d.Payload[1], d.Payload[7] = 0xff, 0xff, 0xff }), nil, true},
		{"interface unknown", func(o *Options) { o.IfIndex = 3 }, flooded, with(ok, func(d *Datagram) { d.IfIndex = 0 }), nil, true},
		{"the segment's interface", func(o *Options) { o.IfIndex = 3 }, flooded, ok, nil, true},
		{"source port does not matter", nil, flooded, with(ok, func(d *Datagram) { d.Src = netip.AddrPortFrom(alpha.Addr, 1) }), nil, true},
		{"larger than the device's MTU, finished", nil, flooded, from(alpha.Addr, inbound(recipe{size: 5000})), nil, true},

		{"empty", nil, flooded, with(ok, func(d *Datagram) { d.Payload = nil }), []string{"unowned invalid_header 1"}, false},
		{"short header", nil, flooded, with(ok, func(d *Datagram) { d.Payload = d.Payload[:7] }), []string{"unowned invalid_header 1"}, false},
		{"I flag clear", nil, flooded, with(ok, func(d *Datagram) { d.Payload[0] = 0xf7 }), []string{"unowned invalid_header 1"}, false},
		{"another VNI", nil, flooded, fromVNI(alpha.Addr, 43, plain), []string{"unowned vni_not_found 1"}, false},
		{"header alone", nil, flooded, with(ok, func(d *Datagram) { d.Payload = d.Payload[:8] }), []string{"rx truncated 1"}, false},
		{"13 bytes of frame", nil, flooded, with(ok, func(d *Datagram) { d.Payload = d.Payload[:8+13] }), []string{"rx truncated 1"}, false},
		{"19 bytes of IPv4", nil, flooded, with(ok, func(d *Datagram) { d.Payload = d.Payload[:8+14+19] }), []string{"rx truncated 1"}, true},
		{"20 bytes of IPv4", nil, flooded, with(ok, func(d *Datagram) { d.Payload = d.Payload[:8+14+20] }), nil, true},
		{"39 bytes of IPv6", nil, flooded, with(from(alpha.Addr, inbound(recipe{v6: true})), func(d *Datagram) { d.Payload = d.Payload[:8+14+39] }),
			[]string{"rx truncated 1"}, true},
		{"40 bytes of IPv6", nil, flooded, with(from(alpha.Addr, inbound(recipe{v6: true})), func(d *Datagram) { d.Payload = d.Payload[:8+14+40] }), nil, true},
		{"multicast source MAC", nil, flooded, from(alpha.Addr, inbound(recipe{src: groupMAC})), []string{"rx mac_invalid_source 1"}, false},
		{"zero source MAC", nil, flooded, with(ok, func(d *Datagram) { clear(d.Payload[8+6 : 8+12]) }), []string{"rx mac_invalid_source 1"}, false},
		{"our own MAC", nil, flooded, from(alpha.Addr, inbound(recipe{src: devMAC})), []string{"rx local_mac 1"}, false},
		{"static elsewhere", nil, func(r *rig) { flooded(r); r.static(farMAC, beta) }, ok, []string{"rx entry_exists 1"}, false},
		{"static here", nil, func(r *rig) { flooded(r); r.static(farMAC, alpha) }, ok, nil, true},
		{"static here, on another port and VNI", nil,
			func(r *rig) { flooded(r); r.static(farMAC, VTEP{alpha.Addr, 1, 7}) }, ok, nil, false},
		{"static elsewhere, learning off", func(o *Options) { o.Learning = false },
			func(r *rig) { flooded(r); r.static(farMAC, beta) }, ok, nil, false},
		{"VLAN", nil, flooded, from(alpha.Addr, inbound(recipe{tags: []uint16{5}})), []string{"rx inner_vlan 1"}, false},
		{"VLAN passed", func(o *Options) { o.PassVLAN = true }, flooded, from(alpha.Addr, inbound(recipe{tags: []uint16{5, 6}})), nil, true},
		{"CE over Not-ECT", nil, flooded, with(ok, func(d *Datagram) { d.TOS = 3 }), []string{"rx ecn 1"}, true},
		{"CE over Not-ECT, IPv6", nil, flooded, with(from(alpha.Addr, inbound(recipe{v6: true})), func(d *Datagram) { d.TOS = 3 }),
			[]string{"rx ecn 1"}, true},
		{"outer DSCP does not matter", nil, flooded, with(ok, func(d *Datagram) { d.TOS = 0xfc }), nil, true},

		{"accept known: a stranger", nil, flooded, from(strange, plain), []string{"rx source_not_accepted 1"}, false},
		{"accept known: a static destination", nil, func(r *rig) { r.static(otherMAC, alpha) }, ok, nil, true},
		{"accept known: a destination of a multicast entry", nil, func(r *rig) { r.static(groupMAC, alpha) }, ok, nil, true},
		{"accept known: a dynamic destination of the operator's", nil, func(r *rig) {
			r.change(func(c *Change) error { return c.PutMAC(otherMAC, fdb.Dynamic, fdb.Operator, 0, alpha) })
		}, ok, []string{"rx source_not_accepted 1"}, false},
		{"accept known: a remote that was taken off", nil, func(r *rig) {
			flooded(r)
			r.change(func(c *Change) error { c.DelFlood(alpha); return nil })
		}, ok, []string{"rx source_not_accepted 1"}, false},
		{"accept known: a group is no source", nil, func(r *rig) { r.flood(group) }, ok, []string{"rx source_not_accepted 1"}, false},
		{"accept nobody", func(o *Options) { o.AcceptKnown = false }, flooded, ok, []string{"rx source_not_accepted 1"}, false},
		{"accept any", func(o *Options) { o.AcceptAny = true }, nil, from(strange, plain), nil, true},
		{"accept any, learning off", func(o *Options) { o.AcceptAny, o.Learning = true, false }, nil, from(strange, plain), nil, false},
		{"accept a list", func(o *Options) {
			o.AcceptPrefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/28")}
		}, nil, from(strange, plain), nil, true},
		{"not on the list", func(o *Options) { o.AcceptPrefixes = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/29")} },
			nil, from(strange, plain), []string{"rx source_not_accepted 1"}, false},
		{"a list, not known", func(o *Options) {
			o.AcceptKnown, o.AcceptPrefixes = false, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		}, flooded, ok, []string{"rx source_not_accepted 1"}, false},

		{"martian: unspecified", func(o *Options) { o.AcceptAny = true }, nil, from(netip.IPv4Unspecified(), plain), []string{"rx martian_source 1"}, false},
		{"martian: unspecified IPv6", func(o *Options) { o.AcceptAny = true }, nil, from(netip.IPv6Unspecified(), plain), []string{"rx martian_source 1"}, false},
		{"martian: no address", func(o *Options) { o.AcceptAny = true }, nil, from(netip.Addr{}, plain), []string{"rx martian_source 1"}, false},
		{"martian: multicast", func(o *Options) { o.AcceptAny = true }, nil, from(group.Addr, plain), []string{"rx martian_source 1"}, false},
		{"martian: multicast IPv6", func(o *Options) { o.AcceptAny = true }, nil, from(netip.MustParseAddr("ff02::1"), plain), []string{"rx martian_source 1"}, false},
		{"martian: broadcast", func(o *Options) { o.AcceptAny = true }, nil, from(netip.MustParseAddr("255.255.255.255"), plain), []string{"rx martian_source 1"}, false},
		{"martian: loopback", func(o *Options) { o.AcceptAny = true }, nil, from(netip.MustParseAddr("127.0.0.1"), plain), []string{"rx martian_source 1"}, false},
		{"martian: ourselves", func(o *Options) { o.AcceptAny = true }, nil, from(local4, plain), []string{"rx martian_source 1"}, false},
		{"martian: ourselves, named", nil, func(r *rig) { r.flood(self) }, from(local4, plain), []string{"rx martian_source 1"}, false},
		{"loopback where we are on it", func(o *Options) { o.AcceptAny, o.Local = true, []netip.Addr{netip.MustParseAddr("127.0.0.2")} },
			nil, from(netip.MustParseAddr("127.0.0.1"), plain), nil, true},
		{"another interface", func(o *Options) { o.IfIndex = 4 }, flooded, ok, []string{"rx wrong_interface 1"}, false},
		{"by a device of ours", nil, flooded, with(ok, func(d *Datagram) { d.IfIndex = 77 }), []string{"rx wrong_interface 1"}, false},
		{"the device does not take it", nil, func(r *rig) {
			flooded(r)
			r.port.refuse = func(offload.GSO) error { return syscall.ENOBUFS }
		}, ok, []string{"rx write_failed 1"}, true},
	}
	seen := map[string]bool{}
	for _, spec := range specs {
		for name, caps := range map[string]offload.Caps{"": {}, " (vnet)": vnet} {
			t.Run(spec.name+name, func(t *testing.T) {
				r := newRig(t, caps)
				if spec.opts != nil {
					r.options(spec.opts)
				}
				if spec.setup != nil {
					spec.setup(r)
				}
				in := spec.in
				in.Payload = bytes.Clone(in.Payload)
				out := r.fromTunnel(in)
				if got := r.dropped(); !slices.Equal(got, spec.drops) {
					t.Errorf("drops %v, want %v", got, spec.drops)
				}
				var want Traffic
				if spec.drops == nil {
					frame := spec.in.Payload[encap.HeaderLen:]
					want = Traffic{1, uint64(len(frame))}
					if len(out) != 1 || !bytes.Equal(out[0].bytes, frame) || out[0].gso != (offload.GSO{}) {
						t.Errorf("wrote %v", out)
					}
				} else if len(out) != 0 {
					t.Errorf("wrote %d frames", len(out))
				}
				if c := r.seg.Counters(); c.Rx != want || c.Tx != (Traffic{}) {
					t.Errorf("counted %+v", c.Rx)
				}
				d, ok := r.seg.FDB().Lookup(farMAC)
				if there := ok && r.seg.RemoteAt(d).VTEP().Addr == in.Src.Addr(); there != spec.learned {
					if e, _ := r.seg.FDB().Get(farMAC); !there || e.State == fdb.Dynamic {
						t.Errorf("learned: %v, want %v", there, spec.learned)
					}
				}
				for i := range drop.Count {
					for _, d := range spec.drops {
						seen[i.String()] = seen[i.String()] || strings.Contains(d, i.String())
					}
				}
			})
		}
	}
	for i := range drop.Count {
		// A bad checksum of a super-frame is found only where a device refused
		// one that was good: see TestWriteCutRefuses. For some that only routed
		// segments have see TestRoutedToLocal.
		routed := i == drop.OtherHost || i == drop.UnhandledProto || i == drop.Malformed
		if i.Rx() && !seen[i.String()] && i != drop.BadChecksum && !routed {
			t.Errorf("nothing is dropped for %v", i)
		}
	}
}

func TestWriteCutRefuses(t *testing.T) {
	r := newRig(t, vnet)
	big := inbound(recipe{size: 3000, badCsum: true})
	r.w.writeCut(r.a, big, offload.GSO{Type: offload.TCPv6, Size: 1000}, 3)
	if got := r.dropped(); !slices.Equal(got, []string{"rx bad_checksum 3"}) || len(r.port.out) != 0 {
		t.Errorf("contradiction: drops %v", got)
	}
	r.w.writeCut(r.a, big, offload.GSO{Type: offload.TCPv4, Size: 1000}, 3)
	if len(r.port.out) != 0 {
		t.Error("a bad checksum was made good")
	}
}

// RFC 6040 §4.2, figure 4.
func TestECN(t *testing.T) {
	const dropped = 255
	table := [4][4]uint8{ // [inner][outer]
		0: {0, 0, 0, dropped},
		1: {1, 1, 1, 3},
		2: {2, 1, 2, 3},
		3: {3, 3, 3, 3},
	}
	for inner := range uint8(4) {
		for outer := range uint8(4) {
			for _, v6 := range []bool{false, true} {
				r := newRig(t, offload.Caps{})
				r.flood(alpha)
				d := from(alpha.Addr, inbound(recipe{v6: v6, size: 9, tos: 0xb8 | inner}))
				d.TOS = 0x40 | outer
				out := r.fromTunnel(d)
				if table[inner][outer] == dropped {
					if len(out) != 0 || !slices.Equal(r.dropped(), []string{"rx ecn 1"}) {
						t.Errorf("inner %d, outer %d: %v", inner, outer, r.dropped())
					}
					continue
				}
				if len(out) != 1 || !goodChecksums(out[0].bytes) {
					t.Fatalf("inner %d, outer %d: %d frames, or a bad checksum", inner, outer, len(out))
				}
				if p := parse(out[0].bytes); p.TOS != 0xb8|table[inner][outer] {
					t.Errorf("inner %d, outer %d: TOS %#x", inner, outer, p.TOS)
				}
			}
		}
	}
	r := newRig(t, offload.Caps{})
	r.flood(alpha)
	d := from(alpha.Addr, arp(1, farMAC, allMAC, alpha.Addr, local4))
	d.TOS = 3
	if out := r.fromTunnel(d); len(out) != 1 {
		t.Errorf("CE over no IP: %v", r.dropped())
	}
}

func TestLearning(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha, beta)
	back := wire(recipe{}.bytes())
	where := func(want ...VTEP) {
		t.Helper()
		if got := to(r.fromDevice(back)); !slices.Equal(got, words(want...)) {
			t.Errorf("sent to %v, want %v", got, words(want...))
		}
	}
	where(alpha, beta)
	r.learned(farMAC, alpha)
	where(alpha)
	r.learned(farMAC, alpha)
	r.learned(farMAC, beta)
	where(beta)
	r.static(farMAC, alpha)
	where(alpha)
	if out := r.fromTunnel(from(beta.Addr, inbound(recipe{}))); len(out) != 0 {
		t.Error("a frame against a static entry was delivered")
	}
	where(alpha)
	r.change(func(c *Change) error {
		if !c.DelMAC(farMAC) || c.DelMAC(farMAC) || c.DelMAC(groupMAC) {
			t.Error("DelMAC says what was not")
		}
		return nil
	})
	where(alpha, beta)
	r.learned(farMAC, beta)
	where(beta)
	if s := r.seg.FDB().Stats(); s != (fdb.Stats{Entries: 1, Learned: 2, Moved: 1}) {
		t.Errorf("%+v", s)
	}
}

func TestFullFDB(t *testing.T) {
	r := newRig(t, offload.Caps{}, func(o *Options) { o.FDB = fdb.Limits{Max: 4, Share: 50} })
	mac := func(n byte) packet.MAC { return packet.MAC{2, 0, 0, 9, 9, n} }
	r.flood(alpha)
	for n := range byte(3) { // one remote alone may fill it
		r.learned(mac(n), alpha)
	}
	if s := r.seg.FDB().Stats(); s.Entries != 3 || s.Full != 0 {
		t.Errorf("one remote: %+v", s)
	}
	r.flood(beta) // now there is another to protect
	r.learned(mac(3), alpha)
	if s := r.seg.FDB().Stats(); s.Entries != 3 || s.Full != 1 {
		t.Errorf("two remotes: %+v", s)
	}
	r.learned(mac(4), beta)
	r.learned(mac(5), beta) // delivered, not learned
	if s := r.seg.FDB().Stats(); s.Entries != 4 || s.Full != 2 || r.dropped() != nil {
		t.Errorf("full: %+v, %v", s, r.dropped())
	}
	r.options(func(o *Options) { o.FDB.Max = 100 })
	r.learned(mac(5), beta)
	if s := r.seg.FDB().Stats(); s.Entries != 5 {
		t.Errorf("larger: %+v", s)
	}
	g := newRig(t, offload.Caps{}, func(o *Options) { o.FDB = fdb.Limits{Max: 4, Share: 50}; o.AcceptAny = true })
	g.flood(group)
	for n := range byte(4) {
		g.learned(mac(n), alpha)
	}
	if s := g.seg.FDB().Stats(); s.Entries != 2 {
		t.Errorf("a group: %+v", s)
	}
}

// A removed remote's learned entries go, and its place is not another's at
// once.
func TestRemovedRemote(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha, beta)
	r.learned(farMAC, alpha)
	r.learned(otherMAC, beta)
	r.static(packet.MAC{2, 9}, beta)
	r.change(func(c *Change) error { c.DelFlood(alpha); return nil })
	if _, ok := r.seg.FDB().Lookup(farMAC); ok {
		t.Error("the removed remote's entry is there")
	}
	if _, ok := r.seg.FDB().Lookup(otherMAC); !ok {
		t.Error("another's entry is gone")
	}
	if len(r.seg.Remotes()) != 1 {
		t.Errorf("%d remotes", len(r.seg.Remotes()))
	}
	// A worker in the middle of a frame learns once more behind it.
	r.seg.FDB().Learn(farMAC, 0, 0)
	r.flood(gamma)
	if got := to(r.fromDevice(wire(recipe{}.bytes()))); !slices.Equal(got, words(beta, gamma)) {
		t.Errorf("sent to %v", got)
	}
	r.seg.Sweep(0)
	if _, ok := r.seg.FDB().Lookup(farMAC); ok {
		t.Error("an entry behind nobody outlives the sweep")
	}
	r.flood(alpha)
	if got := r.seg.Remotes()[0].VTEP(); got != alpha {
		t.Errorf("the place was not used again: %v", got)
	}
	// beta has a claim left: an entry of control.
	r.change(func(c *Change) error { c.DelFlood(beta); return nil })
	if out := r.fromTunnel(from(beta.Addr, inbound(recipe{src: otherMAC}))); len(out) != 1 {
		t.Errorf("beta: %v", r.dropped())
	}
	r.change(func(c *Change) error { c.DelMAC(packet.MAC{2, 9}); return nil })
	if out := r.fromTunnel(from(beta.Addr, inbound(recipe{src: otherMAC}))); len(out) != 0 {
		t.Error("beta has no claim left and is heard")
	}
	if _, ok := r.seg.FDB().Lookup(otherMAC); ok {
		t.Error("beta's entry is there")
	}
}

// What lets a VTEP send to us is counted: the last claim decides.
func TestClaims(t *testing.T) {
	heard := func(r *rig) bool { return len(r.fromTunnel(from(alpha.Addr, inbound(recipe{})))) == 1 }
	m1, m2 := packet.MAC{2, 1}, packet.MAC{2, 2}
	put := func(m packet.MAC, s fdb.State, to ...VTEP) func(*Change) error {
		return func(c *Change) error { return c.PutMAC(m, s, fdb.Operator, 0, to...) }
	}
	del := func(m packet.MAC) func(*Change) error { return func(c *Change) error { c.DelMAC(m); return nil } }
	bad := VTEP{netip.MustParseAddr("192.0.2.66"), 4789, 42}
	type step struct {
		f     func(*Change) error
		fails bool
		heard bool
	}
	for name, steps := range map[string][]step{
		"two entries":           {{put(m1, fdb.Static, alpha), false, true}, {put(m2, fdb.Permanent, alpha), false, true}, {del(m1), false, true}, {del(m2), false, false}},
		"put twice":             {{put(m1, fdb.Static, alpha), false, true}, {put(m1, fdb.Static, alpha), false, true}, {del(m1), false, false}},
		"moved away":            {{put(m1, fdb.Static, alpha), false, true}, {put(m1, fdb.Static, beta), false, false}},
		"made dynamic":          {{put(m1, fdb.Static, alpha), false, true}, {put(m1, fdb.Dynamic, alpha), false, false}},
		"multicast":             {{put(groupMAC, fdb.Permanent, alpha, beta), false, true}, {del(groupMAC), false, false}},
		"multicast, duplicates": {{put(groupMAC, fdb.Permanent, alpha, alpha), false, true}, {del(groupMAC), false, false}},
		"multicast, replaced":   {{put(groupMAC, fdb.Permanent, alpha), false, true}, {put(groupMAC, fdb.Permanent, beta), false, false}},
		"a dynamic multicast entry takes no claim but its own": {
			{put(m1, fdb.Static, alpha), false, true}, {put(groupMAC, fdb.Dynamic, alpha), false, true},
			{del(groupMAC), false, true}, {del(m1), false, false}},
		"refused: two for a unicast MAC": {{put(m1, fdb.Static, alpha, beta), true, false}, {put(m1, fdb.Static), true, false}},
		"refused: no path to one":        {{put(groupMAC, fdb.Permanent, alpha, bad), true, false}},
		"refused: no path, others stay":  {{put(m1, fdb.Static, alpha), false, true}, {put(groupMAC, fdb.Permanent, alpha, bad), true, true}, {del(m1), false, false}},
		"refused: no path to flood to":   {{func(c *Change) error { return c.AddFlood(bad) }, true, false}},
		"flood and entry": {
			{func(c *Change) error { return c.AddFlood(alpha) }, false, true}, {put(m1, fdb.Static, alpha), false, true},
			{func(c *Change) error { c.DelFlood(alpha); return nil }, false, true}, {del(m1), false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, offload.Caps{})
			for i, s := range steps {
				if err := r.seg.Change(s.f); (err != nil) != s.fails {
					t.Fatalf("step %d: %v", i, err)
				}
				if got := heard(r); got != s.heard {
					t.Errorf("step %d: heard %v, want %v", i, got, s.heard)
				}
			}
		})
	}
}

// VTEPs that an accept list lets in are learned, and forgotten with their last
// entry.
func TestLearnedRemotes(t *testing.T) {
	r := newRig(t, offload.Caps{}, func(o *Options) { o.AcceptAny = true })
	r.fromTunnel(from(strange, inbound(recipe{})))
	if rs := r.seg.Remotes(); len(rs) != 1 || rs[0].VTEP() != (VTEP{strange, 4789, 42}) || rs[0].Known() ||
		rs[0].Counters().Rx.Frames != 1 {
		t.Fatalf("%+v", rs)
	}
	if got := to(r.fromDevice(wire(recipe{}.bytes()))); !slices.Equal(got, words(VTEP{strange, 4789, 42})) {
		t.Errorf("answered to %v", got)
	}
	if got := to(r.fromDevice(wire(recipe{dst: otherMAC}.bytes()))); len(got) != 0 {
		t.Errorf("flooded to %v", got)
	}
	r.seg.Sweep(1)
	if len(r.seg.Remotes()) != 1 {
		t.Error("forgotten while it has an entry")
	}
	r.change(func(c *Change) error { c.DelMAC(farMAC); return nil })
	r.seg.Sweep(2)
	if len(r.seg.Remotes()) != 0 {
		t.Error("not forgotten")
	}
	// It becomes known, and stays.
	r.fromTunnel(from(strange, inbound(recipe{})))
	r.flood(VTEP{strange, 4789, 42})
	r.change(func(c *Change) error { c.DelMAC(farMAC); return nil })
	r.seg.Sweep(3)
	if rs := r.seg.Remotes(); len(rs) != 1 || !rs[0].Known() {
		t.Errorf("%v", rs)
	}
	// The list gets narrower.
	r.fromTunnel(from(alpha.Addr, inbound(recipe{src: otherMAC})))
	r.options(func(o *Options) { o.AcceptAny = false })
	if rs := r.seg.Remotes(); len(rs) != 1 || r.seg.FDB().Len() != 0 {
		t.Errorf("%d remotes, %d entries", len(rs), r.seg.FDB().Len())
	}
	// An operator's dynamic entry holds its remote.
	r.change(func(c *Change) error { return c.PutMAC(otherMAC, fdb.Dynamic, fdb.Operator, 0, beta) })
	r.seg.Sweep(4)
	if got := to(r.fromDevice(wire(recipe{dst: otherMAC}.bytes()))); !slices.Equal(got, words(beta)) {
		t.Errorf("sent to %v", got)
	}
}

func TestTooManyRemotes(t *testing.T) {
	r := newRig(t, offload.Caps{}, func(o *Options) { o.AcceptAny = true; o.FDB.Max = 100_000 })
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }
	mac := func(i int) packet.MAC { return packet.MACFrom(0x0299_0000_0000 | uint64(i)) }
	frame := inbound(recipe{})
	for i := range maxLearnedRemotes + 2 {
		m := mac(i + 1)
		copy(frame[6:], m[:])
		r.fromTunnel(from(addr(i), frame))
	}
	if n := len(r.seg.Remotes()); n != maxLearnedRemotes {
		t.Errorf("%d remotes, want %d", n, maxLearnedRemotes)
	}
	if e := r.events(); e["remotes_full"] != 2 || r.seg.Counters().Rx.Frames != maxLearnedRemotes+2 || r.dropped() != nil {
		t.Errorf("%v, %v", e, r.dropped())
	}
	for i := range maxLearnedRemotes {
		if x := r.seg.sources.Load().lookup(addr(i)); x == nil || x.VTEP().Addr != addr(i) {
			t.Fatalf("remote %d is not found", i)
		}
	}
	// Not even then a static entry is contradicted.
	r.static(packet.MAC{2, 7}, alpha)
	copy(frame[6:], []byte{2, 7, 0, 0, 0, 0})
	r.fromTunnel(from(addr(60000), frame))
	if got := r.dropped(); !slices.Equal(got, []string{"rx entry_exists 1"}) {
		t.Errorf("%v", got)
	}
	err := r.seg.Change(func(c *Change) error {
		for i := range maxRemotes {
			if err := c.AddFlood(VTEP{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 4789, 42}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil || len(r.seg.Remotes()) != maxRemotes {
		t.Errorf("%d remotes, %v", len(r.seg.Remotes()), err)
	}
}

// train is a train of datagrams, as UDP_GRO gives it.
func train(src netip.Addr, frames ...[]byte) Datagram {
	d := Datagram{Src: netip.AddrPortFrom(src, 5), IfIndex: 3}
	for _, f := range frames {
		d.Payload = append(d.Payload, from(src, f).Payload...)
	}
	d.SegSize = len(frames[0]) + encap.HeaderLen
	return d
}

func TestTrains(t *testing.T) {
	for name, caps := range map[string]offload.Caps{"plain": {}, "vnet": {VNetHdr: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, caps)
			r.flood(alpha)
			var frames [][]byte
			for i := range 20 {
				frames = append(frames, inbound(recipe{size: 1000, seq: uint32(i) * 1000}))
			}
			frames = append(frames, inbound(recipe{size: 33, seq: 20000}))
			out := r.fromTunnel(train(alpha.Addr, frames...))
			if len(out) != len(frames) {
				t.Fatalf("%d frames of %d", len(out), len(frames))
			}
			for i := range out {
				if !bytes.Equal(out[i].bytes, frames[i]) {
					t.Errorf("frame %d is another", i)
				}
			}
			if c := r.seg.Counters().Rx; c != (Traffic{21, uint64(20*len(frames[0]) + len(frames[20]))}) {
				t.Errorf("counted %+v", c)
			}
		})
	}
	t.Run("each datagram by itself", func(t *testing.T) {
		r := newRig(t, offload.Caps{})
		r.flood(alpha)
		d := train(alpha.Addr, inbound(recipe{size: 50}), inbound(recipe{size: 50, src: devMAC}), inbound(recipe{size: 50, tags: []uint16{1}})[:104],
			inbound(recipe{size: 50}), inbound(recipe{size: 50})[:5])
		d.Payload[3*d.SegSize] = 0                                              // I flag
		d.Payload = append(d.Payload[:4*d.SegSize], d.Payload[4*d.SegSize:]...) // the last is short
		if out := r.fromTunnel(d); len(out) != 1 {
			t.Errorf("%d frames", len(out))
		}
		want := []string{"unowned invalid_header 1", "rx truncated 1", "rx local_mac 1", "rx inner_vlan 1"}
		if got := r.dropped(); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
			t.Errorf("drops %v", got)
		}
	})
	t.Run("joined again for a device that takes it", func(t *testing.T) {
		r := newRig(t, vnet)
		r.flood(alpha)
		var frames [][]byte
		for i := range 20 {
			frames = append(frames, inbound(recipe{size: 1000, seq: uint32(i) * 1000, id: uint16(i)}))
		}
		big := inbound(recipe{size: 20000})
		out := r.fromTunnel(train(alpha.Addr, frames...))
		if len(out) != 1 || out[0].gso.Type != offload.TCPv4 || out[0].gso.Size != 1000 || len(out[0].bytes) != len(big) {
			t.Fatalf("%d frames: %+v", len(out), out[0].gso)
		}
		if c := r.seg.Counters().Rx; c != (Traffic{20, uint64(20 * len(frames[0]))}) {
			t.Errorf("counted %+v", c)
		}
		// The device refuses it: it is cut again.
		r.port.refuse = func(g offload.GSO) error {
			if g.Type != offload.None {
				return syscall.EINVAL
			}
			return nil
		}
		out = r.fromTunnel(train(alpha.Addr, frames...))
		if len(out) != 20 || r.events()["offload_refused"] != 1 || r.seg.Counters().Rx.Frames != 40 {
			t.Fatalf("%d frames, %v, %v", len(out), r.events(), r.dropped())
		}
		for i, o := range out {
			if !goodChecksums(o.bytes) || !bytes.Equal(o.bytes[54:], frames[i][54:]) {
				t.Errorf("frame %d is another", i)
			}
		}
		// It has no room: all it holds are lost.
		r.port.refuse = func(g offload.GSO) error { return syscall.EAGAIN }
		r.fromTunnel(train(alpha.Addr, frames...))
		if got := r.dropped(); !slices.Equal(got, []string{"rx write_failed 20"}) {
			t.Errorf("%v", got)
		}
	})
	t.Run("who may not send is not joined either", func(t *testing.T) {
		r := newRig(t, vnet)
		r.flood(alpha)
		next := func(i int) []byte { return inbound(recipe{size: 500, seq: uint32(i) * 500, df: true}) }
		a, b, c := train(alpha.Addr, next(0), next(1)), train(strange, next(2), next(3)), train(alpha.Addr, next(4), next(5), next(6))
		c.Payload[c.SegSize+6] = 9 // another VNI
		out := r.fromTunnel(a, b, c)
		if len(out) != 3 || len(out[0].bytes) != 54+1000 || !bytes.Equal(out[1].bytes, next(4)) || !bytes.Equal(out[2].bytes, next(6)) {
			t.Errorf("%d frames written", len(out))
		}
		if got := r.dropped(); !slices.Equal(got, []string{"unowned vni_not_found 1", "rx source_not_accepted 2"}) {
			t.Errorf("drops %v", got)
		}
		if c := r.seg.Remotes()[0].Counters().Rx; c != (Traffic{4, 4 * 554}) {
			t.Errorf("counted %+v", c)
		}
	})
	t.Run("bad ones are not joined", func(t *testing.T) {
		r := newRig(t, vnet)
		r.flood(alpha)
		var frames [][]byte
		for i := range 6 {
			frames = append(frames, inbound(recipe{size: 500, seq: uint32(i) * 500, id: uint16(i), badCsum: i == 3}))
		}
		out := r.fromTunnel(train(alpha.Addr, frames...))
		if len(out) != 3 || !bytes.Equal(out[1].bytes, frames[3]) || out[1].gso != (offload.GSO{}) {
			t.Errorf("%d frames written, the bad one changed or joined", len(out))
		}
	})
}

// A kernel peer sends a super-frame whole when nothing on the way cuts it.
func TestTunnelSuperFrames(t *testing.T) {
	for name, c := range map[string]recipe{
		"TCP over IPv4": {size: 60000, id: 77}, "TCP over IPv6": {size: 50000, v6: true}, "TCP with a PSH": {size: 9000, flags: 8},
		"UDP over IPv4": {size: 12000, udp: true}, "UDP over IPv6": {size: 12000, udp: true, v6: true},
	} {
		t.Run(name, func(t *testing.T) {
			c.partial = true
			big := inbound(c)
			d := from(alpha.Addr, big)
			p := parse(big)
			mss := 1450 - (p.L4 - p.L3) - 20
			if c.udp {
				mss = 1200
			}
			d.SegSize = mss
			if name == "TCP with a PSH" {
				d.SegSize = 0 // without a word about it
			}

			r := newRig(t, offload.Caps{})
			r.flood(alpha)
			in := d
			in.Payload = bytes.Clone(d.Payload)
			var frames [][]byte
			for _, o := range r.fromTunnel(in) {
				frames = append(frames, o.bytes)
				if len(o.bytes) > 1450+14 {
					t.Errorf("%d bytes for a device of MTU 1450", len(o.bytes))
				}
			}
			wantWireFrames(t, big, mss, frames)
			var n uint64
			for _, f := range frames {
				n += uint64(len(f))
			}
			want := Traffic{uint64(len(frames)), n}
			if got := r.seg.Counters().Rx; got != want || !maps.Equal(r.events(), map[string]uint64{"superframe_split": 1}) {
				t.Errorf("counted %+v, want %+v, %v", got, want, r.events())
			}
			if got := r.seg.Remotes()[0].Counters().Rx; got != want {
				t.Errorf("the remote counted %+v, want %+v", got, want)
			}

			// As it is to a device that takes it.
			r = newRig(t, vnet)
			r.flood(alpha)
			out := r.fromTunnel(d)
			if len(out) != 1 || !bytes.Equal(out[0].bytes, big) || out[0].gso.Size != uint16(mss) || !out[0].gso.NeedsCsum {
				t.Fatalf("%d frames written, %+v", len(out), out[0].gso)
			}
			if got := r.seg.Counters().Rx; got != want || len(r.events()) != 0 {
				t.Errorf("vnet counted %+v, want %+v, %v", got, want, r.events())
			}
			// And cut when it refuses this one.
			r.port.refuse = func(g offload.GSO) error {
				if g.Type != offload.None {
					return syscall.EIO
				}
				return nil
			}
			frames = nil
			for _, o := range r.fromTunnel(from(alpha.Addr, big), from(alpha.Addr, inbound(recipe{size: 10}))) {
				frames = append(frames, o.bytes)
			}
			if c.udp { // without its size it is one large datagram
				return
			}
			wantWireFrames(t, big, mss, frames[:len(frames)-1])
			if !slices.Equal(r.dropped(), nil) {
				t.Errorf("%v", r.dropped())
			}
		})
	}
}

func TestPartialChecksum(t *testing.T) {
	for name, c := range map[string]recipe{"TCP": {size: 301}, "TCP6": {size: 300, v6: true}, "UDP": {size: 1, udp: true}, "UDP6": {udp: true, v6: true}} {
		t.Run(name, func(t *testing.T) {
			good := inbound(c)
			c.partial = true
			partial := inbound(c)
			r := newRig(t, offload.Caps{})
			r.flood(alpha)
			out := r.fromTunnel(from(alpha.Addr, partial))
			if len(out) != 1 || !bytes.Equal(out[0].bytes, good) || r.events()["checksum_completed"] != 1 {
				t.Errorf("not completed: %v", r.events())
			}
			r = newRig(t, offload.Caps{VNetHdr: true})
			r.flood(alpha)
			out = r.fromTunnel(from(alpha.Addr, partial))
			p := parse(partial)
			if len(out) != 1 || !bytes.Equal(out[0].bytes, partial) || !out[0].gso.NeedsCsum || int(out[0].gso.CsumStart) != p.L4 {
				t.Errorf("not handed on: %+v", out[0].gso)
			}
			c.partial, c.badCsum = false, true
			if c.size == 0 {
				c.size = 1
			}
			bad := inbound(c)
			for _, caps := range []offload.Caps{{}, vnet} {
				r := newRig(t, caps)
				r.flood(alpha)
				out := r.fromTunnel(from(alpha.Addr, bad), from(alpha.Addr, bad))
				for _, o := range out {
					if !bytes.Equal(o.bytes, bad) || o.gso != (offload.GSO{}) {
						t.Error("a bad checksum was touched")
					}
				}
				if len(out) != 2 {
					t.Errorf("%d written", len(out))
				}
			}
		})
	}
}

// Segments share a socket and, with devices of one kind, a coalescer.
func TestTwoSegments(t *testing.T) {
	r := newRig(t, vnet)
	r.flood(alpha)
	other := NewSegment(43, "vx43", 1, defaults(), memDialer{})
	if err := other.Change(func(c *Change) error { return c.AddFlood(VTEP{alpha.Addr, 4789, 43}) }); err != nil {
		t.Fatal(err)
	}
	port := &memPort{caps: vnet}
	r.serve(&Set{
		Devices:   []Device{{r.seg, []Port{r.port}}, {other, []Port{port}}},
		Listeners: []Listener{{[]Receiver{r.recv}, map[uint32]*Segment{42: r.seg, 43: other}}, {[]Receiver{nil}, nil}},
	})
	var ds []Datagram
	for i := range 30 {
		frame := inbound(recipe{size: 100, seq: uint32(i) * 100, id: uint16(i)})
		ds = append(ds, fromVNI(alpha.Addr, 42+uint32(i/3%2), frame))
	}
	r.fromTunnel(ds...)
	if a, b := r.seg.Counters().Rx.Frames, other.Counters().Rx.Frames; a != 15 || b != 15 {
		t.Errorf("%d and %d frames", a, b)
	}
	if len(r.port.out) != 5 || len(port.out) != 5 {
		t.Errorf("%d and %d writes, want 5 and 5 of three", len(r.port.out), len(port.out))
	}
	if a, _ := r.seg.FDB().Lookup(farMAC); r.seg.RemoteAt(a).VTEP().VNI != 42 {
		t.Error("learned behind the other's remote")
	}
}

func TestSetDialer(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha)
	if err := r.seg.SetDialer(memDialer{bad: alpha.Addr}); err == nil {
		t.Error("a dialer without a path to a remote was taken")
	}
	// The sockets of the old path may be closed from here on.
	if got := r.fromDevice(wire(recipe{}.bytes())); len(got) != 0 || r.seg.Remotes()[0].Counters().Errors["eaddrnotavail"] != 1 {
		t.Errorf("sent to %v by a path that is gone", to(got))
	}
	if err := r.seg.SetDialer(portDialer{}); err != nil {
		t.Fatal(err)
	}
	if got := to(r.fromDevice(wire(recipe{}.bytes()))); !slices.Equal(got, words(VTEP{alpha.Addr, 1, 42})) {
		t.Errorf("sent to %v", got)
	}
}

// portDialer leads to port 1 whatever is asked for.
type portDialer struct{}

func (portDialer) Path(remote netip.AddrPort, vni uint32) (Path, error) {
	return memPath{netip.AddrPortFrom(remote.Addr(), 1), encap.MakeHeader(vni)}, nil
}

func TestToLocalAllocatesNothing(t *testing.T) {
	specs := map[string]struct {
		frame []byte
		caps  offload.Caps
		tos   uint8
		src   netip.Addr
	}{
		"refresh":           {inbound(recipe{size: 1400}), offload.Caps{}, 0, alpha.Addr},
		"refresh, vnet":     {inbound(recipe{size: 1400, v6: true}), vnet, 0, alpha.Addr},
		"from IPv6":         {inbound(recipe{size: 1400, udp: true}), vnet, 0, gamma.Addr},
		"unfinished":        {inbound(recipe{size: 1400, partial: true}), offload.Caps{}, 0, alpha.Addr},
		"marked":            {inbound(recipe{size: 1400, tos: 2}), offload.Caps{}, 3, alpha.Addr},
		"not accepted":      {inbound(recipe{size: 1400}), offload.Caps{}, 0, strange},
		"a static conflict": {inbound(recipe{src: otherMAC}), offload.Caps{}, 0, alpha.Addr},
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spec.caps)
			r.flood(alpha, gamma)
			r.static(otherMAC, gamma)
			d := from(spec.src, spec.frame)
			d.TOS = spec.tos
			r.recv.in, r.recv.loop, r.port.loop = []Datagram{d}, 32, 1
			r.w.toLocal(r.v, r.s)
			if n := testing.AllocsPerRun(100, func() { r.w.toLocal(r.v, r.s) }); n != 0 {
				t.Errorf("%v allocations a burst", n)
			}
		})
	}
}
