package path

import (
	"testing"
	"time"
)

func TestRest(t *testing.T) {
	for busy, want := range map[time.Duration]time.Duration{
		0:                      0,
		5 * time.Millisecond:   20 * time.Millisecond,
		100 * time.Millisecond: 250 * time.Millisecond,
		3 * time.Second:        3 * time.Second,
	} {
		if got := Rest(busy); got != want {
			t.Errorf("after %v a rest of %v, want %v", busy, got, want)
		}
	}
}
