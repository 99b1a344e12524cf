package vtep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep/fdb"
)

// vnet is a device that takes and gives all there is.
var vnet = offload.Caps{VNetHdr: true, TSO: true, USO: true}

// learned places mac behind v as a frame from there does.
func (r *rig) learned(mac packet.MAC, v VTEP) {
	r.Helper()
	d := from(v.Addr, recipe{src: mac, dst: hostMAC}.bytes())
	if out := r.fromTunnel(d); len(out) != 1 {
		r.Fatalf("a frame from %v: %v", v.Addr, r.dropped())
	}
}

func TestFromLocal(t *testing.T) {
	plain := recipe{size: 100}.bytes()
	specs := []struct {
		name  string
		opts  func(*Options)
		setup func(*rig)
		frame given
		want  []VTEP
		drops []string
	}{
		{"unicast to learned",
			nil, func(r *rig) { r.flood(alpha, beta); r.learned(farMAC, beta) },
			wire(plain), []VTEP{beta}, nil},
		{"unicast to static",
			nil, func(r *rig) { r.flood(alpha, beta); r.static(farMAC, gamma) },
			wire(plain), []VTEP{gamma}, nil},
		{"unicast to static of another VNI",
			nil, func(r *rig) { r.flood(alpha); r.static(farMAC, delta) },
			wire(plain), []VTEP{delta}, nil},
		{"unknown unicast is flooded",
			nil, func(r *rig) { r.flood(alpha, beta, gamma); r.learned(otherMAC, beta) },
			wire(plain), []VTEP{alpha, beta, gamma}, nil},
		{"broadcast is flooded",
			nil, func(r *rig) { r.flood(alpha, beta) },
			wire(recipe{dst: allMAC}.bytes()), []VTEP{alpha, beta}, nil},
		{"multicast is flooded",
			nil, func(r *rig) { r.flood(alpha, beta) },
			wire(recipe{dst: groupMAC}.bytes()), []VTEP{alpha, beta}, nil},
		{"flood to remotes of different VNIs",
			nil, func(r *rig) { r.flood(alpha, delta, beta) },
			wire(plain), []VTEP{alpha, beta, delta}, nil},
		{"our own address is not flooded to",
			nil, func(r *rig) { r.flood(self, alpha) },
			wire(plain), []VTEP{alpha}, nil},
		{"a remote named twice gets one copy",
			nil, func(r *rig) { r.flood(alpha, alpha); r.flood(alpha) },
			wire(plain), []VTEP{alpha}, nil},
		{"one address with two ports is two remotes",
			nil, func(r *rig) { r.flood(alpha, VTEP{alpha.Addr, 1, 42}) },
			wire(plain), []VTEP{alpha, {alpha.Addr, 1, 42}}, nil},
		{"a remote off the flood list gets nothing",
			nil, func(r *rig) {
				r.flood(alpha, beta)
				r.change(func(c *Change) error { c.DelFlood(alpha); c.DelFlood(gamma); return nil })
			},
			wire(plain), []VTEP{beta}, nil},
		{"a static entry alone is not flooded to",
			nil, func(r *rig) { r.flood(alpha); r.static(otherMAC, beta) },
			wire(plain), []VTEP{alpha}, nil},
		{"group",
			nil, func(r *rig) { r.flood(group) },
			wire(plain), []VTEP{group}, nil},
		{"group, learned behind it",
			nil, func(r *rig) { r.flood(group, beta); r.learned(farMAC, beta) },
			wire(plain), []VTEP{beta}, nil},
		{"a multicast entry goes where it says",
			nil, func(r *rig) { r.flood(alpha, beta); r.static(groupMAC, beta, gamma) },
			wire(recipe{dst: groupMAC}.bytes()), []VTEP{beta, gamma}, nil},
		{"a multicast entry, duplicates once",
			nil, func(r *rig) { r.static(groupMAC, beta, gamma, beta) },
			wire(recipe{dst: groupMAC}.bytes()), []VTEP{beta, gamma}, nil},
		{"a multicast entry replaced",
			nil, func(r *rig) { r.static(groupMAC, beta, gamma); r.static(groupMAC, alpha) },
			wire(recipe{dst: groupMAC}.bytes()), []VTEP{alpha}, nil},
		{"a multicast entry that is gone",
			nil, func(r *rig) {
				r.flood(alpha)
				r.static(groupMAC, beta, gamma)
				r.change(func(c *Change) error { c.DelMAC(groupMAC); return nil })
			},
			wire(recipe{dst: groupMAC}.bytes()), []VTEP{alpha}, nil},
		{"a multicast entry does not flood to us",
			nil, func(r *rig) { r.static(groupMAC, self, gamma) },
			wire(recipe{dst: groupMAC}.bytes()), []VTEP{gamma}, nil},
		{"a multicast entry with nobody but us",
			nil, func(r *rig) { r.static(groupMAC, self) },
			wire(recipe{dst: groupMAC}.bytes()), nil, []string{"tx no_remote 1"}},
		{"a multicast entry is not for broadcast",
			nil, func(r *rig) { r.flood(alpha); r.static(groupMAC, beta) },
			wire(recipe{dst: allMAC}.bytes()), []VTEP{alpha}, nil},

		{"nobody to flood to", nil, nil, wire(plain), nil, []string{"tx no_remote 1"}},
		{"nobody but us", nil, func(r *rig) { r.flood(self) }, wire(plain), nil, []string{"tx no_remote 1"}},
		{"nobody, a super-frame", nil, nil, super(recipe{size: 3000}, 1000), nil, []string{"tx no_remote 3"}},
		{"truncated", nil, func(r *rig) { r.flood(alpha) }, wire(plain[:13]), nil, []string{"tx truncated 1"}},
		{"19 bytes of IPv4", nil, func(r *rig) { r.flood(alpha) }, wire(plain[:14+19]), nil, []string{"tx truncated 1"}},
		{"20 bytes of IPv4", nil, func(r *rig) { r.flood(alpha) }, wire(plain[:14+20]), []VTEP{alpha}, nil},
		{"an Ethernet header alone", nil, func(r *rig) { r.flood(alpha) }, wire(append(plain[:12:12], 0x88, 0xb5)), []VTEP{alpha}, nil},
		{"VLAN", nil, func(r *rig) { r.flood(alpha) }, wire(recipe{tags: []uint16{5}}.bytes()), nil, []string{"tx inner_vlan 1"}},
		{"VLAN, a super-frame", nil, func(r *rig) { r.flood(alpha) }, super(recipe{size: 3000, tags: []uint16{5}}, 1000), nil,
			[]string{"tx inner_vlan 3"}},
		{"VLAN passed", func(o *Options) { o.PassVLAN = true }, func(r *rig) { r.flood(alpha) },
			wire(recipe{tags: []uint16{5, 6}}.bytes()), []VTEP{alpha}, nil},
		{"the largest frame that fits", nil, func(r *rig) { r.flood(alpha) }, wire(recipe{size: 1410}.bytes()), []VTEP{alpha}, nil},
		{"oversize", nil, func(r *rig) { r.flood(alpha) }, wire(recipe{size: 1411}.bytes()), nil, []string{"tx oversize 1"}},
		{"oversize for one of two, IPv6 costs more", nil, func(r *rig) { r.flood(alpha, gamma) },
			wire(recipe{size: 1410}.bytes()), []VTEP{alpha}, []string{"tx oversize 1"}},
		{"oversize, a super-frame", nil, func(r *rig) { r.flood(alpha) }, super(recipe{size: 3000}, 1411), nil,
			[]string{"tx oversize 3"}},
		{"oversize to two, a super-frame", nil, func(r *rig) { r.flood(alpha, beta) }, super(recipe{size: 3000}, 1411), nil,
			[]string{"tx oversize 6"}},
		{"tags count too", func(o *Options) { o.PassVLAN = true }, func(r *rig) { r.flood(alpha) },
			wire(recipe{size: 1410, tags: []uint16{5}}.bytes()), nil, []string{"tx oversize 1"}},
		{"send failed", nil, func(r *rig) {
			r.flood(alpha, beta)
			r.send.refuse = func(tr *Train) syscall.Errno {
				if tr.Path.Remote().Addr() == beta.Addr {
					return syscall.ENOBUFS
				}
				return 0
			}
		}, super(recipe{size: 3000}, 1000), []VTEP{alpha, beta}, []string{"tx send_failed 3"}},
		{"a type that contradicts the frame", nil, func(r *rig) { r.flood(alpha) },
			given{plain, offload.GSO{Type: offload.TCPv6, Size: 10}}, nil, []string{"tx malformed 1"}},
		{"a size of 0", nil, func(r *rig) { r.flood(alpha) },
			given{plain, offload.GSO{Type: offload.TCPv4}}, nil, []string{"tx malformed 1"}},
		{"a checksum outside of the frame", nil, func(r *rig) { r.flood(alpha) },
			given{plain, offload.GSO{NeedsCsum: true, CsumStart: 160, CsumOffset: 16}}, nil, []string{"tx malformed 1"}},
		{"a checksum in the Ethernet header", nil, func(r *rig) { r.flood(alpha) },
			given{plain, offload.GSO{NeedsCsum: true, CsumStart: 2, CsumOffset: 2}}, nil, []string{"tx malformed 1"}},
		{"a super-frame with a bad checksum", nil, func(r *rig) { r.flood(alpha) },
			given{recipe{size: 3000, badCsum: true}.bytes(), offload.GSO{Type: offload.TCPv4, Size: 1000}}, nil,
			[]string{"tx bad_checksum 3"}},
	}
	seen := map[string]bool{}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			r := newRig(t, offload.Caps{})
			if spec.opts != nil {
				r.options(spec.opts)
			}
			if spec.setup != nil {
				spec.setup(r)
			}
			rx := r.seg.Counters().Rx
			out := r.fromDevice(spec.frame)
			if got, want := to(out), words(spec.want...); !slices.Equal(got, want) {
				t.Errorf("sent to %v, want %v", got, want)
			}
			if got := r.dropped(); !slices.Equal(got, spec.drops) {
				t.Errorf("drops %v, want %v", got, spec.drops)
			}
			var frames, bytesOut int
			for _, s := range out {
				got := s.frames()
				if spec.frame.gso.Type == offload.None {
					if len(got) != 1 || !bytes.Equal(got[0], spec.frame.bytes) {
						t.Errorf("another frame to %v", s.to)
					}
				} else {
					wantWireFrames(t, spec.frame.bytes, int(spec.frame.gso.Size), got)
				}
				if s.errno != 0 {
					continue
				}
				for _, f := range got {
					frames, bytesOut = frames+1, bytesOut+len(f)
				}
			}
			c := r.seg.Counters()
			if want := (Traffic{uint64(frames), uint64(bytesOut)}); c.Tx != want || c.Rx != rx {
				t.Errorf("counted %+v sent, want %+v", c.Tx, want)
			}
			for _, d := range spec.drops {
				for i := range drop.Count {
					seen[i.String()] = seen[i.String()] || bytes.Contains([]byte(d), []byte(i.String()))
				}
			}
		})
	}
	for i := range drop.Count {
		if i.Tx() && !seen[i.String()] && i != drop.Multicast { // see TestRoutedFromLocal
			t.Errorf("nothing is dropped for %v", i)
		}
	}
}

