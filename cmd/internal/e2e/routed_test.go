package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// routerA is the VTEP MAC of vtepd in the tests of routed segments, routerB
// that of its peer's kernel device.
const (
	routerA = "02:00:00:00:0a:01"
	routerB = "02:00:00:00:0a:02"
)

// A routedPair is two nodes of a Flannel network: vtepd with a routed segment on
// host a, and on host b the kernel's vxlan device as flanneld programs it. Node n
// has the pod subnets 10.244.n.0/24 and fd44:n::/64; pod n has address .5 in
// both and is behind the bridge cni0.
type routedPair struct {
	a, b       *lab.Host
	podA, podB *lab.Host
	daemon     *lab.Daemon
}

// routedMTU is the MTU of the pods: larger than any path, where a test wants
// to see who says so.
const routedMTU = 4000

func newRoutedPair(t *testing.T, w lab.Wire, v6 bool, args ...string) *routedPair {
	t.Helper()
	hosts := lab.Hosts(t, 2, w)
	p := &routedPair{a: hosts[0], b: hosts[1]}
	local, remote := "192.0.2.1", "192.0.2.2"
	if v6 {
		local, remote = "2001:db8::1", "2001:db8::2"
	}
	p.daemon = vtepd(t, p.a, append([]string{"--vni", "1", "--mode", "route", "--device", "flannel.1", "--port", "8472", "--local", local,
		"--mac", routerA, "--address", "10.244.1.0/32,fd44:1::/128",
		"--prefix", fmt.Sprintf("10.244.2.0/24=%[1]s=%[2]s,fd44:2::/64=%[1]s=%[2]s", remote, routerB)}, args...)...)
	kernelFlannel(t, p.b, remote)
	lease(t, p.b, 1, local, routerA)
	mtu := "1450"
	if v6 {
		mtu = "1430"
	}
	run(t, p.b, "ip", "link", "set", "flannel.1", "mtu", mtu)
	p.podA, p.podB = pod(t, p.a, 1), pod(t, p.b, 2)
	return p
}

// kernelFlannel makes node 2's device as flanneld does (pkg/backend/vxlan/
// device.go).
func kernelFlannel(t *testing.T, h *lab.Host, local string) {
	t.Helper()
	run(t, h, "ip", "link", "add", "flannel.1", "address", routerB, "type", "vxlan", "id", "1", "local", local, "dev", "u0",
		"dstport", "8472", "nolearning")
	run(t, h, "ip", "addr", "add", "10.244.2.0/32", "dev", "flannel.1")
	run(t, h, "ip", "addr", "add", "fd44:2::/128", "dev", "flannel.1")
	run(t, h, "ip", "link", "set", "flannel.1", "up")
}

// lease programs the lease of node n at a kernel device, in flanneld's order
// (pkg/backend/vxlan/vxlan_network.go, handleSubnetEvents).
func lease(t *testing.T, h *lab.Host, n int, vtep, mac string) {
	t.Helper()
	for _, net := range []struct{ host, prefix string }{
		{fmt.Sprintf("10.244.%d.0", n), fmt.Sprintf("10.244.%d.0/24", n)},
		{fmt.Sprintf("fd44:%d::", n), fmt.Sprintf("fd44:%d::/64", n)},
	} {
		run(t, h, "ip", "neigh", "replace", net.host, "lladdr", mac, "dev", "flannel.1", "nud", "permanent")
		run(t, h, "bridge", "fdb", "replace", mac, "dev", "flannel.1", "dst", vtep, "self", "permanent")
		run(t, h, "ip", "route", "replace", net.prefix, "via", net.host, "dev", "flannel.1", "onlink")
	}
}

// pod makes the pod of node n.
func pod(t *testing.T, h *lab.Host, n int) *lab.Host {
	t.Helper()
	sysctl(t, h, "net/ipv4/ip_forward", "1")
	sysctl(t, h, "net/ipv6/conf/all/forwarding", "1")
	run(t, h, "ip", "link", "add", "name", "cni0", "type", "bridge")
	run(t, h, "ip", "link", "set", "cni0", "mtu", fmt.Sprint(routedMTU), "up")
	run(t, h, "ip", "addr", "add", fmt.Sprintf("10.244.%d.1/24", n), "dev", "cni0")
	run(t, h, "ip", "addr", "add", fmt.Sprintf("fd44:%d::1/64", n), "dev", "cni0")
	s, err := h.Station(fmt.Sprintf("pod%d", n), "cni0", fmt.Sprintf("10.244.%d.5/24", n), routedMTU)
	must(t, err)
	run(t, s, "ip", "addr", "add", fmt.Sprintf("fd44:%d::5/64", n), "dev", "e0")
	run(t, s, "ip", "route", "add", "default", "via", fmt.Sprintf("10.244.%d.1", n))
	run(t, s, "ip", "route", "add", "default", "via", fmt.Sprintf("fd44:%d::1", n))
	return s
}

