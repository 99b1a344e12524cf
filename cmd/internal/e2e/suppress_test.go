package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

const suppressConfig = `
underlay: {local: 192.0.2.1}
segments:
  - vni: 42
    address: [10.99.0.1/24, "fd42::1/64"]
    remotes: [192.0.2.2]
    suppress: true
    neighbours:
      - {ip: 10.99.0.9, mac: 02:00:00:00:00:09}
      - {ip: "fd42::9", mac: 02:00:00:00:00:09}
    static: [{mac: 02:00:00:00:00:09, dst: 192.0.2.2}]
`

// asked returns the ARP requests and neighbour solicitations for an address
// that crossed the wire.
func asked(t testing.TB, w *forger, n int, addr string) []gopacket.Packet {
	t.Helper()
	ip := net.ParseIP(addr)
	return arrived(t, w.raw, n, func(p gopacket.Packet) bool {
		udp, ok := p.TransportLayer().(*layers.UDP)
		if !ok || udp.DstPort != 4789 || len(udp.Payload) < 8 {
			return false
		}
		in := gopacket.NewPacket(udp.Payload[8:], layers.LayerTypeEthernet, gopacket.Default)
		if arp, ok := in.Layer(layers.LayerTypeARP).(*layers.ARP); ok {
			return net.IP(arp.DstProtAddress).Equal(ip)
		}
		ns, ok := in.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
		return ok && ns.TargetAddress.Equal(ip)
	})
}

// TestSuppression answers for static neighbours on the spot: the wire hears of
// nobody but those that are not known.
func TestSuppression(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	d := vtepdFile(t, a, suppressConfig)
	wire := newForger(t, a, b)
	neigh := func(ip string) string { return run(t, a, "ip", "neigh", "show", ip, "dev", "vx42") }
	pinged := func(ip string) { run(t, a, "sh", "-c", "ping -n -c 1 -W 0.2 "+ip+"; true") }
	for i, ip := range []string{"10.99.0.9", "fd42::9"} {
		t.Run("known: "+ip, func(t *testing.T) {
			pinged(ip)
			if out := neigh(ip); !strings.Contains(out, "02:00:00:00:00:09") {
				t.Errorf("not answered: %s", out)
			}
			waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.Consumed["suppressed"] == uint64(i+1) })
		})
	}
	t.Run("not known: it is asked for over the tunnel", func(t *testing.T) {
		pinged("10.99.0.10")
		pinged("fd42::10")
		for _, ip := range []string{"10.99.0.10", "fd42::10"} {
			if len(asked(t, wire, 1, ip)) == 0 {
				t.Errorf("nobody asks for %s", ip)
			}
			pinged(ip)
		}
	})
	t.Run("an operator's neighbour, until it is deleted", func(t *testing.T) {
		ctl(t, d, "neigh", "add", "10.99.0.11", "lladdr", "02:00:00:00:00:11")
		pinged("10.99.0.11")
		if out := neigh("10.99.0.11"); !strings.Contains(out, "02:00:00:00:00:11") {
			t.Errorf("not answered: %s", out)
		}
		ctl(t, d, "neigh", "del", "10.99.0.11")
		run(t, a, "ip", "neigh", "flush", "dev", "vx42")
		pinged("10.99.0.11")
		if len(asked(t, wire, 1, "10.99.0.11")) == 0 {
			t.Error("nobody asks for it after it was deleted")
		}
	})
	t.Run("what was answered did not cross the wire", func(t *testing.T) {
		run(t, a, "ip", "neigh", "flush", "dev", "vx42")
		pinged("10.99.0.9")
		pinged("fd42::9")
		pinged("10.99.0.12") // comes last
		all := arrived(t, wire.raw, 1, func(p gopacket.Packet) bool {
			text := p.TransportLayer()
			return text != nil && strings.Contains(string(text.LayerPayload()), string([]byte{10, 99, 0, 12}))
		})
		if len(all) == 0 {
			t.Fatal("the last question did not cross the wire")
		}
		if n := segment(t, d, 42).Consumed["suppressed"]; n != 5 {
			t.Errorf("%d were answered, want 5", n)
		}
	})
}

// TestSuppressionAndDAD: duplicate address detection finds duplicates of
// neighbours, and is in nobody's way otherwise.
func TestSuppressionAndDAD(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	run(t, a, "ip", "link", "add", "name", "br0", "type", "bridge")
	run(t, a, "ip", "link", "set", "br0", "up")
	vtepdFile(t, a, strings.Replace(suppressConfig, `address: [10.99.0.1/24, "fd42::1/64"]`, "bridge: br0", 1))
	wire := newForger(t, a, b)
	for _, c := range []struct {
		name, mac, addr string
		duplicate       bool
	}{
		{"a neighbour's address taken by somebody else", "02:00:00:00:00:77", "fd42::9", true},
		{"the neighbour itself", "02:00:00:00:00:09", "fd42::9", false},
		{"an address that nobody has", "02:00:00:00:00:78", "fd42::78", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := a.Station("s"+c.mac[15:], "br0", "10.99.0.50/24", 1450)
			must(t, err)
			run(t, s, "ip", "link", "set", "e0", "address", c.mac)
			sysctl(t, s, "net/ipv6/conf/all/accept_dad", "1")
			sysctl(t, s, "net/ipv6/conf/e0/accept_dad", "1")
			run(t, s, "ip", "addr", "add", c.addr+"/64", "dev", "e0")
			must(t, lab.Until(patience, func() error {
				out := run(t, s, "ip", "-6", "addr", "show", "dev", "e0", "to", c.addr)
				switch failed := strings.Contains(out, "dadfailed"); {
				case failed && c.duplicate, !strings.Contains(out, "tentative") && !c.duplicate && strings.Contains(out, c.addr):
					return nil
				case failed:
					return &lab.Final{Err: fmt.Errorf("a duplicate was found where none is: %s", out)}
				default:
					return fmt.Errorf("address: %s", out)
				}
			}))
			if !c.duplicate && len(asked(t, wire, 1, c.addr)) == 0 {
				t.Error("the wire was not asked")
			}
		})
	}
}