func TestOuterFields(t *testing.T) {
	type outer struct {
		tos, ttl uint8
		df       bool
	}
	specs := []struct {
		name string
		opts func(*Options)
		in   []byte
		want outer
	}{
		{"defaults", nil, recipe{}.bytes(), outer{}},
		{"TOS inherited", nil, recipe{tos: 0xb8}.bytes(), outer{tos: 0xb8}},
		{"traffic class inherited", nil, recipe{v6: true, tos: 0xb8}.bytes(), outer{tos: 0xb8}},
		{"TOS inherited through a tag", func(o *Options) { o.PassVLAN = true }, recipe{tags: []uint16{9}, tos: 0xb8}.bytes(), outer{tos: 0xb8}},
		{"TOS fixed", func(o *Options) { o.TOSInherit, o.TOS = false, 0x28 }, recipe{tos: 0xb8}.bytes(), outer{tos: 0x28}},
		{"TOS fixed, its ECN bits are not its own", func(o *Options) { o.TOSInherit, o.TOS = false, 0x2b }, recipe{tos: 0xb8}.bytes(), outer{tos: 0x28}},
		{"ECN whatever TOS says: ECT(0)", func(o *Options) { o.TOSInherit, o.TOS = false, 0x28 }, recipe{tos: 2}.bytes(), outer{tos: 0x2a}},
		{"ECT(1)", nil, recipe{tos: 1}.bytes(), outer{tos: 1}},
		{"CE", nil, recipe{tos: 0xb8 | 3}.bytes(), outer{tos: 0xb8 | 2}},
		{"CE over IPv6", nil, recipe{v6: true, tos: 3}.bytes(), outer{tos: 2}},
		{"no IP, nothing to inherit", func(o *Options) { o.TTLInherit = true },
			arp(1, hostMAC, allMAC, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")), outer{}},
		{"no IP, fixed", func(o *Options) { o.TOSInherit, o.TOS, o.TTL = false, 0x28, 9 },
			arp(1, hostMAC, allMAC, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")), outer{tos: 0x28, ttl: 9}},
		{"TTL fixed", func(o *Options) { o.TTL = 7 }, recipe{ttl: 33}.bytes(), outer{ttl: 7}},
		{"TTL inherited", func(o *Options) { o.TTLInherit, o.TTL = true, 7 }, recipe{ttl: 33}.bytes(), outer{ttl: 33}},
		{"hop limit inherited", func(o *Options) { o.TTLInherit = true }, recipe{v6: true, ttl: 33}.bytes(), outer{ttl: 33}},
		{"DF set", func(o *Options) { o.DF = DFSet }, recipe{}.bytes(), outer{df: true}},
		{"DF unset", func(o *Options) { o.DF = DFUnset }, recipe{df: true}.bytes(), outer{}},
		{"DF inherited, set", func(o *Options) { o.DF = DFInherit }, recipe{df: true}.bytes(), outer{df: true}},
		{"DF inherited, clear", func(o *Options) { o.DF = DFInherit }, recipe{}.bytes(), outer{}},
		{"DF inherited from IPv6", func(o *Options) { o.DF = DFInherit }, recipe{v6: true}.bytes(), outer{df: true}},
	}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			r := newRig(t, offload.Caps{})
			if spec.opts != nil {
				r.options(spec.opts)
			}
			r.flood(alpha, gamma)
			out := r.fromDevice(wire(spec.in))
			if len(out) != 2 {
				t.Fatalf("%d trains, want 2", len(out))
			}
			for _, s := range out {
				if got := (outer{s.tos, s.ttl, s.df}); got != spec.want {
					t.Errorf("to %v: %+v, want %+v", s.to, got, spec.want)
				}
				if !bytes.Equal(s.frames()[0], spec.in) {
					t.Error("the inner frame has changed")
				}
			}
		})
	}
}

// Where there is no TTL to inherit, one remote gets the host's default, by the
// socket, and so does a group: its 1 is for `ttl auto`.
func TestNothingToInheritToAGroup(t *testing.T) {
	frame := arp(1, hostMAC, allMAC, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
	for _, spec := range []struct {
		name    string
		to      VTEP
		inherit bool
		want    uint8
	}{
		{"a remote", alpha, true, 0},
		{"a group", group, true, 64},
		{"a group, ttl auto", group, false, 0},
	} {
		r := newRig(t, offload.Caps{})
		r.options(func(o *Options) { o.TTLInherit = spec.inherit })
		r.flood(spec.to)
		if out := r.fromDevice(wire(frame)); len(out) != 1 || out[0].ttl != spec.want {
			t.Errorf("%s: %+v, want TTL %d", spec.name, out, spec.want)
		}
	}
}

// The sender is told of how many copies a train is one.
func TestCopies(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha, beta, gamma)
	r.static(groupMAC, alpha, beta)
	r.static(farMAC, beta)
	var got []int
	r.send.refuse = func(tr *Train) syscall.Errno {
		got = append(got, tr.Copies)
		return 0
	}
	for _, dst := range []packet.MAC{allMAC, farMAC, groupMAC, otherMAC} {
		r.fromDevice(wire(recipe{dst: dst}.bytes()))
	}
	if want := []int{3, 3, 3, 0, 2, 2, 3, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("copies %v, want %v", got, want)
	}
}

// The source port is that of the flow, the same for all copies.
func TestEntropy(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha, beta)
	hashes := map[uint16]bool{}
	for port := range uint16(50) {
		out := r.fromDevice(wire(recipe{port: 1000 + port, size: 10}.bytes()), wire(recipe{port: 1000 + port, size: 20}.bytes()))
		for _, s := range out {
			if s.entropy != out[0].entropy {
				t.Errorf("port %d: entropy %d and %d", port, out[0].entropy, s.entropy)
			}
		}
		hashes[out[0].entropy] = true
	}
	if len(hashes) < 45 {
		t.Errorf("%d hashes of 50 flows", len(hashes))
	}
}

