package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/lab"
)

// newWired is newTwins with a switch between, whose port to b may be a plain
// wire: there super-frames are cut, and what b's u0 gets is what a wire would
// carry.
func newWired(t *testing.T, plain bool, args ...string) (a, b end, sw *lab.Host) {
	t.Helper()
	l := lab.Start(t)
	var hosts []*lab.Host
	for _, name := range []string{"a", "b", "switch"} {
		h, err := l.Host(name)
		must(t, err)
		hosts = append(hosts, h)
	}
	must(t, hosts[2].Bridge("sw0", 0))
	for i, h := range hosts[:2] {
		must(t, hosts[2].Port("sw0", fmt.Sprintf("p%d", i), h, lab.Wire{B: []string{fmt.Sprintf("192.0.2.%d/24", i+1)}}))
	}
	if plain {
		run(t, hosts[2], "ethtool", "-K", "p1", "tso", "off", "gso", "off", "tx", "off", "tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off")
		run(t, hosts[1], "ethtool", "-K", "u0", "gro", "off")
	}
	for i, h := range hosts[:2] {
		e := end{h, vtepd(t, h, append([]string{"--vni", "42", "--local", fmt.Sprintf("192.0.2.%d", i+1), "--remote",
			fmt.Sprintf("192.0.2.%d", 2-i), "--address", fmt.Sprintf("10.99.0.%d/24,fd42::%d/64", i+1, i+1)}, args...)...)}
		a, b = b, e
		steer(t, h)
	}
	steer(t, hosts[2])
	ping(t, a.Host, "10.99.0.2")
	ping(t, a.Host, "fd42::2")
	return a, b, hosts[2]
}

// from sends 1 MiB from a port of one end to port 7777 of the other, with an IP
// TOS, by a way that is waited for.
func (e end) from(t *testing.T, to end, src, dst string, port, tos int, fast bool) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		var failed error
		all, user := e.during(t, func() { failed = transferFrom(e.Host, to.Host, src, dst, port, tos) })
		if failed != nil {
			return failed
		}
		return asWanted(all.tx, user.tx, 1<<20, fast)
	}))
}

func transferFrom(from, to *lab.Host, src, dst string, port, tos int) error {
	var l net.Listener
	if err := to.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(dst, "7777"))
		return err
	}); err != nil {
		return err
	}
	defer l.Close()
	return from.Do(func() error {
		c, err := net.DialTCP("tcp", &net.TCPAddr{IP: net.ParseIP(src), Port: port}, l.Addr().(*net.TCPAddr))
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		level, option := unix.IPPROTO_IP, unix.IP_TOS
		if strings.Contains(src, ":") {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
		}
		if err := raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), level, option, tos)
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // the port is used again
		}); err != nil {
			return err
		}
		in, err := l.Accept()
		if err != nil {
			return err
		}
		defer in.Close()
		done := make(chan error, 1)
		go func() {
			b, n := make([]byte, 1<<16), 0
			for n < 1<<20 {
				k, err := in.Read(b)
				if n += k; err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		if _, err := c.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return <-done
	})
}