// TestRoutedBesideFlannel is pod to pod and node to pod between vtepd and the
// kernel's device, on all tiers and both underlays.
func TestRoutedBesideFlannel(t *testing.T) {
	for _, c := range []struct {
		name string
		wire lab.Wire
		v6   bool
		args []string
	}{
		{"IPv4", lab.Wire{}, false, nil},
		{"IPv4, portable tier", lab.Wire{}, false, []string{"--tier", "portable"}},
		{"IPv4, offload tier", lab.Wire{}, false, []string{"--tier", "offload", "--workers", "2"}},
		{"IPv4, no offloads on the wire", lab.Wire{NoOffload: true}, false, nil},
		{"IPv6", lab.Wire{}, true, nil},
		{"IPv6, portable tier", lab.Wire{}, true, []string{"--tier", "portable"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newRoutedPair(t, c.wire, c.v6, c.args...)
			fits := 1450
			if c.v6 {
				fits = 1430
			}
			for _, way := range []struct {
				from *lab.Host
				to   string
				ttl  string // two hosts route, the tunnel is a link
			}{
				{p.podA, "10.244.2.5", "ttl=62"}, {p.podB, "10.244.1.5", "ttl=62"}, {p.podA, "fd44:2::5", "ttl=62"}, {p.podB, "fd44:1::5", "ttl=62"},
				{p.a, "10.244.2.5", "ttl=63"}, {p.b, "10.244.1.0", "ttl=64"}, {p.a, "fd44:2::", "ttl=64"},
			} {
				ping(t, way.from, way.to)
				if out := run(t, way.from, "ping", "-n", "-c", "1", "-W", "1", way.to); !strings.Contains(out, way.ttl) {
					t.Errorf("no %s in %s", way.ttl, out)
				}
			}
			for to, header := range map[string]int{"10.244.2.5": 28, "fd44:2::5": 48} {
				ping(t, p.podA, to, "-M", "do", "-s", fmt.Sprint(fits-header))
				refusedBy(t, p.podA, to, fits-header+1, fits, "10.244.1.1", "fd44:1::1") // by the router in front, from the device's MTU
				ping(t, p.podA, to, "-s", "20000")                                       // in fragments
			}
			ping(t, p.podB, "10.244.1.5", "-M", "do", "-s", fmt.Sprint(fits-28))
			size := int64(20 << 20)
			if testing.Short() {
				size = 4 << 20
			}
			routedBothWays(t, p, size)
			numbered(t, p.podA, p.podB, "10.244.2.5")
			s := counters(t, p.daemon).Segments[0]
			if s.Drops.Rx.Sum()+s.Drops.Tx.Sum() != s.Drops.Tx["multicast"] { // a host that forwards joins groups
				t.Errorf("drops %+v", s.Drops)
			}
		})
	}
}

// refusedBy pings with DF and a size that is refused by a router with one of the
// addresses.
func refusedBy(t *testing.T, h *lab.Host, dst string, size, mtu int, by ...string) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		out, err := h.Run("ping", "-n", "-c", "1", "-W", "0.5", "-M", "do", "-s", fmt.Sprint(size), dst)
		if err == nil {
			return &lab.Final{Err: fmt.Errorf("an oversize ping came through:\n%s", out)}
		}
		for _, from := range by {
			if strings.Contains(out, "From "+from) && (strings.Contains(out, fmt.Sprintf("mtu = %d", mtu)) || strings.Contains(out, fmt.Sprintf("mtu=%d", mtu))) {
				return nil
			}
		}
		// The second ping is refused by what the pod remembers.
		if strings.Contains(out, "message too long, mtu") {
			return nil
		}
		return fmt.Errorf("nobody said that %d bytes fit:\n%s", mtu, out)
	}))
}

