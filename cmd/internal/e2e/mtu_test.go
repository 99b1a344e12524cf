package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/cmd/internal/lab"
)

// noFragments captures the outer fragments that host a sends until the test
// ends: there must be none.
func noFragments(t *testing.T, b *lab.Host) {
	t.Helper()
	file := b.File("fragments.pcap")
	c, err := b.Capture("u0", file, "(src host 192.0.2.1 and ip[6:2] & 0x3fff != 0) or (src host 2001:db8::1 and ip6[6] == 44)")
	must(t, err)
	t.Cleanup(func() {
		must(t, c.Stop())
		if lines := tshark(t, file); len(lines) > 0 {
			t.Errorf("%d outer fragments, such as\n%s", len(lines), lines[0])
		}
	})
}

// told pings with DF and a size that the path does not carry; the inner
// destination must say what it does carry.
func told(t *testing.T, h *lab.Host, dst string, size, mtu int) {
	t.Helper()
	// A first ping may be lost to address resolution.
	must(t, lab.Until(patience, func() error {
		out, err := h.Run("ping", "-n", "-c", "1", "-W", "0.5", "-M", "do", "-s", fmt.Sprint(size), dst)
		if err == nil {
			return &lab.Final{Err: fmt.Errorf("an oversize ping came through:\n%s", out)}
		}
		for _, want := range []string{fmt.Sprintf("mtu = %d", mtu), fmt.Sprintf("mtu=%d", mtu)} {
			if strings.Contains(out, want) && strings.Contains(out, "From "+dst) {
				return nil
			}
		}
		return fmt.Errorf("nobody said that %d bytes fit:\n%s", mtu, out)
	}))
}

// TestOversize has devices that are larger than the paths.
func TestOversize(t *testing.T) {
	for _, c := range []struct {
		name string
		v6   bool
		fits int
		args []string
	}{
		{"IPv4", false, 1450, nil},
		{"IPv4, DF set", false, 1450, []string{"--df", "set"}},
		{"IPv4, DF inherited, portable tier", false, 1450, []string{"--df", "inherit", "--tier", "portable"}},
		{"IPv6", true, 1430, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, lab.Wire{}, c.v6, append(c.args, "--mtu", "4000")...)
			run(t, p.b, "ip", "link", "set", "vx42", "mtu", "4000")
			noFragments(t, p.b)
			ping(t, p.a, "10.99.0.2")
			ping(t, p.a, "fd42::2")
			told(t, p.a, "10.99.0.2", 2000, c.fits)
			told(t, p.a, "fd42::2", 2000, c.fits)
			s := counters(t, p.daemon)
			if n := s.Segments[0].Drops.Tx["oversize"]; n < 2 || s.Events["too_big_sent"] != n {
				t.Errorf("%d dropped as oversize, %d told", n, s.Events["too_big_sent"])
			}
			t.Run("TCP finds its size", func(t *testing.T) {
				must(t, p.a.TCP(p.b, "10.99.0.2", 4<<20))
				must(t, p.a.TCP(p.b, "fd42::2", 4<<20))
			})
			t.Run("what may be fragmented inside is dropped and nobody told", func(t *testing.T) {
				before := counters(t, p.daemon)
				dev := device(t, p.a, "vx42")
				must(t, dev.Send(inner{src: mac(t, p.a, "vx42"), dst: mac(t, p.b, "vx42"), size: 2000}.bytes(t)))
				must(t, lab.Until(patience, func() error {
					now := counters(t, p.daemon)
					if now.Segments[0].Drops.Tx["oversize"] == before.Segments[0].Drops.Tx["oversize"] {
						return fmt.Errorf("it is not counted")
					}
					if now.Events["too_big_sent"] != before.Events["too_big_sent"] {
						return &lab.Final{Err: fmt.Errorf("the sender was told")}
					}
					return nil
				}))
			})
		})
	}
}

