package vtep

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap/drop"
	"vtepd/encap/offload"
	"vtepd/encap/packet"
)

// newRouted makes a rig of a routed segment. Its memPort hands over and takes
// frames as the port of a TUN device does: with an Ethernet header that it puts
// in front.
func newRouted(tb testing.TB, caps offload.Caps, change ...func(*Options)) *rig {
	tb.Helper()
	return newRigOf(NewRouted, tb, caps, append(change, func(o *Options) { o.Learning = false })...)
}

func (r *rig) prefix(p string, v VTEP, router packet.MAC) {
	r.Helper()
	r.change(func(c *Change) error { return c.PutPrefix(netip.MustParsePrefix(p), v, router) })
}

func (r *rig) noPrefix(p string, v VTEP) (had bool) {
	r.change(func(c *Change) error { had = c.DelPrefix(netip.MustParsePrefix(p), v); return nil })
	return had
}

// bare is a frame as the port of a TUN device hands it over.
func bare(g given) given {
	g.bytes = bytes.Clone(g.bytes)
	packet.PutBareEthernet(g.bytes, g.bytes[packet.EthernetLen])
	return g
}

// addressed is a frame with other Ethernet addresses.
func addressed(b []byte, dst, src packet.MAC) []byte {
	b = bytes.Clone(b)
	copy(b, dst[:])
	copy(b[6:], src[:])
	return b
}

