package e2e

import (
	"fmt"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
)

// TestFastPathOfPods has stations behind bridges, whose connections do not end
// at a socket of the host: what they send may take the fast path, what they get
// is by user space, and arrives.
func TestFastPathOfPods(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	var ends []end
	var pods []*lab.Host
	for i, h := range hosts {
		must(t, h.Bridge("br0", 1450, fmt.Sprintf("10.50.0.%d/24", i+1)))
		pod, err := h.Station(fmt.Sprintf("pod%d", i), "br0", fmt.Sprintf("10.50.0.1%d/24", i+1), 1450)
		must(t, err)
		run(t, pod, "ip", "addr", "add", fmt.Sprintf("fd50::1%d/64", i+1), "dev", "e0")
		pods = append(pods, pod)
		ends = append(ends, end{h, vtepd(t, h, "--vni", "42", "--local", fmt.Sprintf("192.0.2.%d", i+1), "--remote", fmt.Sprintf("192.0.2.%d", 2-i), "--bridge", "br0")})
	}
	needEBPF(t, ends[0].d)
	tierIs(t, ends[0].d, "ebpf", "")
	ping(t, pods[0], "10.50.0.12")
	ping(t, pods[0], "fd50::12")
	for _, c := range []struct {
		name     string
		from, to *lab.Host
		addr     string
		out, in  end
		fast     bool // at the end that receives
	}{
		{"from pod to pod", pods[0], pods[1], "10.50.0.12", ends[0], ends[1], false},
		{"from pod to pod over IPv6", pods[1], pods[0], "fd50::11", ends[1], ends[0], false},
		{"from pod to host", pods[0], hosts[1], "10.50.0.2", ends[0], ends[1], true},
		{"from host to pod", hosts[1], pods[0], "10.50.0.11", ends[1], ends[0], false},
		{"from host to host", hosts[0], hosts[1], "10.50.0.2", ends[0], ends[1], true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ping(t, c.from, c.addr)
			dropped := segment(t, c.in.d, 42).Drops.Rx.Sum()
			must(t, lab.Until(patience, func() error {
				const size = 10 << 20
				start := time.Now()
				var failed error
				all, user := c.in.during(t, func() { failed = c.from.TCP(c.to, c.addr, size) })
				if failed != nil {
					return failed
				}
				if took := time.Since(start); took > patience/2 {
					return fmt.Errorf("10 MiB took %v", took)
				}
				return asWanted(all.rx, user.rx, size, c.fast)
			}))
			if s := segment(t, c.in.d, 42); s.Drops.Rx.Sum() != dropped {
				t.Errorf("drops %v, %d of them before", s.Drops.Rx, dropped)
			}
		})
	}
}

// TestFastPathOfForwarded has a host route between the overlay and a network
// behind it.
func TestFastPathOfForwarded(t *testing.T) {
	a, b := newTwins(t, lab.Wire{})
	must(t, b.Bridge("br0", 1450, "10.60.0.1/24"))
	pod, err := b.Station("inside", "br0", "10.60.0.5/24", 1450)
	must(t, err)
	run(t, pod, "ip", "route", "add", "default", "via", "10.60.0.1")
	sysctl(t, b.Host, "net/ipv4/ip_forward", "1")
	run(t, a.Host, "ip", "route", "add", "10.60.0.0/24", "via", "10.99.0.2")
	ping(t, a.Host, "10.60.0.5")
	for _, c := range []struct {
		name     string
		from, to *lab.Host
		addr     string
		out, in  end
		fast     bool
	}{
		{"in", a.Host, pod, "10.60.0.5", a, b, false},
		{"out", pod, a.Host, "10.99.0.1", b, a, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			must(t, lab.Until(patience, func() error {
				const size = 10 << 20
				var failed error
				all, user := c.in.during(t, func() { failed = c.from.TCP(c.to, c.addr, size) })
				if failed != nil {
					return failed
				}
				return asWanted(all.rx, user.rx, size, c.fast)
			}))
		})
	}
}

// TestFastPathOfTwoDaemons has two of them on one interface, with ports of
// their own.
func TestFastPathOfTwoDaemons(t *testing.T) {
	a, b := newTwins(t, lab.Wire{})
	var second []*lab.Daemon
	for i, e := range []end{a, b} {
		second = append(second, vtepd(t, e.Host, "--vni", "43", "--port", "4790", "--local", fmt.Sprintf("192.0.2.%d", i+1),
			"--remote", fmt.Sprintf("192.0.2.%d", 2-i), "--address", fmt.Sprintf("10.98.0.%d/24", i+1)))
		tierIs(t, second[i], "ebpf", "")
	}
	bothFast(t, a, b)
	ping(t, a.Host, "10.98.0.2")
	must(t, a.TCP(b.Host, "10.98.0.2", 10<<20))
	for _, d := range second {
		if s := segment(t, d, 43); s.Rx.Bytes+s.Tx.Bytes < 10<<20 {
			t.Errorf("the second daemon counts %+v, %+v", s.Rx, s.Tx)
		}
		must(t, d.Stop())
	}
	bothFast(t, a, b)
}