func TestSuperFrames(t *testing.T) {
	specs := []struct {
		name string
		in   given
	}{
		{"TCP over IPv4", super(recipe{size: 64000, seq: 0xffff0000, id: 0xfff0, flags: 8}, 1400)},
		{"TCP over IPv6", super(recipe{v6: true, size: 60001}, 1360)},
		{"TCP, one wire frame", super(recipe{size: 900}, 1400)},
		{"TCP, small segments", super(recipe{size: 64000}, 48)},
		{"UDP over IPv4", super(recipe{udp: true, size: 60000}, 1200)},
		{"UDP over IPv6", super(recipe{udp: true, v6: true, size: 60000}, 1232)},
		{"TCP with a tag", super(recipe{size: 60000, tags: []uint16{7}}, 1300)},
		{"TCP with a good checksum", given{recipe{size: 5000}.bytes(), offload.GSO{Type: offload.TCPv4, Size: 1000}}},
		{"a lie about the header", func() given { g := super(recipe{size: 5000}, 1000); g.gso.HdrLen = 9999; return g }()},
	}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			r := newRig(t, vnet, func(o *Options) { o.PassVLAN = true })
			r.flood(alpha, delta, beta) // the second has a header of its own
			out := r.fromDevice(spec.in, spec.in)
			if len(out) != 6 {
				t.Fatalf("%d trains, want 6; %v", len(out), r.dropped())
			}
			var frames, inner int
			for _, s := range out {
				got := s.frames()
				wantWireFrames(t, spec.in.bytes, int(spec.in.gso.Size), got)
				for _, f := range got {
					frames, inner = frames+1, inner+len(f)
				}
			}
			if c := r.seg.Counters(); c.Tx != (Traffic{uint64(frames), uint64(inner)}) {
				t.Errorf("counted %+v, want %d frames, %d bytes", c.Tx, frames, inner)
			}
		})
	}
}