// The packets of a recipe go from 10.99.0.1 to 10.99.0.2, and from fd00::1 to
// fd00::2.
func TestRoutedFromLocal(t *testing.T) {
	v4, v6 := bare(wire(recipe{size: 100}.bytes())), bare(wire(recipe{size: 100, v6: true}.bytes()))
	all4 := func(r *rig) { r.prefix("0.0.0.0/0", alpha, farMAC) }
	edited := func(g given, at int, b ...byte) given {
		g.bytes = bytes.Clone(g.bytes)
		copy(g.bytes[at:], b)
		return g
	}
	specs := []struct {
		name   string
		setup  func(*rig)
		in     given
		want   []VTEP
		router packet.MAC
		drops  []string
	}{
		{"a prefix", func(r *rig) { r.prefix("10.99.0.0/24", alpha, farMAC) }, v4, []VTEP{alpha}, farMAC, nil},
		{"IPv6", func(r *rig) { r.prefix("fd00::/64", gamma, farMAC) }, v6, []VTEP{gamma}, farMAC, nil},
		{"IPv6 by an IPv4 VTEP", func(r *rig) { r.prefix("fd00::/64", alpha, farMAC) }, v6, []VTEP{alpha}, farMAC, nil},
		{"the longest prefix", func(r *rig) {
			all4(r)
			r.prefix("10.99.0.2/32", beta, otherMAC)
			r.prefix("10.99.0.0/16", gamma, farMAC)
		}, v4, []VTEP{beta}, otherMAC, nil},
		{"another VNI", func(r *rig) { r.prefix("10.99.0.0/24", delta, farMAC) }, v4, []VTEP{delta}, farMAC, nil},
		{"another router", func(r *rig) { all4(r); r.prefix("0.0.0.0/0", alpha, otherMAC) }, v4, []VTEP{alpha}, otherMAC, nil},
		{"moved", func(r *rig) { all4(r); r.prefix("0.0.0.0/0", beta, otherMAC); r.noPrefix("0.0.0.0/0", alpha) },
			v4, []VTEP{beta}, otherMAC, nil},
		{"a super-frame", all4, bare(super(recipe{size: 3000}, 1000)), []VTEP{alpha}, farMAC, nil},
		{"a UDP super-frame over IPv6", func(r *rig) { r.prefix("::/0", gamma, farMAC) },
			bare(super(recipe{size: 3000, v6: true, udp: true}, 1000)), []VTEP{gamma}, farMAC, nil},
		{"the largest packet that fits", all4, bare(wire(recipe{size: 1410}.bytes())), []VTEP{alpha}, farMAC, nil},

		{"no prefix", func(r *rig) { r.prefix("10.98.0.0/16", alpha, farMAC); r.prefix("::/0", alpha, farMAC) }, v4, nil, farMAC,
			[]string{"tx no_remote 1"}},
		{"no prefix any more", func(r *rig) { all4(r); r.noPrefix("0.0.0.0/0", alpha) }, v4, nil, farMAC, []string{"tx no_remote 1"}},
		{"no prefix, a super-frame", nil, bare(super(recipe{size: 3000}, 1000)), nil, farMAC, []string{"tx no_remote 3"}},
		{"IPv4 written as IPv6 is no IPv4", all4, edited(v6, 14+24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 99, 0, 2), nil, farMAC,
			[]string{"tx no_remote 1"}},
		{"to a group", all4, edited(v4, 14+16, 224, 0, 0, 22), nil, farMAC, []string{"tx multicast 1"}},
		{"to a group, IPv6", func(r *rig) { r.prefix("::/0", alpha, farMAC) }, edited(v6, 14+24, 0xff, 2), nil, farMAC,
			[]string{"tx multicast 1"}},
		{"oversize", all4, bare(wire(recipe{size: 1411}.bytes())), nil, farMAC, []string{"tx oversize 1"}},
		{"oversize, a super-frame", all4, bare(super(recipe{size: 3000}, 1411)), nil, farMAC, []string{"tx oversize 3"}},
		{"no IP packet", all4, edited(bare(wire(append(v4.bytes[:14:14], 0x15, 0, 0, 20))), 12, 0, 0), nil, farMAC, []string{"tx malformed 1"}},
		{"longer than it is", all4, edited(v4, 14+2, 0xff), nil, farMAC, []string{"tx malformed 1"}},
		{"half an IP header", all4, wire(v4.bytes[:14+10]), nil, farMAC, []string{"tx truncated 1"}},
		{"nothing", all4, wire(nil), nil, farMAC, []string{"tx truncated 1"}},
		{"a type that contradicts the packet", all4, given{v4.bytes, offload.GSO{Type: offload.TCPv6, Size: 10}}, nil, farMAC,
			[]string{"tx malformed 1"}},
	}
	for _, spec := range specs {
		t.Run(spec.name, func(t *testing.T) {
			r := newRouted(t, vnet)
			if spec.setup != nil {
				spec.setup(r)
			}
			out := r.fromDevice(spec.in)
			if got, want := to(out), words(spec.want...); !slices.Equal(got, want) {
				t.Fatalf("sent to %v, want %v", got, want)
			}
			if got := r.dropped(); !slices.Equal(got, spec.drops) {
				t.Errorf("drops %v, want %v", got, spec.drops)
			}
			for _, s := range out {
				want := addressed(spec.in.bytes, spec.router, devMAC)
				if spec.in.gso.Type != offload.None {
					wantWireFrames(t, want, int(spec.in.gso.Size), s.frames())
				} else if got := s.frames(); len(got) != 1 || !bytes.Equal(got[0], want) {
					t.Errorf("sent %x, want %x", got, want)
				}
			}
		})
	}
}

// A super-frame leaves whole with the same Ethernet header.
func TestRoutedWhole(t *testing.T) {
	r := newRouted(t, vnet)
	r.prefix("10.99.0.0/24", alpha, farMAC)
	r.takeWhole(alpha)
	in := bare(super(recipe{size: 30000}, 1000))
	if out := r.fromDevice(in); len(out) != 0 || len(r.send.whole) != 1 {
		t.Fatalf("%d trains, %d whole", len(out), len(r.send.whole))
	}
	if w := r.send.whole[0]; !bytes.Equal(w.payload, addressed(in.bytes, farMAC, devMAC)) || w.l3 != 14 {
		t.Errorf("sent %x", w.payload[:60])
	}
}

