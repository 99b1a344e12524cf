package report

import (
	"slices"
	"testing"
)

func TestQuartiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
		want   Quartiles
	}{
		{"of nothing", nil, Quartiles{}},
		{"of one value", []float64{7}, Quartiles{7, 7, 7, 1}},
		{"of two values, between them", []float64{1, 3}, Quartiles{1.5, 2, 2.5, 2}},
		{"of five values, in any order", []float64{5, 1, 4, 2, 3}, Quartiles{2, 3, 4, 5}},
		{"of four values, as R's type 7", []float64{1, 2, 3, 4}, Quartiles{1.75, 2.5, 3.25, 4}},
		{"do not follow one that ran away", []float64{1, 1, 1, 1, 1000}, Quartiles{1, 1, 1, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.values)
			if got := Of(c.values); got != c.want {
				t.Errorf("%v: got %+v, want %+v", c.values, got, c.want)
			}
			if !slices.Equal(before, c.values) {
				t.Errorf("the values were changed to %v", c.values)
			}
		})
	}
}
