package flannel

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
	"vtepd/cmd/internal/lab/flannel"
)

// overheads of an echo request beside its payload.
const (
	echo4 = 28
	echo6 = 48
)

// TestBesideFlanneld is a dual-stack network of two nodes of vtepd, one of the
// real flanneld and one of the kernel's devices as flanneld programs them: each
// pod reaches each other one, with packets that fill the path, and what it
// sends arrives as it was.
func TestBesideFlanneld(t *testing.T) {
	t.Parallel()
	n := network(t, dual)
	d := node(t, n, "d")
	must(t, d.RunKernel(netip.MustParsePrefix("10.244.50.0/24"), netip.MustParsePrefix("fd44:244:0:50::/64")))
	nodes := vtepds(t, n, "a", "b")
	c := node(t, n, "c")
	must(t, c.RunFlanneld())
	asRecorded(t, n, nodes[0], "dual")
	asRecorded(t, n, c, "dual")
	must(t, d.Follow())
	nodes = append(nodes, c, d)
	var pods []*flannel.Pod
	for _, node := range nodes {
		pods = append(pods, pod(t, node))
	}
	for _, from := range pods {
		for _, to := range pods {
			if from != to {
				for _, addr := range to.Addrs() {
					must(t, from.PingUntil(addr.String(), 20*time.Second))
				}
			}
		}
	}
	t.Run("full size", func(t *testing.T) {
		for _, from := range pods[:2] {
			for _, to := range pods {
				if from != to {
					fullSize(t, from, to)
					fullSize(t, to, from)
				}
			}
		}
	})
	for _, to := range pods[1:3] {
		for _, addr := range to.Addrs() {
			t.Run(fmt.Sprintf("%s to %s, %v", pods[0].Node.Name, to.Node.Name, addr), func(t *testing.T) {
				must(t, pods[0].TCP(to.Host, addr.String(), 100<<20))
				for _, way := range [][]string{{"-t", "1"}, {"-t", "1", "-R"}} {
					if r := got[*lab.Report](t)(pods[0].Iperf(to.Host, addr.String(), way...)); r.End.Received.BitsPerSecond < 1e6 {
						t.Errorf("iperf3 %v: %v bit/s", way, r.End.Received.BitsPerSecond)
					}
				}
			})
		}
	}
}

// fullSize pings with packets of exactly the MTU of the smaller pod, which may
// not be fragmented.
func fullSize(t *testing.T, from, to *flannel.Pod) {
	t.Helper()
	mtu := min(from.MTU, to.MTU)
	for _, addr := range to.Addrs() {
		header := echo4
		if addr.Is6() {
			header = echo6
		}
		if _, err := from.Ping(addr.String(), "-M", "do", "-s", fmt.Sprint(mtu-header)); err != nil {
			t.Errorf("%s to %s: %v", from.Node.Name, to.Node.Name, err)
		}
	}
}
