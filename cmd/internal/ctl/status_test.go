package ctl

import (
	"net/netip"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
)

// TestRoutedSegmentText: a routed segment says nothing of what it has not.
func TestRoutedSegmentText(t *testing.T) {
	s := api.SegmentStatus{VNI: 1, Mode: api.ModeRoute, Device: "flannel.1", MAC: packet.MAC{2, 0, 0, 0, 0, 1}, MTU: 1450,
		Local: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Port: 8472, Accept: "known", Remotes: 2, Prefixes: 3, Tier: "offload"}
	const want = `flannel.1: segment 1 mode route mtu 1450 link 02:00:00:00:00:01
    local 192.0.2.1 port 8472 accept known remotes 2
    prefixes 3 tier offload`
	if got := segmentText(&s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := tableText(&s); got != "prefixes 3" {
		t.Errorf("got %q", got)
	}
}
