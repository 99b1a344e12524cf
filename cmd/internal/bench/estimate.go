package main

import (
	"time"

	"vtepd/cmd/internal/bench/report"
)

// What the parts of a run took on two cores, beside the seconds that are
// measured.
const (
	aroundSample = 250 * time.Millisecond  // iperf3's start, warm-up, the pause
	startTime    = 500 * time.Millisecond  // of a system
	aloneTime    = 3500 * time.Millisecond // a round of vtepd alone: tables to be filled, 300,000 copies
)

// estimate is how long a run will take, about. Every system is counted as if it
// could run.
func (p *plan) estimate() time.Duration {
	sample := time.Duration(p.seconds)*time.Second + aroundSample
	var sum time.Duration
	for _, w := range wires() {
		on := p.on(w)
		if len(on) == 0 {
			continue
		}
		if w.Name == report.Alone {
			sum += startTime + time.Duration(p.rounds+1)*aloneTime
			continue
		}
		samples, idles := 0, false
		for _, s := range on {
			for _, m := range measures() {
				switch {
				case !p.wants(w, m.name, s):
				case m.name == idle:
					idles = true
				default:
					samples++
				}
			}
		}
		if idles {
			sum += idleSettle + idleRounds*idleTime
		}
		sum += time.Duration(len(on)) * (startTime + time.Second + aroundSample) // each is warmed up for a second
		sum += time.Duration(p.rounds*samples) * sample
	}
	return sum
}
