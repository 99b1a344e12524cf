package e2e

import (
	"testing"

	"vtepd/cmd/internal/lab"
)

// inOrder checks that no TCP segment came ahead of another, at either end,
// while f ran: the wire loses nothing, so none is sent again either.
func inOrder(t *testing.T, a, b end, f func()) {
	t.Helper()
	before := [2][2]int{disorder(t, a.Host), disorder(t, b.Host)}
	f()
	for i, h := range []*lab.Host{a.Host, b.Host} {
		now := disorder(t, h)
		if early, again := now[0]-before[i][0], now[1]-before[i][1]; early+again != 0 {
			t.Errorf("%s got %d segments ahead of others, and sent %d again", h.Name, early, again)
		}
	}
}

// steer has one processor receive all that a host gets. Two would overtake each
// other, whatever is between them: a veth hands packets to the processor that
// sends them.
func steer(t *testing.T, h *lab.Host) {
	t.Helper()
	run(t, h, "sh", "-c", "for q in /sys/class/net/*/queues/rx-*/rps_cpus; do echo 1 > $q; done")
}

// TestFastPathKeepsOrder: the beginning of a connection is by user space, all
// else is not; whatever makes it change its way, nothing is overtaken.
func TestFastPathKeepsOrder(t *testing.T) {
	a, b := newTwins(t, lab.Wire{}, "--workers", "2")
	for _, e := range []end{a, b} {
		steer(t, e.Host)
	}
	bothFast(t, a, b)
	t.Run("the beginning", func(t *testing.T) {
		inOrder(t, a, b, func() {
			for range 100 {
				chat(t, a.Host, b.Host, "10.99.0.2")
				chat(t, b.Host, a.Host, "fd42::1")
			}
		})
	})
	t.Run("the very first connection", func(t *testing.T) {
		inOrder(t, a, b, func() {
			for range 20 {
				run(t, a.Host, "ip", "neigh", "flush", "dev", "vx42")
				run(t, b.Host, "ip", "neigh", "flush", "dev", "vx42")
				ctl(t, a.d, "fdb", "flush")
				ctl(t, b.d, "fdb", "flush")
				chat(t, a.Host, b.Host, "10.99.0.2")
			}
		})
	})
	t.Run("a connection that a MAC is resolved for", func(t *testing.T) {
		for range 10 {
			run(t, a.Host, "ip", "neigh", "flush", "dev", "vx42")
			ctl(t, a.d, "fdb", "flush")
			all, user := a.during(t, func() { must(t, a.TCP(b.Host, "10.99.0.2", 1<<20)) })
			if err := asWanted(all.tx, user.tx, 1<<20, true); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestFastPathKeepsOrderOfTrains: where super-frames are cut, and joined to trains
// again, the small frames of a connection have a shorter way than its bulk.
func TestFastPathKeepsOrderOfTrains(t *testing.T) {
	a, b := newTwins(t, lab.Wire{}, "--workers", "2")
	for _, e := range []end{a, b} {
		steer(t, e.Host)
		for _, feature := range []string{"tso", "gso", "tx-udp-segmentation", "tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"} {
			run(t, e.Host, "ethtool", "-K", "u0", feature, "off")
		}
		run(t, e.Host, "ethtool", "-K", "u0", "gro", "on")
		e.inTier(t, "u0 does not cut tunnel super-frames", "offload")
	}
	chat(t, a.Host, b.Host, "10.99.0.2")
	before := [2]int{disorder(t, a.Host)[0], disorder(t, b.Host)[0]}
	for range 10 {
		chat(t, a.Host, b.Host, "10.99.0.2")
		must(t, a.TCP(b.Host, "10.99.0.2", 3<<20))
		must(t, b.TCP(a.Host, "fd42::1", 3<<20))
	}
	// Bulk may find a full buffer on the way, and be sent again.
	for i, e := range []end{a, b} {
		if early := disorder(t, e.Host)[0] - before[i]; early != 0 {
			t.Errorf("%s got %d segments ahead of others", e.Name, early)
		}
	}
}
