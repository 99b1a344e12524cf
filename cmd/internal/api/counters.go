package api

import (
	"net/netip"

	"vtepd/encap/drop"
)

// Traffic is in wire frames (a super-frame counts as those it holds) and inner
// bytes.
type Traffic struct {
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"`
}

// Drops are wire frames, or datagrams where no frame was seen, by reason.
// The reasons are those of package drop.
type Drops struct {
	Rx Tally `json:"rx"`
	Tx Tally `json:"tx"`
}

// FDBCounters are those of a segment's forwarding database. Entries is the
// present number, the others only grow.
type FDBCounters struct {
	Entries uint64 `json:"entries"`
	Learned uint64 `json:"learned"`
	Moved   uint64 `json:"moved"`
	Aged    uint64 `json:"aged"`
	Full    uint64 `json:"full"`
}

// RemoteCounters are those of one VTEP. Errors are frames by the error's name
// in lower case.
type RemoteCounters struct {
	IP     netip.Addr `json:"ip"`
	Port   uint16     `json:"port"`
	VNI    uint32     `json:"vni"`
	Rx     Traffic    `json:"rx"`
	Tx     Traffic    `json:"tx"`
	Errors Tally      `json:"errors"`
}

// SegmentCounters are those of one segment. Each received datagram is in
// exactly one of Rx, Drops.Rx and Consumed; each frame from the device in Tx
// (once a copy), Drops.Tx or Consumed.
type SegmentCounters struct {
	VNI      uint32               `json:"vni"`
	Device   string               `json:"device"`
	Rx       Traffic              `json:"rx"` // delivered to the device
	Tx       Traffic              `json:"tx"` // copies handed to the underlay
	Drops    Drops                `json:"drops"`
	Consumed Tally                `json:"consumed"`
	FDB      FDBCounters          `json:"fdb"`
	Remotes  List[RemoteCounters] `json:"remotes"`
}

// Counters are all there are. Drops are of what no segment owns, Events are
// remarks outside the sum.
type Counters struct {
	Segments List[SegmentCounters] `json:"segments"`
	Drops    Drops                 `json:"drops"`
	Events   Tally                 `json:"events"`
}

// unowned reports whether a datagram dropped for r belongs to no segment.
func unowned(r drop.Reason) bool { return r == drop.InvalidHeader || r == drop.VNINotFound }

// SegmentDrops names the drops of one segment, zeros included. The arrays are
// indexed by reason. A reason that cannot belong to a segment is there only if
// it was counted all the same, so that sums stay true.
func SegmentDrops(rx, tx *[drop.Count]uint64) Drops {
	d := Drops{Rx: Tally{}, Tx: Tally{}}
	for r := drop.None + 1; r < drop.Count; r++ {
		if rx[r] > 0 || r.Rx() && !unowned(r) {
			d.Rx[r.String()] = rx[r]
		}
		if tx[r] > 0 || r.Tx() {
			d.Tx[r.String()] = tx[r]
		}
	}
	return d
}

// HostDrops names the drops that no segment owns, zeros included. The array is
// indexed by reason.
func HostDrops(rx *[drop.Count]uint64) Drops {
	d := Drops{Rx: Tally{}, Tx: Tally{}}
	for r := drop.None + 1; r < drop.Count; r++ {
		if rx[r] > 0 || unowned(r) {
			d.Rx[r.String()] = rx[r]
		}
	}
	return d
}
