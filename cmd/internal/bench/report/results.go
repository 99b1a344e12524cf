// Package report turns the samples of a benchmark into figures: medians,
// quartiles and ratios taken inside one round, tables, pictures, and whether
// the bars that vtepd must reach are reached.
package report

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"time"
)

// A Metric is a quantity that a benchmark samples.
type Metric string

// The metrics.
const (
	TCP1    Metric = "tcp1"
	TCP4    Metric = "tcp4"
	Bidir   Metric = "bidir"
	CPU     Metric = "cpu"
	UDP64   Metric = "udp64"
	RR50    Metric = "rr_p50"
	RR99    Metric = "rr_p99"
	RSS     Metric = "rss"
	IdleCPU Metric = "idle_cpu"
	IdleRSS Metric = "idle_rss"

	// Of vtepd alone.
	FDBFew    Metric = "fdb_few"
	FDBMany   Metric = "fdb_many"
	FDBAll    Metric = "fdb_all"
	FDBBytes  Metric = "fdb_bytes"
	FloodCPU  Metric = "flood_cpu"
	FloodTime Metric = "flood_time"
)

// What the report knows of the systems: the one that ratios are taken to, ours,
// and the kind of the other overlays in user space.
const (
	kernelName = "kernel"
	vtepdName  = "vtepd"
	peerKind   = "peer"
)

// metricInfo says how a metric is shown.
type metricInfo struct {
	metric      Metric
	title, unit string
	digits      int
	lower       bool // less is better
	ratio       bool // a ratio to the kernel's device means something
	alone       bool // nothing else has it: there is no picture of it
}

// metrics returns all metrics in the order of a report.
func metrics() []metricInfo {
	return []metricInfo{
		{TCP1, "TCP, 1 stream", "Gbit/s", 2, false, true, false},
		{TCP4, "TCP, 4 streams", "Gbit/s", 2, false, true, false},
		{Bidir, "TCP, both directions at once, summed", "Gbit/s", 2, false, true, false},
		{CPU, "Processor time of the whole machine during TCP, 1 stream", "s/GByte", 2, true, true, false},
		{UDP64, "64-byte UDP datagrams received", "thousand/s", 0, false, true, false},
		{RR50, "Request/response of 64 bytes, median", "µs", 0, true, true, false},
		{RR99, "Request/response of 64 bytes, 99th percentile", "µs", 0, true, true, false},
		{RSS, "Resident memory of one host's programs, under load", "MiB", 1, true, false, false},
		{IdleCPU, "Processor time of one host's programs, idle", "% of a core", 3, true, false, false},
		{IdleRSS, "Resident memory of one host's programs, before any load", "MiB", 1, true, false, false},
		{FDBFew, "FDB, a lookup among 1,000 entries", "ns", 1, true, false, true},
		{FDBMany, "FDB, a lookup of 1,000 MACs in use among 1,000,000 entries", "ns", 1, true, false, true},
		{FDBAll, "FDB, a lookup of 1,000,000 MACs in use", "ns", 1, true, false, true},
		{FDBBytes, "FDB, memory of an entry, of 1,000,000", "bytes", 1, true, false, true},
		{FloodCPU, "Broadcast to 1,000 remotes, processor time of a copy", "µs", 2, true, false, true},
		{FloodTime, "Broadcast to 1,000 remotes, time of a copy", "µs", 2, true, false, true},
	}
}

// A Wire is an underlay that systems were measured on.
type Wire struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

// A System is one of those that were measured or could not be.
type System struct {
	Name    string `json:"name"`
	Title   string `json:"title"`
	Kind    string `json:"kind"`
	Version string `json:"version,omitempty"`
	Note    string `json:"note,omitempty"`
}

// A Sample is one value of one system.
type Sample struct {
	Wire   string  `json:"wire"`
	Metric Metric  `json:"metric"`
	Round  int     `json:"round"`
	System string  `json:"system"`
	Value  float64 `json:"value"`
}

