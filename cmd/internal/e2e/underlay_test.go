package e2e

import (
	"fmt"
	"strings"
	"testing"

	"vtepd/cmd/internal/lab"
)

// TestUnderlayInterfaceIsMadeAgain deletes the interface that a segment is
// bound to, and makes another one of the same name: it has another index, which
// sockets and group memberships are bound to.
func TestUnderlayInterfaceIsMadeAgain(t *testing.T) {
	for _, c := range []struct{ name, remotes string }{
		{"remotes", "remotes: [192.0.2.2]"},
		{"a group", "group: 239.1.1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosts := lab.Hosts(t, 2, lab.Wire{})
			a, b := hosts[0], hosts[1]
			vtepdFile(t, a, "underlay: {local: 192.0.2.1, interface: u0}\nsegments: [{vni: 42, address: 10.99.0.1/24, "+c.remotes+"}]\n")
			peer := func() {
				t.Helper()
				args := []string{"local", "192.0.2.2", "remote", "192.0.2.1"}
				if strings.HasPrefix(c.remotes, "group") {
					args = []string{"local", "192.0.2.2", "group", "239.1.1.1", "dev", "u0"}
				}
				must(t, b.KernelVXLAN(42, []string{"10.99.0.2/24"}, args...))
				run(t, b, "ip", "link", "set", "vx42", "address", "02:00:00:00:00:02") // the same station each time
			}
			peer()
			ping(t, a, "10.99.0.2")
			for range 2 {
				run(t, a, "ip", "link", "del", "u0") // and its other end
				if _, err := b.Run("ip", "link", "del", "vx42"); err != nil {
					t.Logf("it went with its interface: %v", err)
				}
				run(t, a, "ip", "link", "add", "u0", "type", "veth", "peer", "name", "u0", "netns", b.Name)
				for i, h := range hosts {
					run(t, h, "ip", "link", "set", "u0", "up")
					run(t, h, "ip", "addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "u0")
				}
				peer()
				must(t, a.PingUntil("10.99.0.2", 2*patience))
				must(t, b.PingUntil("10.99.0.1", patience))
			}
		})
	}
}

// TestGroupIsLeft: the host is a member as long as a segment has the group.
func TestGroupIsLeft(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a := hosts[0]
	const head = "underlay: {local: [192.0.2.1, \"2001:db8::1\"], interface: u0}\nsegments:\n  - {vni: 1, remotes: [192.0.2.2]}\n"
	d := startReloading(t, a, head)
	for _, group := range []string{"239.1.1.1", "ff05::100"} {
		member := func(want bool) {
			t.Helper()
			if out := run(t, a, "ip", "maddr", "show", "dev", "u0"); strings.Contains(out, group) != want {
				t.Errorf("member: %v, want %v:\n%s", !want, want, out)
			}
		}
		member(false)
		d.write(t, head+"  - {vni: 42, group: \""+group+"\"}\n  - {vni: 43, group: \""+group+"\"}\n")
		ctl(t, d.Daemon, "reload")
		member(true)
		d.write(t, head+"  - {vni: 43, group: \""+group+"\"}\n")
		ctl(t, d.Daemon, "reload")
		member(true)
		d.write(t, head)
		ctl(t, d.Daemon, "reload")
		member(false)
	}
}
