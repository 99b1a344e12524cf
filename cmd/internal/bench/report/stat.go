package report

import "slices"

// Quartiles are the middle of a set of values and its middle half.
type Quartiles struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
	N      int     `json:"n"`
}

// Of returns the quartiles of values, which it does not change. Between two
// values they are interpolated (R's type 7, the usual one). Of no values they
// are zero.
func Of(values []float64) Quartiles {
	s := slices.Sorted(slices.Values(values))
	return Quartiles{quantile(s, 0.25), quantile(s, 0.5), quantile(s, 0.75), len(s)}
}

func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}