// A Gap is something that was not measured, and why.
type Gap struct {
	Wire   string `json:"wire"`
	System string `json:"system"`
	// Measure is empty when the system was left out as a whole.
	Measure string `json:"measure,omitempty"`
	Round   int    `json:"round,omitempty"`
	Reason  string `json:"reason"`
}

// A Machine is what a benchmark ran on.
type Machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Virtual    bool   `json:"virtual"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Iperf      string `json:"iperf3"`
	Congestion string `json:"congestion"`
}

// Results are everything that a run found. Samples come first; the rest is
// computed from them by [Results.Finish].
type Results struct {
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took_ns"`
	Rounds  int           `json:"rounds"`
	Seconds int           `json:"seconds"` // of one measurement
	Quick   bool          `json:"quick"`
	Machine Machine       `json:"machine"`
	Wires   []Wire        `json:"wires"`
	Systems []System      `json:"systems"`
	Gaps    []Gap         `json:"gaps"`
	Samples []Sample      `json:"samples"`
	Summary []Row         `json:"summary"`
	Bars    []Verdict     `json:"bars"`
}

// A Row sums up the samples of one metric of one system on one wire.
type Row struct {
	Wire   string    `json:"wire"`
	Metric Metric    `json:"metric"`
	System string    `json:"system"`
	Value  Quartiles `json:"value"`
	// Ratio is to the kernel's vxlan device in the same round; nil where
	// there is none or it means nothing.
	Ratio *Quartiles `json:"ratio,omitempty"`
}

// Add adds a sample.
func (r *Results) Add(wire string, m Metric, round int, system string, value float64) {
	r.Samples = append(r.Samples, Sample{wire, m, round, system, value})
}

// Finish computes the summary and the verdicts from the samples.
func (r *Results) Finish() {
	r.Summary = nil
	for _, w := range r.Wires {
		for _, m := range metrics() {
			for _, s := range r.Systems {
				values := r.values(w.Name, m.metric, s.Name)
				if len(values) == 0 {
					continue
				}
				row := Row{Wire: w.Name, Metric: m.metric, System: s.Name, Value: Of(slices.Collect(maps.Values(values)))}
				if ratios := compare(values, r.values(w.Name, m.metric, kernelName), ratio); m.ratio && len(ratios) > 0 {
					q := Of(ratios)
					row.Ratio = &q
				}
				r.Summary = append(r.Summary, row)
			}
		}
	}
	r.Bars = r.judge()
}

// values are a system's values by round.
func (r *Results) values(wire string, m Metric, system string) map[int]float64 {
	out := map[int]float64{}
	for _, s := range r.Samples {
		if s.Wire == wire && s.Metric == m && s.System == system {
			out[s.Round] = s.Value
		}
	}
	return out
}

func ratio(a, b float64) float64      { return a / b }
func difference(a, b float64) float64 { return a - b }

// compare applies f to the two values of each round that has both.
func compare(a, b map[int]float64, f func(a, b float64) float64) []float64 {
	var out []float64
	for round, v := range a {
		if w, ok := b[round]; ok && w != 0 {
			out = append(out, f(v, w))
		}
	}
	return out
}

// row finds a row of the summary.
func (r *Results) row(wire string, m Metric, system string) *Row {
	for i, row := range r.Summary {
		if row.Wire == wire && row.Metric == m && row.System == system {
			return &r.Summary[i]
		}
	}
	return nil
}

// system finds a system.
func (r *Results) system(name string) System {
	for _, s := range r.Systems {
		if s.Name == name {
			return s
		}
	}
	return System{Name: name, Title: name}
}

// WriteJSON writes the results to a file.
func (r *Results) WriteJSON(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// ReadJSON reads results that WriteJSON wrote.
func ReadJSON(file string) (*Results, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Results
	return &r, json.Unmarshal(b, &r)
}
