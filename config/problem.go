package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// A Problem is one thing wrong, or seldom meant, with where it stands.
type Problem struct {
	File string
	Line int    // from 1; 0 when no line is to blame
	Path string // such as segments[0].remotes[1], or --vni for a flag
	Text string // a sentence that helps
}

// String is FILE:LINE: path.to.key: sentence; parts that are not known are
// left out.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems is the error of a configuration that is refused: all that is wrong
// with it at once, in the order of the lines.
type Problems struct{ List []Problem }

// Error is a line a problem.
func (p *Problems) Error() string { return p.String() }

// String is a line a problem.
func (p *Problems) String() string {
	lines := make([]string, len(p.List))
	for i, one := range p.List {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// report collects problems and warnings while a configuration is read.
type report struct {
	file     string
	problems []Problem
	warnings []Problem
}

func (r *report) refuse(line int, path, format string, args ...any) {
	r.problems = append(r.problems, r.problem(line, path, format, args))
}

func (r *report) warn(line int, path, format string, args ...any) {
	r.warnings = append(r.warnings, r.problem(line, path, format, args))
}

// problem keeps to one line whatever the file holds: its bytes go to terminals
// and logs.
func (r *report) problem(line int, path, format string, args []any) Problem {
	text := strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return '?'
	}, fmt.Sprintf(format, args...))
	return Problem{r.file, line, path, text}
}

// err is nil or a *Problems, sorted by line and without repetition.
func (r *report) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return &Problems{sorted(r.problems)}
}

// sorted puts the list in the order of the lines. What underlay says is read
// once a segment, so the same problem may have been found several times.
func sorted(list []Problem) []Problem {
	seen := make(map[Problem]bool, len(list))
	list = slices.DeleteFunc(list, func(p Problem) bool {
		again := seen[p]
		seen[p] = true
		return again
	})
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return list
}

// at says where something stands that is also given elsewhere. Flags have no
// lines.
func at(line int) string {
	if line == 0 {
		return "before"
	}
	return fmt.Sprintf("at line %d", line)
}

// quote makes foreign text fit for a message of one line.
func quote(s string) string {
	const limit = 80
	if len(s) > limit {
		return fmt.Sprintf("%q...", s[:limit])
	}
	return fmt.Sprintf("%q", s)
}
