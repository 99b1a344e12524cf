package fastpath

import (
	"golang.org/x/sys/unix"

	"vtepd/vtep"
)

// Tally adds what the programs counted to the counters of the remotes, and
// refreshes the FDB entries of the MACs that they heard.
func (m *Mirror) Tally() {
	m.mu.Lock()
	defer m.mu.Unlock()
	heard := false
	for _, p := range m.places {
		heard = m.tally(p) || heard
	}
	if heard {
		m.refresh()
	}
}

// tally adds what was counted for one remote since the last time, and reports
// whether something was received from it.
func (m *Mirror) tally(p *place) (heard bool) {
	t, err := m.k.traffic(p.index)
	if err != nil {
		return false
	}
	was := p.seen
	p.seen = t
	p.remote.Carried(vtep.Traffic{Frames: t.RxFrames - was.RxFrames, Bytes: t.RxBytes - was.RxBytes},
		vtep.Traffic{Frames: t.TxFrames - was.TxFrames, Bytes: t.TxBytes - was.TxBytes})
	return t.RxFrames != was.RxFrames
}

// refresh tells the FDBs which MACs were heard since the last time.
func (m *Mirror) refresh() {
	since := m.checked
	m.checked = heardNow()
	now := m.now()
	m.eachMAC(func(k *macKey, v *macValue) {
		if p := m.places[v.Remote]; p != nil && v.Heard >= since && v.Heard != 0 {
			p.seg.FDB().Refresh(k.MAC, p.remote.Dest(), now)
		}
	})
}

// heardNow is the time as the programs note it.
func heardNow() uint32 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &ts) != nil {
		return 0
	}
	return uint32(uint64(ts.Nano()) >> heardShift)
}