// A burst that is larger than the arenas arrives whole, in order.
func TestLargeBursts(t *testing.T) {
	r := newRig(t, vnet)
	r.flood(alpha, delta)
	var in []given
	for i := range 200 {
		g := super(recipe{size: 64000, seq: uint32(i) << 16}, 1300)
		if i%3 == 0 {
			g = wire(recipe{size: 1200, seq: uint32(i) << 16}.bytes())
		}
		in = append(in, g)
	}
	next := map[string]int{}
	for _, s := range r.fromDevice(in...) {
		i := next[s.to.String()]
		next[s.to.String()]++
		if in[i].gso.Type == offload.None {
			if !bytes.Equal(s.frames()[0], in[i].bytes) {
				t.Fatalf("frame %d to %v is another", i, s.to)
			}
			continue
		}
		wantWireFrames(t, in[i].bytes, 1300, s.frames())
	}
	if len(next) != 2 || next["192.0.2.2:4789"] != 200 || next["192.0.2.5:4789"] != 200 {
		t.Errorf("sent %v", next)
	}
}

// A checksum that the device leaves to us is finished, once for all copies.
func TestUnfinishedChecksum(t *testing.T) {
	for name, c := range map[string]recipe{"TCP": {size: 101}, "UDP": {udp: true, size: 33}, "TCP6": {v6: true, size: 1}, "UDP6": {udp: true, v6: true}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vnet)
			r.flood(alpha, delta, beta)
			g := super(c, 1)
			g.gso.Type, g.gso.Size = offload.None, 0
			out := r.fromDevice(g)
			for _, s := range out {
				if f := s.frames()[0]; !goodChecksums(f) || !bytes.Equal(f, c.bytes()) {
					t.Errorf("to %v: % x, want % x", s.to, f, c.bytes())
				}
			}
			if len(out) != 3 {
				t.Errorf("%d copies", len(out))
			}
		})
	}
	t.Run("a bad one stays bad", func(t *testing.T) {
		r := newRig(t, vnet)
		r.flood(alpha, delta)
		bad := recipe{size: 100, badCsum: true}.bytes()
		for _, s := range r.fromDevice(wire(bad)) {
			if !bytes.Equal(s.frames()[0], bad) {
				t.Error("changed")
			}
		}
	})
}