// TestOversizeBridged has stations behind bridges, whose frames are larger than
// the path: they are told as well, though no router stands between.
func TestOversizeBridged(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	var stations []*lab.Host
	for i, h := range hosts {
		run(t, h, "ip", "link", "add", "name", "br0", "type", "bridge")
		run(t, h, "ip", "link", "set", "br0", "up")
		s, err := h.Station(fmt.Sprintf("s%d", i), "br0", fmt.Sprintf("10.50.0.%d/24", i+1), 4000)
		must(t, err)
		run(t, s, "ip", "addr", "add", fmt.Sprintf("fd50::%d/64", i+1), "dev", "e0")
		stations = append(stations, s)
		vtepd(t, h, "--vni", "42", "--local", fmt.Sprintf("192.0.2.%d", i+1), "--remote", fmt.Sprintf("192.0.2.%d", 2-i),
			"--bridge", "br0", "--mtu", "4000")
	}
	noFragments(t, hosts[1])
	ping(t, stations[0], "10.50.0.2")
	ping(t, stations[0], "fd50::2")
	told(t, stations[0], "10.50.0.2", 3000, 1450)
	told(t, stations[0], "fd50::2", 3000, 1450)
	told(t, stations[1], "10.50.0.1", 1423, 1450)
	must(t, stations[0].TCP(stations[1], "10.50.0.2", 4<<20))
	must(t, stations[1].TCP(stations[0], "fd50::1", 4<<20))
}