// TestRoutedFlows wants several VTEPs of one prefix to share its flows, and
// each flow to stay with one, whatever form its packets come in.
func TestRoutedFlows(t *testing.T) {
	r := newRouted(t, vnet)
	r.prefix("10.99.0.0/24", alpha, farMAC)
	r.prefix("10.99.0.0/24", beta, otherMAC)
	to := map[uint16]netip.AddrPort{}
	count := map[netip.AddrPort]int{}
	for port := range uint16(400) {
		out := r.fromDevice(bare(wire(recipe{size: 5, port: port + 1}.bytes())), bare(super(recipe{size: 3000, port: port + 1}, 1000)))
		if len(out) != 2 || out[0].to != out[1].to || out[0].entropy != out[1].entropy {
			t.Fatalf("flow %d: %+v", port, out)
		}
		mac := map[netip.AddrPort]packet.MAC{{}: {}, netip.AddrPortFrom(alpha.Addr, alpha.Port): farMAC,
			netip.AddrPortFrom(beta.Addr, beta.Port): otherMAC}[out[0].to]
		if got := packet.MAC(out[0].frames()[0]); got != mac {
			t.Fatalf("to %v at %v", mac, got)
		}
		to[port] = out[0].to
		count[out[0].to]++
	}
	for v, n := range count {
		if n < 150 || n > 250 {
			t.Errorf("%d of 400 flows to %v", n, v)
		}
	}
	if !r.noPrefix("10.99.0.0/24", beta) {
		t.Error("beta was not there")
	}
	for port := range to {
		if out := r.fromDevice(bare(wire(recipe{size: 5, port: port + 1}.bytes()))); len(out) != 1 || out[0].to.Addr() != alpha.Addr {
			t.Fatalf("flow %d: %+v", port, out)
		}
	}
}

// What cannot go on is told, in the form in which the device takes it.
func TestRoutedErrors(t *testing.T) {
	for _, c := range []struct {
		name  string
		in    given
		setup func(*rig)
		event string
		icmp  any // layers.ICMPv4TypeCode, layers.ICMPv6TypeCode
	}{
		{"no prefix", bare(wire(recipe{size: 10}.bytes())), nil, "unreachable_sent", layers.CreateICMPv4TypeCode(3, 0)},
		{"no prefix, IPv6", bare(wire(recipe{size: 10, v6: true}.bytes())), nil, "unreachable_sent", layers.CreateICMPv6TypeCode(1, 0)},
		{"too big", bare(wire(recipe{size: 1411, df: true}.bytes())), func(r *rig) { r.prefix("0.0.0.0/0", alpha, farMAC) },
			"too_big_sent", layers.CreateICMPv4TypeCode(3, 4)},
		{"too big, IPv6", bare(super(recipe{size: 9000, v6: true}, 1411)), func(r *rig) { r.prefix("::/0", alpha, farMAC) },
			"too_big_sent", layers.CreateICMPv6TypeCode(2, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouted(t, vnet)
			if c.setup != nil {
				c.setup(r)
			}
			r.fromDevice(c.in)
			if len(r.port.out) != 1 || !maps.Equal(r.events(), map[string]uint64{c.event: 1}) || r.seg.Counters().Rx.Frames != 0 {
				t.Fatalf("%d frames written, %v", len(r.port.out), r.events())
			}
			pkt := gopacket.NewPacket(r.port.out[0].bytes, layers.LayerTypeEthernet, gopacket.Default)
			net := pkt.NetworkLayer().NetworkFlow()
			if from := net.Src().String(); from != ip4b.String() && from != ip6b.String() {
				t.Errorf("from %s", from)
			}
			switch l := pkt.Layers()[2].(type) {
			case *layers.ICMPv4:
				if any(l.TypeCode) != c.icmp {
					t.Errorf("it is %v", l.TypeCode)
				}
			case *layers.ICMPv6:
				if any(l.TypeCode) != c.icmp {
					t.Errorf("it is %v", l.TypeCode)
				}
			default:
				t.Errorf("it is %v", pkt)
			}
		})
	}
	t.Run("rate", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRouted(t, vnet)
			for i := range uint64(3) {
				for range 50 {
					r.fromDevice(bare(wire(recipe{size: 10}.bytes())))
				}
				if got := r.events()["unreachable_sent"]; got != errorsPerTick*(i+1) {
					t.Errorf("told %d times in %d ticks", got, i+1)
				}
				time.Sleep(tickLength)
			}
		})
	})
}