func TestDeviceErrors(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha)
	gone := errors.New("gone")
	r.port.in, r.port.readErr = []given{wire(recipe{}.bytes()), wire(recipe{}.bytes())}, gone
	n, bulk, err := r.w.fromLocal(r.a)
	if n != 2 || bulk || !errors.Is(err, gone) || len(r.send.out) != 2 {
		t.Errorf("fromLocal = %d, %v, %v, and %d sent; want the two frames and the error", n, bulk, err, len(r.send.out))
	}
	r.port.readErr = nil
	if n, bulk, err := r.w.fromLocal(r.a); n != 0 || bulk || err != nil {
		t.Errorf("nothing to read: %d, %v, %v", n, bulk, err)
	}
	r.port.in = []given{super(recipe{size: 3000}, 1000)}
	if n, bulk, err := r.w.fromLocal(r.a); n != 1 || !bulk || err != nil {
		t.Errorf("a super-frame: %d, %v, %v", n, bulk, err)
	}
	for range 100 {
		r.port.in = append(r.port.in, wire(recipe{}.bytes()))
	}
	if n, _, _ := r.w.fromLocal(r.a); n != burstFrames {
		t.Errorf("took %d frames in one burst, want %d", n, burstFrames)
	}
}

func TestSendErrorsByName(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha)
	want := map[string]uint64{"enobufs": 0, "eperm": 0, "eacces": 0, "enetunreach": 0, "ehostunreach": 0,
		"econnrefused": 0, "emsgsize": 0, "enetdown": 0, "eaddrnotavail": 0, "other": 0}
	remote := r.seg.Remotes()[0]
	if got := remote.Counters().Errors; !maps.Equal(got, want) {
		t.Errorf("errors %v, want zeros", got)
	}
	for errno, name := range map[syscall.Errno]string{syscall.ENOBUFS: "enobufs", syscall.EPERM: "eperm", syscall.EACCES: "eacces",
		syscall.ENETUNREACH: "enetunreach", syscall.EHOSTUNREACH: "ehostunreach", syscall.ECONNREFUSED: "econnrefused",
		syscall.EMSGSIZE: "emsgsize", syscall.ENETDOWN: "enetdown", syscall.EADDRNOTAVAIL: "eaddrnotavail", syscall.EIO: "other"} {
		r.send.refuse = func(*Train) syscall.Errno { return errno }
		r.fromDevice(super(recipe{size: 2000}, 1000))
		want[name] += 2
	}
	c := remote.Counters()
	if !maps.Equal(c.Errors, want) || c.Tx.Frames != 0 {
		t.Errorf("errors %v, want %v", c.Errors, want)
	}
	if got := r.dropped(); !slices.Equal(got, []string{"tx send_failed 20"}) {
		t.Errorf("drops %v", got)
	}
}

