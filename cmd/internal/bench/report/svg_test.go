package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// elements reads a picture, which must be well-formed XML.
func elements(t *testing.T, text string) []xml.StartElement {
	t.Helper()
	var out []xml.StartElement
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if e, ok := tok.(xml.StartElement); ok {
			out = append(out, e.Copy())
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func TestPicture(t *testing.T) {
	r := sample()
	text := r.SVG(r.Wires[0], TCP1)
	var widths []float64
	var classes []string
	for _, e := range elements(t, text) {
		if e.Name.Local != "rect" {
			continue
		}
		w, err := strconv.ParseFloat(attr(e, "width"), 64)
		if err != nil {
			t.Fatal(err)
		}
		widths, classes = append(widths, w), append(classes, attr(e, "class"))
	}
	if got, want := strings.Join(classes, " "), "kernel vtepd peer peer"; got != want {
		t.Errorf("bars of %s, want %s", got, want)
	}
	if len(widths) == 4 && math.Abs(widths[3]/widths[2]-2) > 0.05 {
		t.Errorf("a value twice as high has a bar of %.1f against %.1f", widths[3], widths[2])
	}
	for _, want := range []string{"slow &lt;&amp;&gt; peer", "8.00 (0.80 ×)", "prefers-color-scheme:dark", "more is better"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the picture", want)
		}
	}
	t.Run("of nothing", func(t *testing.T) {
		if got := r.SVG(r.Wires[1], TCP1); got != "" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("of zeros", func(t *testing.T) {
		text := r.SVG(r.Wires[0], IdleCPU)
		elements(t, text)
		if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
			t.Errorf("no number in\n%s", text)
		}
	})
}

func TestAxisMarks(t *testing.T) {
	for _, c := range []struct{ top, want float64 }{{0, 1}, {0.03, 0.005}, {1, 0.2}, {9.4, 2}, {17.5, 5}, {260, 50}, {1000, 200}} {
		if got := niceStep(c.top); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("up to %v: a mark every %v, want %v", c.top, got, c.want)
		}
	}
}

func TestPublish(t *testing.T) {
	r, docs := sample(), t.TempDir()
	file := filepath.Join(docs, "performance.md")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "before\n"+beginMark+"\nold figures\n"+endMark+"\nafter\n")
	write(filepath.Join(docs, "performance", "old.svg"), "<svg/>")
	for range 2 { // the second changes nothing
		if err := r.Publish(docs); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n" + beginMark, endMark + "\nafter\n", "(performance/tcp1-1500.svg)"} {
		if strings.Count(string(text), want) != 1 {
			t.Errorf("%q is not there once in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "old figures") {
		t.Error("the old figures are still there")
	}
	pictures, err := filepath.Glob(filepath.Join(docs, "performance", "*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if len(pictures) != 4 {
		t.Errorf("pictures %v, want one each of TCP, processor time, request/response and idle", pictures)
	}
	t.Run("not into a document without marks", func(t *testing.T) {
		write(file, "no marks\n")
		if err := r.Publish(docs); err == nil {
			t.Error("no error")
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != "no marks\n" {
			t.Errorf("the document is now %q, %v", text, err)
		}
	})
}
