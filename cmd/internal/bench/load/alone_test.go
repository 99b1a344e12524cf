package load

import (
	"testing"

	"vtepd/cmd/internal/lab"
)

// TestFDB: a table of a thousand entries fits the first-level cache, one of a
// million does not.
func TestFDB(t *testing.T) {
	r, err := FDB()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f ns among few, %.1f among many, %.1f when all are in use, %.1f bytes an entry",
		PerLookup(r.Few), PerLookup(r.Many), PerLookup(r.All), r.Bytes)
	if r.Few <= 0 || r.Many <= 0 || r.All < r.Many {
		t.Errorf("lookups take %v among few, %v among many, %v when all are in use", r.Few, r.Many, r.All)
	}
	if r.Bytes < 12 || r.Bytes > 100 { // an entry holds 12 bytes
		t.Errorf("%.1f bytes an entry", r.Bytes)
	}
}

// TestBroadcast counts every copy of real frames.
func TestBroadcast(t *testing.T) {
	l := lab.Start(t)
	bin := t.TempDir()
	if err := lab.Build(bin); err != nil {
		t.Fatal(err)
	}
	h, err := l.Host("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBroadcaster(h, bin)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := b.Run()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("a copy takes %.2f µs, %.2f µs of processor time", PerCopy(r.Time), PerCopy(r.CPU))
		if r.CPU <= 0 || r.Time <= 0 {
			t.Errorf("got %+v", r)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}