// TestFastPathOnTheWire has tshark look at what the fast path sends, and at
// the same flows of the offload tier.
func TestFastPathOnTheWire(t *testing.T) {
	ports := make(map[string][]string) // the source ports of flows, by tier
	for _, c := range []struct {
		tier string
		args []string
		ttl  int
		df   bool
		tos  map[int]int // outer by inner
	}{
		{"ebpf", nil, 64, false, map[int]int{0: 0, 0x28: 0x28}},
		{"ebpf", []string{"--ttl", "7", "--df", "set", "--tos", "0"}, 7, true, map[int]int{0: 0, 0x28: 0}},
		{"ebpf", []string{"--tos", "0x48"}, 64, false, map[int]int{0x28: 0x48}},
		{"offload", nil, 64, false, map[int]int{0: 0, 0x28: 0x28}},
	} {
		t.Run(strings.Join(append([]string{c.tier}, c.args...), " "), func(t *testing.T) {
			a, b, _ := newWired(t, true, append(c.args, "--tier", c.tier)...)
			if c.tier == "ebpf" {
				needEBPF(t, a.d)
			}
			// ECN is negotiated: the data is ECT(0).
			for _, e := range []end{a, b} {
				sysctl(t, e.Host, "net/ipv4/tcp_ecn", "1")
			}
			for inner, tos := range c.tos {
				file := b.File("wire.pcap")
				capture, err := b.Capture("u0", file, "udp")
				must(t, err)
				for i, port := range []int{40001, 40002, 40003, 40004} {
					src, dst := "10.99.0.1", "10.99.0.2"
					if i%2 == 1 {
						src, dst = "fd42::1", "fd42::2"
					}
					a.from(t, b, src, dst, port, inner, c.tier == "ebpf")
				}
				must(t, capture.Stop())
				// What is sent again is not ECN-capable (RFC 3168 §6.1.5).
				data := "ip.src==192.0.2.1 && tcp.len>1000 && !tcp.analysis.retransmission"
				if n := len(tshark(t, file, "-Y", data)); n < 2800 {
					t.Fatalf("only %d packets with data were captured", n)
				}
				sum := "udp.checksum!=0"
				if c.tier != "ebpf" {
					sum = "udp.checksum.status!=1"
				}
				df := map[bool]int{true: 1}[c.df]
				bad := fmt.Sprintf("%s && (%s || !vxlan || vxlan.vni!=42 || vxlan[0:4]!=08:00:00:00 || vxlan.reserved8!=0 || udp.dstport!=4789 || "+
					"udp.srcport<49152 || ip.checksum.status#1!=1 || ip.ttl#1!=%d || ip.flags.df#1!=%d || ip.dsfield#1!=%d || ip.flags.mf==1 || "+
					"frame.len>1514 || %s || _ws.malformed)", data, sum, c.ttl, df, tos|2, badTCP)
				if lines := tshark(t, file, "-o", "tcp.check_checksum:TRUE", "-Y", bad); len(lines) > 0 {
					t.Errorf("%d packets are not as they should be:\n%s", len(lines), strings.Join(lines[:min(len(lines), 5)], "\n"))
				}
				if inner != 0 || c.tier == "ebpf" && c.args != nil {
					continue
				}
				flows := tshark(t, file, "-Y", data, "-T", "fields", "-e", "tcp.srcport", "-e", "udp.srcport")
				slices.Sort(flows)
				ports[c.tier] = slices.Compact(flows)
			}
		})
	}
	if len(ports["ebpf"]) != 4 || !slices.Equal(ports["ebpf"], ports["offload"]) {
		t.Errorf("the flows' outer source ports: %q", ports)
	}
}

// TestFastPathTakesMarks has a switch mark what it forwards as having met
// congestion: the inner packets bear the mark, and are whole.
func TestFastPathTakesMarks(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, c := range []struct{ name, addr, file, counter string }{
			{"IPv4", "10.99.0.2", "netstat", "InCEPkts"}, {"IPv6", "fd42::2", "snmp6", "Ip6InCEPkts"},
		} {
			t.Run(fmt.Sprintf("%s, plain wire %v", c.name, plain), func(t *testing.T) {
				a, b, sw := newWired(t, plain)
				needEBPF(t, a.d)
				for _, e := range []end{a, b} {
					sysctl(t, e.Host, "net/ipv4/tcp_ecn", "1")
				}
				a.sends(t, b.Host, c.addr, true)
				b.receives(t, a.Host, c.addr, true)
				run(t, sw, "nft", "add table bridge t; add chain bridge t c { type filter hook forward priority 0; }; "+
					"add rule bridge t c ip ecn ect0 ip ecn set ce")
				before := hostCounter(t, b.Host, c.file, "IpExt:", c.counter)
				b.receives(t, a.Host, c.addr, true)
				if n := hostCounter(t, b.Host, c.file, "IpExt:", c.counter) - before; n == 0 {
					t.Error("no inner packet is marked")
				}
				if n := hostCounter(t, a.Host, "netstat", "TcpExt:", "TCPDeliveredCE"); n == 0 {
					t.Error("the sender does not hear of it")
				}
				if n := hostCounter(t, b.Host, "netstat", "TcpExt:", "TCPOFOQueue"); n != 0 {
					t.Errorf("%d segments came ahead of others", n)
				}
			})
		}
	}
}
