package report

import (
	"maps"
	"math"
	"slices"
)

// how a bar compares vtepd.
type how int

const (
	ratioToKernel how = iota
	aboveKernel       // the difference to the kernel's device
	ratioToPeer       // the best other userspace overlay of the run
	itself            // the value alone
	ratioToFewer      // the same with few entries
)

// A bar is what vtepd must reach: the floor always, the goal is what it is
// built for, the aim is what it would be proud of.
type bar struct {
	title            string
	system, wire     string
	metric           Metric
	how              how
	floor, goal, aim float64 // aim is NaN when there is none
	unit             string
	digits           int
	atMost           bool // less is better
}

// The names of the wires that bars are about.
const (
	Wire1500  = "1500"
	Wire9000  = "9000"
	WirePlain = "plain"
	// Alone is no wire: what vtepd does that no other system is compared in.
	Alone = "alone"
)

// bars returns the bars in the order of a report. They are measured with two
// cores and the automatic tier unless the title says otherwise.
func bars() []bar {
	none := math.NaN()
	return []bar{
		{"TCP, 1 stream, MTU 1500", vtepdName, Wire1500, TCP1, ratioToKernel, 0.60, 0.70, 0.90, "× kernel vxlan", 2, false},
		{"TCP, 4 streams, MTU 1500", vtepdName, Wire1500, TCP4, ratioToKernel, 0.50, 0.65, 0.85, "× kernel vxlan", 2, false},
		{"TCP, both directions, MTU 1500", vtepdName, Wire1500, Bidir, ratioToKernel, 0.55, 0.70, 0.85, "× kernel vxlan", 2, false},
		{"TCP, 1 stream, MTU 9000", vtepdName, Wire9000, TCP1, ratioToKernel, 0.60, 0.75, 0.90, "× kernel vxlan", 2, false},
		{"TCP, 1 stream, plain wire", vtepdName, WirePlain, TCP1, ratioToKernel, 0.80, 0.95, 1.00, "× kernel vxlan", 2, false},
		{"TCP, 1 stream, to a kernel peer", "vtepd-to-kernel", Wire1500, TCP1, ratioToKernel, 0.65, 0.80, 1.00, "× kernel vxlan", 2, false},
		{"TCP, 1 stream, from a kernel peer", "kernel-to-vtepd", Wire1500, TCP1, ratioToKernel, 0.65, 0.80, 1.00, "× kernel vxlan", 2, false},
		{"64-byte UDP received", vtepdName, Wire1500, UDP64, ratioToKernel, 2.0, 2.5, 4.0, "× kernel vxlan", 2, false},
		{"offload tier, TCP, 1 stream", "vtepd-offload", Wire1500, TCP1, ratioToKernel, 0.50, 0.55, 0.70, "× kernel vxlan", 2, false},
		{"TCP, 1 stream, against the best userspace peer", vtepdName, Wire1500, TCP1, ratioToPeer, 4, 5, 8, "× that peer", 1, false},
		{"64-byte UDP, against the best userspace peer", vtepdName, Wire1500, UDP64, ratioToPeer, 2.5, 4, 8, "× that peer", 1, false},
		{"request/response, median above kernel vxlan", vtepdName, Wire1500, RR50, aboveKernel, 40, 25, 15, "µs", 0, true},
		{"processor time, whole machine", vtepdName, Wire1500, CPU, itself, 2.0, 1.6, 1.1, "s/GByte", 2, true},
		{"idle daemon, processor time", vtepdName, Wire1500, IdleCPU, itself, 0.2, 0.2, none, "% of a core", 3, true},
		{"idle daemon, resident memory", vtepdName, Wire1500, IdleRSS, itself, 30, 30, none, "MiB", 1, true},
		{"FDB lookup at 1,000,000 entries against 1,000", vtepdName, Alone, FDBMany, ratioToFewer, 2, 1.5, none, "× that of 1,000", 2, true},
		{"FDB, memory at 1,000,000 entries", vtepdName, Alone, FDBBytes, itself, 100, 64, none, "bytes an entry", 1, true},
		{"broadcast to 1,000 remotes, processor time", vtepdName, Alone, FloodCPU, itself, 2, 1, none, "µs a copy", 2, true},
		{"broadcast to 1,000 remotes, time", vtepdName, Alone, FloodTime, itself, 2, 1, none, "µs a copy", 2, true},
	}
}

// The verdicts.
const (
	ReachedAim  = "aim"
	ReachedGoal = "goal"
	ReachedOnly = "floor" // the floor, not the goal
	Missed      = "missed"
	NotMeasured = "not measured"
)

// A Verdict is what became of a bar.
type Verdict struct {
	Bar     string    `json:"bar"`
	Floor   float64   `json:"floor"`
	Goal    float64   `json:"goal"`
	Aim     *float64  `json:"aim,omitempty"`
	AtMost  bool      `json:"at_most"`
	Unit    string    `json:"unit"`
	Against string    `json:"against,omitempty"` // the best peer, where it is compared with one
	Value   Quartiles `json:"value"`
	Verdict string    `json:"verdict"`

	digits int // that its figures are shown with
}

// judge compares the samples with the bars.
func (r *Results) judge() []Verdict {
	var out []Verdict
	for _, b := range bars() {
		v := Verdict{Bar: b.title, Floor: b.floor, Goal: b.goal, AtMost: b.atMost, Unit: b.unit, digits: b.digits}
		if !math.IsNaN(b.aim) {
			v.Aim = &b.aim
		}
		values := r.against(&b, &v)
		v.Value = Of(values)
		v.Verdict = b.verdict(v.Value)
		out = append(out, v)
	}
	return out
}

// against returns a value a round of what the bar is about.
func (r *Results) against(b *bar, v *Verdict) []float64 {
	ours := r.values(b.wire, b.metric, b.system)
	kernel := r.values(b.wire, b.metric, kernelName)
	switch b.how {
	case ratioToKernel:
		return compare(ours, kernel, ratio)
	case aboveKernel:
		return compare(ours, kernel, difference)
	case ratioToFewer:
		return compare(ours, r.values(b.wire, FDBFew, b.system), ratio)
	case ratioToPeer:
		peer := r.bestPeer(b.wire, b.metric)
		v.Against = r.system(peer).Title
		return compare(ours, r.values(b.wire, b.metric, peer), ratio)
	default:
		return slices.Collect(maps.Values(ours))
	}
}

// bestPeer is the other userspace overlay with the highest median.
func (r *Results) bestPeer(wire string, m Metric) string {
	best, name := 0.0, ""
	for _, s := range r.Systems {
		if row := r.row(wire, m, s.Name); s.Kind == peerKind && row != nil && row.Value.Median > best {
			best, name = row.Value.Median, s.Name
		}
	}
	return name
}

// verdict is the highest mark that the median reaches.
func (b *bar) verdict(q Quartiles) string {
	reaches := func(mark float64) bool {
		if b.atMost {
			return q.Median <= mark
		}
		return q.Median >= mark
	}
	switch {
	case q.N == 0:
		return NotMeasured
	case reaches(b.aim): // never for NaN
		return ReachedAim
	case reaches(b.goal):
		return ReachedGoal
	case reaches(b.floor):
		return ReachedOnly
	default:
		return Missed
	}
}