func TestRoutedToLocal(t *testing.T) {
	known := func(r *rig) { r.prefix("10.99.0.0/24", alpha, farMAC) }
	ok := recipe{src: farMAC, dst: devMAC, size: 100}.bytes()
	edited := func(at int, b ...byte) []byte {
		out := bytes.Clone(ok)
		copy(out[at:], b)
		return out
	}
	specs := []struct {
		name  string
		setup func(*rig)
		in    Datagram
		want  []byte // nil: dropped
		drops []string
	}{
		{"IPv4", known, from(alpha.Addr, ok), ok, nil},
		{"IPv6", known, from(alpha.Addr, recipe{src: farMAC, dst: devMAC, v6: true, size: 9}.bytes()),
			recipe{src: farMAC, dst: devMAC, v6: true, size: 9}.bytes(), nil},
		{"any router behind the VTEP", known, from(alpha.Addr, edited(6, otherMAC[:]...)), edited(6, otherMAC[:]...), nil},
		{"padding goes", known, from(alpha.Addr, append(bytes.Clone(ok), 1, 2, 3)), ok, nil},
		{"not to us", known, from(alpha.Addr, edited(0, otherMAC[:]...)), nil, []string{"rx otherhost 1"}},
		{"broadcast", known, from(alpha.Addr, edited(0, allMAC[:]...)), nil, []string{"rx otherhost 1"}},
		{"multicast", known, from(alpha.Addr, edited(0, groupMAC[:]...)), nil, []string{"rx otherhost 1"}},
		{"ARP to us", known, from(alpha.Addr, arp(1, farMAC, devMAC, strange, local4)), nil, []string{"rx unhandled_proto 1"}},
		{"ARP to all", known, from(alpha.Addr, arp(1, farMAC, allMAC, strange, local4)), nil, []string{"rx otherhost 1"}},
		{"a solicitation", known, from(alpha.Addr, solicit(farMAC, gamma.Addr, local6)), nil, []string{"rx otherhost 1"}},
		{"another EtherType", known, from(alpha.Addr, edited(12, 0x88, 0xcc)), nil, []string{"rx unhandled_proto 1"}},
		{"IPv6 by its EtherType only", known, from(alpha.Addr, edited(12, 0x86, 0xdd)), nil, []string{"rx malformed 1"}},
		{"longer than it is", known, from(alpha.Addr, edited(16, 0xff)), nil, []string{"rx malformed 1"}},
		{"half an IP header", known, from(alpha.Addr, ok[:24]), nil, []string{"rx truncated 1"}},
		{"half an Ethernet header", known, from(alpha.Addr, ok[:10]), nil, []string{"rx truncated 1"}},
		{"a tag", known, from(alpha.Addr, recipe{src: farMAC, dst: devMAC, tags: []uint16{4}}.bytes()), nil, []string{"rx inner_vlan 1"}},
		{"from our own MAC", known, from(alpha.Addr, edited(6, devMAC[:]...)), nil, []string{"rx local_mac 1"}},
		{"from a group MAC", known, from(alpha.Addr, edited(6, groupMAC[:]...)), nil, []string{"rx mac_invalid_source 1"}},
		{"from a stranger", known, from(beta.Addr, ok), nil, []string{"rx source_not_accepted 1"}},
		{"from a VTEP with no prefix any more", func(r *rig) { known(r); r.noPrefix("10.99.0.0/24", alpha) }, from(alpha.Addr, ok), nil,
			[]string{"rx source_not_accepted 1"}},
		{"from a VTEP with one prefix less", func(r *rig) { known(r); r.prefix("fd00::/64", alpha, farMAC); r.noPrefix("10.99.0.0/24", alpha) },
			from(alpha.Addr, ok), ok, nil},
		{"from a VTEP named twice and taken back once", func(r *rig) { known(r); known(r); r.noPrefix("10.99.0.0/24", alpha) },
			from(alpha.Addr, ok), nil, []string{"rx source_not_accepted 1"}},
	}
	seen := map[string]bool{}
	for _, spec := range specs {
		for name, caps := range map[string]offload.Caps{"": {}, " (vnet)": vnet} {
			t.Run(spec.name+name, func(t *testing.T) {
				r := newRouted(t, caps)
				spec.setup(r)
				in := spec.in
				in.Payload = bytes.Clone(in.Payload)
				out := r.fromTunnel(in)
				if got := r.dropped(); !slices.Equal(got, spec.drops) {
					t.Errorf("drops %v, want %v", got, spec.drops)
				}
				if spec.want == nil && len(out) != 0 || spec.want != nil && (len(out) != 1 || !bytes.Equal(out[0].bytes, spec.want)) {
					t.Errorf("wrote %v", out)
				}
				if n := r.seg.FDB().Len(); n != 0 {
					t.Errorf("learned %d MACs", n)
				}
				for _, d := range spec.drops {
					seen[strings.Fields(d)[1]] = true
				}
			})
		}
	}
	for _, r := range []drop.Reason{drop.OtherHost, drop.UnhandledProto, drop.Malformed} {
		if !seen[r.String()] {
			t.Errorf("nothing is dropped for %v", r)
		}
	}
}