// TestAutoMTU changes the routes under `mtu: auto`.
func TestAutoMTU(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	d := vtepdFile(t, a, `
underlay: {local: [192.0.2.1, "2001:db8::1"]}
segments:
  - {vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2]}
  - {vni: 43, remotes: ["2001:db8::2"]}
  - {vni: 44, mtu: 1234, remotes: [192.0.2.2]}
`)
	must(t, b.KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	mtus := func(want4, want6 int) {
		t.Helper()
		must(t, lab.Until(patience, func() error {
			for dev, want := range map[string]int{"vx42": want4, "vx43": want6, "vx44": 1234} {
				if got := strings.TrimSpace(run(t, a, "cat", "/sys/class/net/"+dev+"/mtu")); got != fmt.Sprint(want) {
					return fmt.Errorf("%s has mtu %s, want %d", dev, got, want)
				}
			}
			return nil
		}))
	}
	mtus(1450, 1430)
	run(t, a, "ip", "route", "add", "192.0.2.2/32", "dev", "u0", "mtu", "1400")
	run(t, a, "ip", "-6", "route", "add", "2001:db8::2/128", "dev", "u0", "mtu", "1380")
	mtus(1350, 1310)
	ping(t, a, "10.99.0.2", "-M", "do", "-s", "1322")
	run(t, a, "ip", "route", "change", "192.0.2.2/32", "dev", "u0", "mtu", "1350")
	run(t, a, "ip", "-6", "route", "change", "2001:db8::2/128", "dev", "u0", "mtu", "1340")
	mtus(1300, 1270)
	run(t, a, "ip", "route", "del", "192.0.2.2/32")
	run(t, a, "ip", "-6", "route", "del", "2001:db8::2/128")
	mtus(1450, 1430)
	t.Run("the smallest over the remotes counts", func(t *testing.T) {
		run(t, a, "ip", "route", "add", "192.0.2.3/32", "dev", "u0", "mtu", "1360")
		ctl(t, d, "remote", "add", "192.0.2.3", "dev", "vx42")
		mtus(1310, 1430)
		ctl(t, d, "remote", "del", "192.0.2.3", "dev", "vx42")
		mtus(1450, 1430)
	})
	t.Run("the interface's own", func(t *testing.T) {
		run(t, a, "ip", "link", "set", "u0", "mtu", "1400")
		mtus(1350, 1330)
		run(t, a, "ip", "link", "set", "u0", "mtu", "1500")
		mtus(1450, 1430)
	})
	t.Run("what an operator sets stays", func(t *testing.T) {
		run(t, a, "ip", "link", "set", "vx42", "mtu", "1111")
		must(t, lab.Until(patience, func() error {
			if out := ctl(t, d, "-j", "segment", "show"); !strings.Contains(out, "1111") {
				return fmt.Errorf("not noticed: %s", out)
			}
			return nil
		}))
		run(t, a, "ip", "link", "set", "u0", "mtu", "1400")
		mtus(1111, 1330)
	})
}

// TestForgedTooBig says in the name of a router that the path carries almost
// nothing. Anybody can say that.
func TestForgedTooBig(t *testing.T) {
	for _, c := range []struct {
		name, peer, believed string
		v6                   bool
		full                 int
		args                 []string
	}{
		// With df unset the kernel does not even take note of it.
		{"IPv4", "192.0.2.2", "", false, 1422, nil},
		{"IPv4, DF set", "192.0.2.2", "mtu lock 552", false, 1422, []string{"--df", "set"}},
		{"IPv6", "2001:db8::2", "mtu 1280", true, 1402, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, lab.Wire{}, c.v6, c.args...)
			wire := newForger(t, p.a, p.b)
			ping(t, p.a, "10.99.0.2", "-M", "do", "-s", fmt.Sprint(c.full))
			sent := arrived(t, wire.raw, 1, func(k gopacket.Packet) bool {
				udp, ok := k.TransportLayer().(*layers.UDP)
				return ok && udp.DstPort == 4789
			})
			if len(sent) == 0 {
				t.Fatal("no datagram to quote")
			}
			for _, k := range sent {
				must(t, wire.raw.Send(tooBig(t, wire, k)))
			}
			if c.believed != "" {
				must(t, lab.Until(patience, func() error {
					if out := run(t, p.a, "ip", "route", "get", c.peer); !strings.Contains(out, c.believed) {
						return fmt.Errorf("the kernel does not believe it, so this tests nothing: %s", out)
					}
					return nil
				}))
			}
			// Have the daemon look at its routes.
			run(t, p.a, "ip", "route", "add", "203.0.113.0/24", "dev", "u0")
			ping(t, p.a, "10.99.0.2", "-M", "do", "-c", "5", "-s", fmt.Sprint(c.full))
			must(t, p.a.TCP(p.b, "10.99.0.2", 4<<20))
			if out := run(t, p.a, "ip", "link", "show", "vx42"); !strings.Contains(out, fmt.Sprintf("mtu %d", c.full+28)) {
				t.Errorf("the device's MTU changed: %s", out)
			}
			if s := counters(t, p.daemon).Segments[0]; s.Drops.Tx.Sum() != 0 {
				t.Errorf("drops: %v", s.Drops.Tx)
			}
		})
	}
}

// tooBig is the ICMP "fragmentation needed, MTU 68" or the ICMPv6 "packet too
// big, MTU 1280" that quotes a packet which came by the wire.
func tooBig(t *testing.T, w *forger, k gopacket.Packet) []byte {
	t.Helper()
	quote := k.LinkLayer().LayerPayload()
	eth := &layers.Ethernet{SrcMAC: hw(t, w.us), DstMAC: hw(t, w.it), EthernetType: layers.EthernetTypeIPv4}
	if k.Layer(layers.LayerTypeIPv6) != nil {
		eth.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6,
			SrcIP: net.ParseIP("2001:db8::fe"), DstIP: net.ParseIP("2001:db8::1")}
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
		must(t, icmp.SetNetworkLayerForChecksum(ip))
		return serialize(t, eth, ip, icmp, gopacket.Payload(append([]byte{0, 0, 5, 0}, quote[:min(len(quote), 1200)]...)))
	}
	return serialize(t, eth,
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IPv4(192, 0, 2, 254), DstIP: net.IPv4(192, 0, 2, 1)},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 68}, gopacket.Payload(quote[:min(len(quote), 548)]))
}