// The sender of an oversize frame is told what fits, at most ten in 100 ms.
func TestTooBig(t *testing.T) {
	specs := []struct {
		name string
		in   given
		to   []VTEP
		mtu  int // 0: not told
	}{
		{"IPv4 with DF", wire(recipe{size: 1411, df: true}.bytes()), []VTEP{alpha}, 1450},
		{"IPv4 without DF", wire(recipe{size: 1411}.bytes()), []VTEP{alpha}, 0},
		{"IPv4 with a tag", wire(recipe{size: 1411, df: true, tags: []uint16{3}}.bytes()), []VTEP{alpha}, 1446},
		{"IPv6", wire(recipe{size: 1411, v6: true}.bytes()), []VTEP{alpha}, 1450},
		{"IPv4 over IPv6", wire(recipe{size: 1391, df: true}.bytes()), []VTEP{gamma}, 1430},
		{"IPv6 over IPv6", wire(recipe{size: 1380, v6: true}.bytes()), []VTEP{gamma}, 1430},
		{"a super-frame", super(recipe{size: 9000, df: true}, 1411), []VTEP{alpha}, 1450},
		{"flooded to many, told once", wire(recipe{size: 1411, df: true}.bytes()), []VTEP{alpha, beta, delta}, 1450},
		{"fits one of two, told too", wire(recipe{size: 1410, df: true}.bytes()), []VTEP{alpha, gamma}, 1430},
		{"broadcast", wire(recipe{size: 1411, df: true, dst: allMAC}.bytes()), []VTEP{alpha}, 0},
		{"not IP", wire(append(arp(1, hostMAC, farMAC, local4, alpha.Addr), make([]byte, 2000)...)), []VTEP{alpha}, 0},
	}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			r := newRig(t, offload.Caps{}, func(o *Options) { o.PassVLAN = true })
			r.flood(spec.to...)
			r.fromDevice(spec.in)
			if spec.mtu == 0 {
				if len(r.port.out) != 0 || len(r.events()) != 0 {
					t.Errorf("told: %d frames, %v", len(r.port.out), r.events())
				}
				return
			}
			if len(r.port.out) != 1 || r.events()["too_big_sent"] != 1 || r.seg.Counters().Rx.Frames != 0 {
				t.Fatalf("%d frames written, %v", len(r.port.out), r.events())
			}
			out := r.port.out[0]
			pkt := gopacket.NewPacket(out.bytes, layers.LayerTypeEthernet, gopacket.Default)
			eth := pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
			if out.gso != (offload.GSO{}) || packet.MAC(eth.DstMAC) != hostMAC || packet.MAC(eth.SrcMAC) != farMAC {
				t.Errorf("%v > %v, %+v", eth.SrcMAC, eth.DstMAC, out.gso)
			}
			if l, ok := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
				if l.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || int(l.Seq) != spec.mtu || ones(append(l.Contents, l.Payload...), 0) != 0xffff {
					t.Errorf("%v mtu %d, want %d", l.TypeCode, l.Seq, spec.mtu)
				}
				ip := pkt.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
				if !ip.DstIP.Equal(ip4a) || !ip.SrcIP.Equal(ip4b) {
					t.Errorf("%v > %v", ip.SrcIP, ip.DstIP)
				}
			} else if l, ok := pkt.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
				p := parse(out.bytes)
				if l.TypeCode != layers.CreateICMPv6TypeCode(2, 0) || int(binary.BigEndian.Uint32(l.Payload)) != spec.mtu ||
					ones(out.bytes[p.L4:p.End], uint32(pseudoSum(out.bytes, &p))) != 0xffff {
					t.Errorf("%v, want mtu %d", l.TypeCode, spec.mtu)
				}
			} else {
				t.Errorf("told by %v", pkt)
			}
		})
	}
	t.Run("rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, offload.Caps{})
			r.flood(alpha)
			big := wire(recipe{size: 1411, df: true}.bytes())
			for i := range uint64(3) {
				for range 50 {
					r.fromDevice(big)
				}
				if got := r.events()["too_big_sent"]; got != 10*(i+1) {
					t.Errorf("told %d times in %d ticks", got, i+1)
				}
				time.Sleep(tickLength)
			}
			if got := r.dropped(); !slices.Equal(got, []string{"tx oversize 150"}) {
				t.Errorf("drops %v", got)
			}
		})
	})
	t.Run("the device does not take it", func(t *testing.T) {
		r := newRig(t, offload.Caps{})
		r.flood(alpha)
		r.port.refuse = func(offload.GSO) error { return syscall.ENOBUFS }
		r.fromDevice(wire(recipe{size: 1411, df: true}.bytes()))
		if got := r.dropped(); len(r.events()) != 0 || !slices.Equal(got, []string{"tx oversize 1"}) {
			t.Errorf("%v, %v", r.events(), got)
		}
	})
}