// TestRoutedJoins: packets of one flow become one super-frame for the device.
func TestRoutedJoins(t *testing.T) {
	r := newRouted(t, vnet)
	r.prefix("10.99.0.0/24", alpha, farMAC)
	var ds []Datagram
	for i := range 10 {
		ds = append(ds, from(alpha.Addr, recipe{src: farMAC, dst: devMAC, size: 1000, seq: uint32(i * 1000), id: uint16(i)}.bytes()))
	}
	out := r.fromTunnel(ds...)
	if len(out) != 1 || out[0].gso.Type != offload.TCPv4 || len(out[0].bytes) != 14+40+10000 {
		t.Fatalf("wrote %d frames", len(out))
	}
	if c := r.seg.Counters().Rx; c.Frames != 10 || c.Bytes != 10*(14+40+1000) {
		t.Errorf("counted %+v", c)
	}
}

// TestPrefixClaims plays what control may do in the wrong order.
func TestPrefixClaims(t *testing.T) {
	r := newRouted(t, vnet)
	p := netip.MustParsePrefix("10.0.0.0/8")
	for name, f := range map[string]func(c *Change) error{
		"a VTEP that cannot be reached": func(c *Change) error {
			return c.PutPrefix(p, VTEP{netip.MustParseAddr("192.0.2.66"), 4789, 42}, farMAC)
		},
		"a group MAC": func(c *Change) error { return c.PutPrefix(p, alpha, groupMAC) },
		"no MAC":      func(c *Change) error { return c.PutPrefix(p, alpha, packet.MAC{}) },
		"no prefix":   func(c *Change) error { return c.PutPrefix(netip.Prefix{}, alpha, farMAC) },
	} {
		if err := r.seg.Change(f); err == nil {
			t.Errorf("took %s", name)
		}
	}
	if r.noPrefix("10.0.0.0/8", alpha) || r.noPrefix("10.0.0.0/8", delta) {
		t.Error("deleted what is not there")
	}
	r.seg.Sweep(r.w.engine.Now()) // what was tried is forgotten
	if n := len(r.seg.Remotes()); n != 0 || r.seg.Prefixes().Len() != 0 {
		t.Errorf("%d remotes", n)
	}
	bridged := newRig(t, vnet)
	if err := bridged.seg.Change(func(c *Change) error { return c.PutPrefix(p, alpha, farMAC) }); err == nil {
		t.Error("a bridged segment took a prefix")
	}
	bridged.flood(alpha)
	if bridged.noPrefix("10.0.0.0/8", alpha) {
		t.Error("a bridged segment had a prefix")
	}
}

func TestRoutedAllocatesNothing(t *testing.T) {
	for name, in := range map[string]given{
		"IPv4":        bare(wire(recipe{size: 1400}.bytes())),
		"IPv6":        bare(wire(recipe{size: 1300, v6: true}.bytes())),
		"super-frame": bare(super(recipe{size: 60000}, 1400)),
		"no prefix":   bare(wire(recipe{size: 10, udp: true, v6: true}.bytes())),
		"too big":     bare(wire(recipe{size: 2000, df: true}.bytes())),
	} {
		t.Run("from local, "+name, func(t *testing.T) {
			r := newRouted(t, vnet)
			r.prefix("10.0.0.0/8", alpha, farMAC)
			r.prefix("10.99.0.0/24", alpha, farMAC)
			r.prefix("10.99.0.0/24", beta, farMAC)
			if name == "IPv6" {
				r.prefix("fd00::/64", gamma, farMAC)
			}
			r.send.discard = true
			r.port.in, r.port.loop = []given{in}, 32
			if n := testing.AllocsPerRun(100, func() { r.w.fromLocal(r.a) }); n != 0 {
				t.Errorf("%v allocations a burst", n)
			}
		})
	}
	for name, frame := range map[string][]byte{
		"IPv4":      recipe{src: farMAC, dst: devMAC, size: 1400}.bytes(),
		"IPv6":      recipe{src: farMAC, dst: devMAC, size: 1300, v6: true}.bytes(),
		"otherhost": recipe{src: farMAC, dst: otherMAC}.bytes(),
	} {
		t.Run("to local, "+name, func(t *testing.T) {
			r := newRouted(t, vnet)
			r.prefix("10.99.0.0/24", alpha, farMAC)
			r.recv.in, r.recv.loop, r.port.loop = []Datagram{from(alpha.Addr, frame)}, 32, 1
			r.w.toLocal(r.v, r.s)
			if n := testing.AllocsPerRun(100, func() { r.w.toLocal(r.v, r.s) }); n != 0 {
				t.Errorf("%v allocations a burst", n)
			}
		})
	}
}

