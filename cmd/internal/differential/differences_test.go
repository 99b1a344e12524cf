package differential

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestTableOfDifferences holds the table of docs/differences.md against the
// sequences: every row is played, and what is played as a difference is a row.
func TestTableOfDifferences(t *testing.T) {
	text, err := os.ReadFile("../../../docs/differences.md")
	must(t, err)
	documented := map[string]bool{}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, " | ")
		if first, ok := strings.CutPrefix(cells[0], "| "); ok && first != "what" {
			if len(cells) != 4 {
				t.Errorf("row %q has %d cells, want what, kernel, vtepd, why", first, len(cells))
			}
			documented[first] = true
		}
	}
	played := map[string]bool{}
	for _, b := range batches() {
		for _, q := range b.sequences {
			if q.row == "" {
				continue
			}
			played[q.row] = true
			if slices.Contains(strings.Split(q.ours, " or "), q.want) && !strings.Contains(q.ours, " or ") {
				t.Errorf("%s, %s, %s is said to differ and does not", b.category, b.name, q.name)
			}
		}
	}
	for _, row := range slices.Sorted(maps.Keys(documented)) {
		if !played[row] {
			t.Errorf("docs/differences.md has a row %q that no sequence plays", row)
		}
	}
	for _, row := range slices.Sorted(maps.Keys(played)) {
		if !documented[row] {
			t.Errorf("sequences play a difference %q that docs/differences.md does not have", row)
		}
	}
}