func TestPathMTU(t *testing.T) {
	r := newRig(t, offload.Caps{})
	r.flood(alpha, beta)
	r.seg.SetPathMTUs(func(a netip.Addr) int {
		if a == beta.Addr {
			return 9000
		}
		return 0
	})
	if got := to(r.fromDevice(wire(recipe{size: 8900}.bytes()))); !slices.Equal(got, words(beta)) {
		t.Errorf("sent to %v", got)
	}
	r.seg.SetPathMTUs(func(netip.Addr) int { return 1400 })
	for _, x := range r.seg.Remotes() {
		if x.FrameLimit() != 1400-50+14 {
			t.Errorf("%v: %d", x.VTEP(), x.FrameLimit())
		}
	}
}

func TestSuppress(t *testing.T) {
	known4, unknown4, asker4 := netip.MustParseAddr("10.99.0.2"), netip.MustParseAddr("10.99.0.3"), netip.MustParseAddr("10.99.0.1")
	known6, unknown6, asker6 := netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::3"), netip.MustParseAddr("fd00::1")
	none4 := netip.IPv4Unspecified()
	badND := solicit(hostMAC, asker6, known6)
	badND[len(badND)-1] ^= 1
	specs := []struct {
		name     string
		in       []byte
		answered bool
	}{
		{"ARP for a known neighbour", arp(1, hostMAC, allMAC, asker4, known4), true},
		{"ARP for a known neighbour, unicast", arp(1, hostMAC, farMAC, asker4, known4), true},
		{"ARP for an unknown one", arp(1, hostMAC, allMAC, asker4, unknown4), false},
		{"ARP from the neighbour itself", arp(1, farMAC, allMAC, asker4, known4), false},
		{"ARP announcement", arp(1, hostMAC, allMAC, known4, known4), false},
		{"ARP probe for an unknown one", arp(1, hostMAC, allMAC, none4, unknown4), false},
		{"ARP reply", arp(2, hostMAC, allMAC, asker4, known4), false},
		{"short ARP", arp(1, hostMAC, allMAC, asker4, known4)[:41], false},
		{"ND for a known neighbour", solicit(hostMAC, asker6, known6), true},
		{"ND for an unknown one", solicit(hostMAC, asker6, unknown6), false},
		{"ND from the neighbour itself", solicit(farMAC, asker6, known6), false},
		{"ND with a bad checksum", badND, false},
		{"DAD for an unknown one", solicit(hostMAC, netip.IPv6Unspecified(), unknown6), false},
		{"other IPv6", recipe{v6: true}.bytes(), false},
		{"other IPv4", recipe{}.bytes(), false},
	}
	for _, spec := range specs {
		for _, on := range []bool{true, false} {
			t.Run(spec.name, func(t *testing.T) {
				r := newRig(t, offload.Caps{}, func(o *Options) { o.Suppress = on })
				r.flood(alpha)
				r.change(func(c *Change) error {
					c.PutNeighbour(known4, farMAC)
					c.PutNeighbour(known6, farMAC)
					return nil
				})
				out := r.fromDevice(wire(spec.in))
				c := r.seg.Counters()
				if !spec.answered || !on {
					if len(out) != 1 || len(r.port.out) != 0 || c.Suppressed != 0 {
						t.Fatalf("%d sent, %d written, %d suppressed: want it to go on", len(out), len(r.port.out), c.Suppressed)
					}
					return
				}
				if len(out) != 0 || len(r.port.out) != 1 || c.Suppressed != 1 || c.Rx.Frames != 0 {
					t.Fatalf("%d sent, %d written, %d suppressed: want an answer", len(out), len(r.port.out), c.Suppressed)
				}
				b := r.port.out[0].bytes
				pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
				eth := pkt.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
				if packet.MAC(eth.DstMAC) != hostMAC || packet.MAC(eth.SrcMAC) != farMAC {
					t.Errorf("%v > %v", eth.SrcMAC, eth.DstMAC)
				}
				if l, ok := pkt.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
					if l.Operation != 2 || !bytes.Equal(l.SourceHwAddress, farMAC[:]) || !bytes.Equal(l.SourceProtAddress, known4.AsSlice()) ||
						!bytes.Equal(l.DstHwAddress, hostMAC[:]) || !bytes.Equal(l.DstProtAddress, asker4.AsSlice()) {
						t.Errorf("%+v", l)
					}
				} else if l, ok := pkt.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement); ok {
					p := parse(b)
					if !l.TargetAddress.Equal(known6.AsSlice()) || !l.Solicited() || len(l.Options) != 1 ||
						!bytes.Equal(l.Options[0].Data, farMAC[:]) || ones(b[p.L4:p.End], uint32(pseudoSum(b, &p))) != 0xffff {
						t.Errorf("%+v", l)
					}
				} else {
					t.Errorf("answered by %v", pkt)
				}
			})
		}
	}
	t.Run("forgotten", func(t *testing.T) {
		r := newRig(t, offload.Caps{}, func(o *Options) { o.Suppress = true })
		r.flood(alpha)
		r.change(func(c *Change) error { c.PutNeighbour(known4, farMAC); return nil })
		r.change(func(c *Change) error { c.DelNeighbour(known4); return nil })
		if out := r.fromDevice(wire(arp(1, hostMAC, allMAC, asker4, known4))); len(out) != 1 {
			t.Error("answered")
		}
	})
	t.Run("the device does not take it", func(t *testing.T) {
		r := newRig(t, offload.Caps{}, func(o *Options) { o.Suppress = true })
		r.flood(alpha)
		r.change(func(c *Change) error { c.PutNeighbour(known4, farMAC); return nil })
		r.port.refuse = func(offload.GSO) error { return syscall.ENOBUFS }
		if out := r.fromDevice(wire(arp(1, hostMAC, allMAC, asker4, known4))); len(out) != 1 || r.seg.Counters().Suppressed != 0 {
			t.Error("not sent on")
		}
	})
}