// FuzzRoutedToLocal wants only IP packets to reach the device, and each
// datagram in one counter.
func FuzzRoutedToLocal(f *testing.F) {
	for _, s := range [][]byte{
		recipe{src: farMAC, dst: devMAC, size: 20}.bytes(), recipe{src: farMAC, dst: devMAC, size: 20, v6: true}.bytes(),
		recipe{src: farMAC, dst: devMAC, udp: true, partial: true}.bytes(), arp(1, farMAC, devMAC, strange, local4), {}, devMAC[:],
	} {
		f.Add(s, false, 0)
		f.Add(s, true, 9)
	}
	f.Fuzz(func(t *testing.T, frame []byte, offloads bool, segment int) {
		caps := offload.Caps{}
		if offloads {
			caps = vnet
		}
		r := newRouted(t, caps)
		r.prefix("10.99.0.0/24", alpha, farMAC)
		d := from(alpha.Addr, frame)
		d.SegSize = segment
		for _, out := range r.fromTunnel(d) {
			p := parse(out.bytes)
			if p.Kind != packet.IPv4 && p.Kind != packet.IPv6 || p.End != len(out.bytes) || p.Dst != devMAC || p.Tags > 0 {
				t.Errorf("wrote %x", out.bytes)
			}
		}
		c, dropped := r.seg.Counters(), r.dropped()
		if c.Rx.Frames == 0 && len(dropped) == 0 {
			t.Error("not counted")
		}
	})
}

func BenchmarkRouted(b *testing.B) {
	for _, n := range []int{1, 1_000_000} {
		r := newRouted(b, vnet)
		r.change(func(c *Change) error {
			for i := range n - 1 {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
				if err := c.PutPrefix(p, []VTEP{alpha, beta, gamma, delta}[i%4], farMAC); err != nil {
					return err
				}
			}
			return c.PutPrefix(netip.MustParsePrefix("10.99.0.0/24"), alpha, farMAC)
		})
		for name, in := range map[string]given{
			"64 bytes": bare(wire(recipe{udp: true, size: 22}.bytes())), "64 KiB cut": bare(super(recipe{size: 64000}, 1396)),
		} {
			b.Run(fmt.Sprintf("from local/%d prefixes/%s", n, name), func(b *testing.B) {
				r.send.discard = true
				r.port.in, r.port.loop, r.port.left = []given{in}, burstFrames, burstFrames
				b.SetBytes(int64(len(in.bytes)))
				b.ReportAllocs()
				for n := 0; n < b.N; {
					got, _, err := r.w.fromLocal(r.a)
					if err != nil {
						b.Fatal(err)
					}
					n += got
				}
			})
		}
	}
	b.Run("to local/1450 bytes TCP", func(b *testing.B) {
		r := newRouted(b, vnet)
		r.prefix("10.99.0.0/24", alpha, farMAC)
		frame := recipe{src: farMAC, dst: devMAC, size: 1396}.bytes()
		r.recv.in, r.recv.loop, r.port.loop = []Datagram{from(alpha.Addr, frame)}, 32, 1
		b.SetBytes(int64(len(frame)))
		b.ReportAllocs()
		for n := 0; n < b.N; {
			got, _ := r.w.toLocal(r.v, r.s)
			n += got
		}
	})
}
