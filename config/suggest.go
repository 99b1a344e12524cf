package config

import (
	"slices"
	"strings"
)

// unknownKey is the sentence for a key that is not among known.
func unknownKey(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	if slices.Contains(segmentKeys(), name) {
		return "unknown key here; it belongs into a segment"
	}
	return "unknown key; known here are " + strings.Join(known, ", ")
}

// some names the words, of many the first.
func some(words []string) string {
	const enough = 5
	if len(words) <= enough {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:enough], ", ") + " and others"
}

// nearest is the word of known that name was likely meant to be, or "".
func nearest(name string, known []string) string {
	if len(name) > 64 { // far longer than any key: not worth comparing
		return ""
	}
	name = strings.ReplaceAll(strings.ToLower(name), "-", "_")
	best, least := "", min(3, len(name)/3+1)
	for _, k := range known {
		if d := distance(name, k); d < least || d == 0 {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of bytes to insert, delete, replace, or swap with
// their neighbour.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			d[i][j] = min(replace, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