func TestFromLocalAllocatesNothing(t *testing.T) {
	specs := map[string]struct {
		frame given
		setup func(*rig)
	}{
		"unicast known":  {wire(recipe{size: 1400}.bytes()), func(r *rig) { r.flood(alpha); r.learned(farMAC, alpha) }},
		"IPv6":           {wire(recipe{size: 1300, v6: true}.bytes()), func(r *rig) { r.static(farMAC, gamma) }},
		"flood":          {wire(recipe{size: 1300, dst: allMAC}.bytes()), func(r *rig) { r.flood(alpha, beta, delta) }},
		"super-frame":    {super(recipe{size: 60000}, 1400), func(r *rig) { r.flood(alpha) }},
		"no remote":      {wire(recipe{}.bytes()), func(*rig) {}},
		"multicast":      {wire(recipe{dst: groupMAC}.bytes()), func(r *rig) { r.static(groupMAC, alpha, beta) }},
		"too big":        {wire(recipe{size: 2000, df: true}.bytes()), func(r *rig) { r.flood(alpha) }},
		"suppressed ARP": {wire(arp(1, hostMAC, allMAC, local4, alpha.Addr)), func(r *rig) { r.change(func(c *Change) error { c.PutNeighbour(alpha.Addr, farMAC); return nil }) }},
	}
	for name, spec := range specs {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, vnet, func(o *Options) { o.Suppress = true })
			spec.setup(r)
			r.send.discard = true
			r.port.in, r.port.loop = []given{spec.frame}, 32
			if n := testing.AllocsPerRun(100, func() { r.w.fromLocal(r.a) }); n != 0 {
				t.Errorf("%v allocations a burst", n)
			}
		})
	}
}

// The FDB ages by the engine's clock.
func TestAgeing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, offload.Caps{}, func(o *Options) { o.FDB.Ageing = 2 * time.Second })
		r.flood(alpha, beta)
		r.learned(farMAC, beta)
		time.Sleep(1900 * time.Millisecond)
		r.seg.Sweep(r.w.engine.Now())
		if got := to(r.fromDevice(wire(recipe{}.bytes()))); !slices.Equal(got, words(beta)) {
			t.Errorf("before: sent to %v", got)
		}
		r.learned(farMAC, beta) // refreshed
		time.Sleep(1900 * time.Millisecond)
		r.seg.Sweep(r.w.engine.Now())
		if got := to(r.fromDevice(wire(recipe{}.bytes()))); !slices.Equal(got, words(beta)) {
			t.Errorf("refreshed: sent to %v", got)
		}
		time.Sleep(200 * time.Millisecond)
		r.seg.Sweep(r.w.engine.Now())
		if got := to(r.fromDevice(wire(recipe{}.bytes()))); !slices.Equal(got, words(alpha, beta)) {
			t.Errorf("aged: sent to %v", got)
		}
		if s := r.seg.FDB().Stats(); s != (fdb.Stats{Learned: 1, Aged: 1}) {
			t.Errorf("%+v", s)
		}
	})
}
