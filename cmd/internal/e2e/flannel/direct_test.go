package flannel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
	"vtepd/cmd/internal/lab/flannel"
)

// wire counts the VXLAN datagrams between two nodes while f runs. That it would
// see them it checks by datagrams of its own, which are too short for VXLAN.
func wire(t *testing.T, from, to *flannel.Node, f func()) int {
	t.Helper()
	file := from.File("wire.pcap")
	c, err := from.Capture("u0", file, "--immediate-mode", "udp", "port", "8472", "and", "(", "host", to.V4.String(), "or", "host", to.V6.String(), ")")
	must(t, err)
	f()
	for family, addr := range map[string]netip.Addr{"ip": to.V4, "ipv6": to.V6} {
		must(t, from.Do(func() error {
			s, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 8472)))
			if err != nil {
				return err
			}
			_, err = s.Write([]byte("end"))
			return errors.Join(err, s.Close())
		}))
		eventually(t, "the capture has the last datagram", func() error {
			short, err := lab.Tshark(file, "-Y", "udp.length == 11 && "+family+".dst == "+addr.String())
			if err == nil && len(short) == 0 {
				err = errNotYet
			}
			return err
		})
	}
	must(t, c.Stop())
	return len(got[[]string](t)(lab.Tshark(file, "-Y", "udp.length > 11")))
}

// talk pings both ways, over both families, with packets that fill the pods'
// MTU.
func talk(t *testing.T, a, b *flannel.Pod) {
	t.Helper()
	for _, way := range [][2]*flannel.Pod{{a, b}, {b, a}} {
		for _, addr := range way[1].Addrs() {
			must(t, way[0].PingUntil(addr.String(), soon))
		}
		fullSize(t, way[0], way[1])
	}
}

// TestDirectRouting: nodes of one link exchange plain packets, beside flanneld,
// too; the one behind a router gets them encapsulated.
func TestDirectRouting(t *testing.T) {
	t.Parallel()
	n := network(t, direct)
	nodes := vtepds(t, n, "a", "b")
	c, far := node(t, n, "c"), offLink(t, n, "far")
	must(t, c.RunFlanneld())
	must(t, far.RunVtepd())
	alike(t, n, nodes[0], c)
	podA, podB, podC, podFar := pod(t, nodes[0]), pod(t, nodes[1]), pod(t, c), pod(t, far)
	for _, p := range []*flannel.Pod{podB, podC} {
		// What is not settled in the first moments goes through the tunnel.
		talk(t, podA, p)
		eventually(t, "a direct route", func() error {
			return present(run(t, podA.Node.Host, "sh", "-c", "ip route; ip -6 route"), "via "+p.Node.V4.String(), "via "+p.Node.V6.String())
		})
		if count := wire(t, podA.Node, p.Node, func() { talk(t, podA, p) }); count != 0 {
			t.Errorf("%d VXLAN datagrams between a and %s, which are on one link", count, p.Node.Name)
		}
	}
	if count := wire(t, podA.Node, far, func() { talk(t, podA, podFar) }); count < 16 {
		t.Errorf("%d VXLAN datagrams between a and the node behind the router", count)
	}
	t.Run("a route that is removed by hand is back", func(t *testing.T) {
		for _, route := range []string{
			fmt.Sprintf("10.244.%d.0/24 via %v", podB.V4.As4()[2], podB.Node.V4),
			fmt.Sprintf("10.244.%d.0/24 dev flannel.1", podFar.V4.As4()[2]),
		} {
			best := time.Hour
			for range 3 {
				run(t, podA.Node.Host, "sh", "-c", "ip route del "+route)
				began := time.Now()
				eventually(t, route, func() error { return present(run(t, podA.Node.Host, "ip", "route"), route) })
				best = min(best, time.Since(began))
			}
			if best > time.Second {
				t.Errorf("%s was away for %v at best", route, best)
			}
		}
	})
}

// TestHostGW: plain routes and no encapsulation, beside flanneld, too. A node
// that is not on-link is refused by name, not sent into nowhere in silence.
func TestHostGW(t *testing.T) {
	t.Parallel()
	n := network(t, hostGW)
	nodes := vtepds(t, n, "a", "b")
	c, far := node(t, n, "c"), offLink(t, n, "far")
	must(t, c.RunFlanneld())
	must(t, far.RunVtepd())
	alike(t, n, nodes[0], c)
	podA, podB, podC := pod(t, nodes[0]), pod(t, nodes[1]), pod(t, c)
	for _, p := range []*flannel.Pod{podA, podB, podC} {
		if p.MTU != 1500 {
			t.Errorf("%s: MTU %d", p.Node.Name, p.MTU)
		}
	}
	for _, p := range []*flannel.Pod{podB, podC} {
		if count := wire(t, podA.Node, p.Node, func() { talk(t, podA, p) }); count != 0 {
			t.Errorf("%d VXLAN datagrams between a and %s", count, p.Node.Name)
		}
	}
	eventually(t, "the node behind the router is refused", func() error {
		return present(ctl(t, nodes[0], "status"), "/24 by "+far.V4.String()+": it is not on-link")
	})
	key, _ := leaseOf(t, n, far)
	routes := run(t, nodes[0].Host, "sh", "-c", "ip route; ip -6 route")
	must(t, absent(routes, far.V4.String(), key[:len(key)-len("-24")]+"/24"))
	if links := run(t, nodes[0].Host, "ip", "-o", "link"); absent(links, "flannel") != nil {
		t.Errorf("host-gw has no device: %s", links)
	}
}
