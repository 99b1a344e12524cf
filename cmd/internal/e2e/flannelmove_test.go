package e2e

import (
	"strings"
	"testing"
)

// TestFlannelNodeMoves: a node's underlay changes while it runs: the MTU, then
// the address. The device, subnet.env, the lease and the other node follow.
func TestFlannelNodeMoves(t *testing.T) {
	f := newFlannelNet(t, 3, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`)
	n, other := f.node(1), f.node(2)
	pod, addr := n.podOn()
	otherPod, otherAddr := other.podOn()
	reaches(t, pod, otherAddr)
	before := n.lease()

	run(t, n.host, "ip", "link", "set", "u0", "mtu", "1400")
	eventually(t, "the MTU in subnet.env, of the device, in lease show", func() bool {
		return readEnv(t, n.env)["FLANNEL_MTU"] == "1350" && strings.Contains(run(t, n.host, "ip", "link", "show", "flannel.1"), "mtu 1350") && n.lease().MTU == 1350
	})
	run(t, n.host, "ip", "link", "set", "u0", "mtu", "1500")
	eventually(t, "the MTU again", func() bool { return readEnv(t, n.env)["FLANNEL_MTU"] == "1450" })

	// One more address, and the default route elsewhere, do not move a node.
	run(t, n.host, "ip", "addr", "replace", "192.0.2.52/24", "dev", "u0")
	run(t, n.host, "ip", "addr", "del", "192.0.2.2/24", "dev", "u0")
	run(t, n.host, "ip", "addr", "replace", "192.0.2.52/24", "dev", "u0")
	eventually(t, "the lease with the other address", func() bool { return strings.Contains(f.ctl("get", subnetsKey+before.Key), `"PublicIP":"192.0.2.52"`) })
	eventually(t, "the other node's route", func() bool {
		out, err := other.Ctl("route", "show")
		return err == nil && strings.Contains(out, "192.0.2.52") && !strings.Contains(out, "192.0.2.2 ")
	})
	reaches(t, pod, otherAddr)
	reaches(t, otherPod, addr)
	if l := n.lease(); l.Key != before.Key || len(l.Problems) != 0 {
		t.Errorf("%+v", l)
	}

	run(t, n.host, "ip", "addr", "flush", "dev", "u0")
	eventually(t, "the missing address is said", func() bool { return strings.Contains(strings.Join(n.lease().Problems, " "), "no address") })
	run(t, n.host, "ip", "addr", "replace", "192.0.2.52/24", "dev", "u0")
	reaches(t, otherPod, addr)
}