// routedBothWays sends size bytes in each direction at the same time, over both
// families.
func routedBothWays(t *testing.T, p *routedPair, size int64) {
	t.Helper()
	var wg sync.WaitGroup
	for _, way := range []struct {
		from, to *lab.Host
		addr     string
	}{{p.podA, p.podB, "10.244.2.5"}, {p.podB, p.podA, "fd44:1::5"}} {
		wg.Go(func() {
			if err := way.from.TCP(way.to, way.addr, size); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestRoutedPackets has tshark look at all that crosses the wire: as in
// TestEveryPacketIsAsItShouldBe, and the inner Ethernet headers.
func TestRoutedPackets(t *testing.T) {
	for _, tier := range []string{"portable", "offload", "tunnel-gso", "ebpf"} {
		t.Run(tier, func(t *testing.T) {
			p := newRoutedPair(t, lab.Wire{NoOffload: true}, false, "--tier", tier)
			file := p.a.File("routed.pcap")
			capture, err := p.a.Capture("u0", file, "udp")
			must(t, err)
			ping(t, p.podA, "10.244.2.5", "-s", "5000")
			must(t, p.podA.TCP(p.podB, "10.244.2.5", 3<<20))
			must(t, p.podA.TCP(p.podB, "fd44:2::5", 3<<20))
			numbered(t, p.podA, p.podB, "10.244.2.5")
			must(t, capture.Stop())
			ports := []string{"-d", "udp.port==8472,vxlan", "-o", "tcp.check_checksum:TRUE"}
			ours := "ip.src==192.0.2.1"
			total := len(tshark(t, file, append(ports, "-Y", ours)...))
			if total < 2000 {
				t.Fatalf("only %d packets were captured", total)
			}
			bad := ours + " && (udp.checksum.status#1!=1 || udp.checksum.status==0 || !vxlan || vxlan.vni!=1 || vxlan.flag_i!=1 || " +
				"udp.dstport#1!=8472 || udp.srcport#1<49152 || vxlan.reserved8!=0 || " + badTCP + " || ip.checksum.status==0 || " +
				"_ws.malformed || icmp.checksum.status==0 || eth.src#2!=" + routerA + " || eth.dst#2!=" + routerB + " || arp)"
			if lines := tshark(t, file, append(ports, "-Y", bad)...); len(lines) > 0 {
				t.Errorf("%d of %d packets are not as they should be:\n%s", len(lines), total, strings.Join(lines[:min(len(lines), 5)], "\n"))
			}
			if lines := tshark(t, file, append(ports, "-Y", "frame.len>1514")...); len(lines) > 0 {
				t.Errorf("%d packets are larger than the wire takes", len(lines))
			}
		})
	}
}

// TestRoutedErrors has packets that cannot go on: their senders are told.
func TestRoutedErrors(t *testing.T) {
	p := newRoutedPair(t, lab.Wire{}, false, "--mtu", fmt.Sprint(routedMTU))
	ping(t, p.podA, "10.244.2.5")
	ping(t, p.podA, "fd44:2::5")
	t.Run("a path smaller than the device", func(t *testing.T) {
		told(t, p.podA, "10.244.2.5", 2000, 1450)
		told(t, p.podA, "fd44:2::5", 2000, 1450)
		must(t, p.podA.TCP(p.podB, "10.244.2.5", 4<<20))
		must(t, p.podB.TCP(p.podA, "fd44:1::5", 1<<20))
		if s := counters(t, p.daemon); s.Segments[0].Drops.Tx["oversize"] == 0 || s.Events["too_big_sent"] == 0 {
			t.Errorf("drops %v, events %v", s.Segments[0].Drops.Tx, s.Events)
		}
	})
	t.Run("no prefix", func(t *testing.T) {
		run(t, p.a, "ip", "route", "add", "10.244.9.0/24", "dev", "flannel.1")
		run(t, p.a, "ip", "route", "add", "fd44:9::/64", "dev", "flannel.1")
		for _, from := range []*lab.Host{p.a, p.podA} {
			for dst, want := range map[string]string{"10.244.9.9": "From 10.244.9.9 icmp_seq=1 Destination Net Unreachable",
				"fd44:9::9": "From fd44:9::9 icmp_seq=1 Destination unreachable: No route"} {
				if out, err := from.Run("ping", "-n", "-c", "1", "-W", "1", dst); err == nil || !strings.Contains(out, want) {
					t.Errorf("no %q in %s", want, out)
				}
			}
		}
		err := p.podA.Do(func() error {
			c, err := net.DialTimeout("tcp", "10.244.9.9:80", patience)
			if err == nil {
				return c.Close()
			}
			return err
		})
		if !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("a connection ends with %v", err)
		}
		s := counters(t, p.daemon)
		if n := s.Segments[0].Drops.Tx["no_remote"]; n < 5 || s.Events["unreachable_sent"] != n {
			t.Errorf("%d dropped, %d told", n, s.Events["unreachable_sent"])
		}
	})
}

// TestRoutedTakesPacketsOnly forges what a routed segment must not take.
func TestRoutedTakesPacketsOnly(t *testing.T) {
	p := newRoutedPair(t, lab.Wire{}, false)
	wire, o := newForger(t, p.a, p.b), outer{dport: 8472}
	seen := device(t, p.a, "flannel.1")
	packet := inner{src: routerB, dst: routerA, from: "10.244.2.77", to: "10.244.1.5"}
	wrong, all, tag := packet, packet, packet
	wrong.dst, all.dst, tag.tag = "02:00:00:00:0a:09", broadcast, 5
	arp := serialize(t, &layers.Ethernet{SrcMAC: hw(t, routerB), DstMAC: hw(t, routerA), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: 1, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: hw(t, routerB), SourceProtAddress: []byte{10, 244, 2, 0}, DstHwAddress: make([]byte, 6), DstProtAddress: []byte{10, 244, 1, 0}})
	liar := packet.bytes(t)
	liar[14+2] = 0xff
	for _, c := range []struct {
		reason string
		frames [][]byte
	}{
		{"otherhost", [][]byte{wrong.bytes(t), all.bytes(t)}}, {"inner_vlan", [][]byte{tag.bytes(t)}},
		{"unhandled_proto", [][]byte{arp}}, {"malformed", [][]byte{liar}}, {"truncated", [][]byte{packet.bytes(t)[:20]}},
	} {
		for _, f := range c.frames {
			wire.send(o, vxlan(1, f))
		}
		must(t, lab.Until(patience, func() error {
			if n := counters(t, p.daemon).Segments[0].Drops.Rx[c.reason]; n != uint64(len(c.frames)) {
				return fmt.Errorf("%d dropped for %s, want %d", n, c.reason, len(c.frames))
			}
			return nil
		}))
	}
	wire.send(o, vxlan(1, packet.bytes(t)))
	stranger := o
	stranger.from = "192.0.2.77"
	wire.send(stranger, vxlan(1, packet.bytes(t)))
	// The device's frames have no Ethernet header: gopacket is told so.
	got := arrived(t, seen, 1, func(k gopacket.Packet) bool {
		ip := gopacket.NewPacket(k.Data(), layers.LayerTypeIPv4, gopacket.Default)
		l, ok := ip.NetworkLayer().(*layers.IPv4)
		return ok && l.SrcIP.Equal(netip.MustParseAddr("10.244.2.77").AsSlice())
	})
	if len(got) != 1 {
		t.Errorf("%d packets reached the device, want 1", len(got))
	}
	if n := counters(t, p.daemon).Segments[0].Drops.Rx["source_not_accepted"]; n != 1 {
		t.Errorf("%d not accepted", n)
	}
}

// TestRoutedPeers is vtepd on both ends, each with the MAC that it makes
// itself.
func TestRoutedPeers(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	file := func(n int, prefixes string) string {
		return fmt.Sprintf("segments: [{vni: 7, mode: route, local: '2001:db8::%[1]d', address: ['10.244.%[1]d.0/32', 'fd44:%[1]d::/128'], prefixes: [%[2]s]}]", n, prefixes)
	}
	var daemons []*reloading
	for i, h := range hosts {
		daemons = append(daemons, startReloading(t, h, file(i+1, "")))
	}
	for i, h := range hosts {
		var peer []api.SegmentStatus
		decode(t, ctl(t, daemons[1-i].Daemon, "-j", "segment", "show"), &peer)
		d, n := daemons[i], 2-i
		if i == 1 { // one end by its file, the other by its operator, who need not say the MAC twice
			ctl(t, d.Daemon, "route", "add", "10.244.1.0/24", "via", "2001:db8::1", "lladdr", peer[0].MAC.String())
			ctl(t, d.Daemon, "route", "add", "fd44:1::/64", "via", "2001:db8::1")
		} else {
			d.write(t, file(i+1, fmt.Sprintf("{prefix: 10.244.%[1]d.0/24, via: '2001:db8::%[1]d', mac: '%[2]v'}, "+
				"{prefix: 'fd44:%[1]d::/64', via: '2001:db8::%[1]d'}", n, peer[0].MAC)))
		}
		ctl(t, d.Daemon, "reload")
		for _, prefix := range []string{fmt.Sprintf("10.244.%d.0/24", n), fmt.Sprintf("fd44:%d::/64", n)} {
			run(t, h, "ip", "route", "add", prefix, "dev", "vx7")
		}
	}
	ping(t, hosts[0], "10.244.2.0", "-M", "do", "-s", "1402")
	ping(t, hosts[1], "fd44:1::", "-M", "do", "-s", "1382")
	must(t, hosts[0].TCP(hosts[1], "10.244.2.0", 5<<20))
	must(t, hosts[1].TCP(hosts[0], "fd44:1::", 5<<20))
}
