package e2e

import (
	"fmt"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// TestLearningCaps: a segment learns so many stations and no more, and one
// remote fills its share of them only; frames of the others still arrive.
func TestLearningCaps(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	quiet(t, a)
	d := vtepdFile(t, a, `
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, remotes: [192.0.2.2, 192.0.2.3], max_macs: 10, remote_share: 60}
  - {vni: 43, remotes: [192.0.2.2], max_macs: 10, remote_share: 60}
  - {vni: 44, remotes: [192.0.2.2], learning: false}
`)
	wire := newForger(t, a, b)
	flood := func(vni uint32, from string) {
		for i := range 20 {
			src := fmt.Sprintf("02:00:00:%s:00:%02x", from[len(from)-1:]+"0", i)
			wire.send(outer{from: from}, vxlan(vni, inner{src: src}.bytes(t)))
		}
	}
	want := func(vni uint32, frames, entries, full uint64) {
		t.Helper()
		waitSegment(t, d, vni, func(s api.SegmentCounters) bool {
			return s.Rx.Frames == frames && s.FDB.Entries == entries && s.FDB.Full == full
		})
	}
	flood(42, "192.0.2.2")
	want(42, 20, 6, 14)
	flood(42, "192.0.2.3")
	want(42, 40, 10, 30)
	flood(43, "192.0.2.2") // alone, it has all the room
	want(43, 20, 10, 10)
	flood(44, "192.0.2.2")
	want(44, 20, 0, 0)
	t.Run("static entries have room of their own", func(t *testing.T) {
		ctl(t, d, "fdb", "add", "02:00:00:00:00:77", "dst", "192.0.2.2", "dev", "vx42")
		if !has(t, d, "02:00:00:00:00:77") {
			t.Error("it is not there")
		}
	})
	t.Run("room that was made is used", func(t *testing.T) {
		ctl(t, d, "fdb", "flush", "dev", "vx43")
		flood(43, "192.0.2.2")
		want(43, 40, 10, 20)
	})
	t.Run("a second remote has the first one's share respected", func(t *testing.T) {
		ctl(t, d, "fdb", "flush", "dev", "vx43")
		ctl(t, d, "remote", "add", "192.0.2.3", "dev", "vx43")
		flood(43, "192.0.2.2")
		want(43, 60, 6, 34)
	})
}

// TestStationsMoveAndAge follows a station from one remote to another at once,
// and forgets it when it was silent for the time of ageing.
func TestStationsMoveAndAge(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	quiet(t, a)
	d := vtepdFile(t, a, `
underlay: {local: 192.0.2.1}
segments: [{vni: 42, remotes: [192.0.2.2, 192.0.2.3], ageing: 2s}]
`)
	wire := newForger(t, a, b)
	for i, from := range []string{"192.0.2.2", "192.0.2.3", "192.0.2.2"} {
		wire.send(outer{from: from}, vxlan(42, inner{}.bytes(t)))
		waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.Rx.Frames == uint64(i+1) && s.FDB.Moved == uint64(i) })
		for _, e := range fdbShow(t, d) {
			if e.MAC.String() == station && e.Dst.String() != from {
				t.Errorf("it is at %v, want %s", e.Dst, from)
			}
		}
	}
	waitSegment(t, d, 42, func(s api.SegmentCounters) bool { return s.FDB.Aged == 1 && s.FDB.Entries == 0 })
}
