package e2e

import (
	"fmt"
	"testing"

	"vtepd/cmd/internal/lab"
)

// TestFastPathAfterReload: what a new configuration says holds for connections
// that are on the fast path, at once.
func TestFastPathAfterReload(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	file := func(more, beside string) string {
		return fmt.Sprintf("underlay: {local: 192.0.2.1}\nsegments:\n%s%s",
			more, beside)
	}
	segment := func(more string) string {
		return "  - {vni: 42, address: 10.99.0.1/24, remotes: [192.0.2.2]" + more + "}\n"
	}
	const beside = "  - {vni: 43, address: 10.98.0.1/24, remotes: [192.0.2.2]}\n"
	d := startReloading(t, hosts[0], file(segment(""), beside))
	must(t, hosts[1].KernelVXLAN(42, []string{"10.99.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	must(t, hosts[1].KernelVXLAN(43, []string{"10.98.0.2/24"}, "local", "192.0.2.2", "remote", "192.0.2.1"))
	run(t, hosts[1], "ip", "link", "set", "vx42", "mtu", "1450")
	a := end{hosts[0], d.Daemon}
	needEBPF(t, a.d)
	ping(t, a.Host, "10.99.0.2")
	a.sends(t, hosts[1], "10.99.0.2", true)
	live := newLive(t, a.Host, hosts[1], "10.99.0.2")
	for _, c := range []struct {
		name, more string
		fast       bool
		filter     string // of what leaves then
	}{
		{"another TTL", ", ttl: 9", true, "ip.ttl#1==9"},
		{"an inherited TTL", ", ttl: inherit", false, "ip.ttl#1==64"},
		{"DF set", ", df: set", true, "ip.flags.df#1==1"},
		{"DF inherited", ", df: inherit", false, "ip.flags.df#1==1"},
		{"a TOS", ", tos: 0x48", true, "ip.dsfield.dscp#1==18"},
		{"source ports", ", srcport: 50000-50001", true, "udp.srcport>=50000 && udp.srcport<=50001"},
		{"as it was", "", true, "ip.ttl#1==64 && ip.flags.df#1==0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.write(t, file(segment(c.more), beside))
			ctl(t, a.d, "reload")
			capture, err := hosts[1].Capture("u0", hosts[1].File("reload.pcap"), "src host 192.0.2.1 and udp dst port 4789")
			must(t, err)
			live.lives(t)
			a.sends(t, hosts[1], "10.99.0.2", c.fast)
			must(t, capture.Stop())
			if lines := tshark(t, hosts[1].File("reload.pcap"), "-Y", "tcp && !("+c.filter+")"); len(lines) > 0 {
				t.Errorf("%d packets are not as the file says, such as\n%s", len(lines), lines[0])
			}
		})
	}
	t.Run("the segment is removed", func(t *testing.T) {
		d.write(t, file("", beside))
		ctl(t, a.d, "reload")
		live.blocked(t)
		d.write(t, file(segment(""), beside))
		ctl(t, a.d, "reload")
		live.lives(t)
		a.sends(t, hosts[1], "10.99.0.2", true)
	})
}
