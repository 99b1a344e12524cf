package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The measures of a picture in pixels.
const (
	pictureWidth = 760
	labelWidth   = 240
	valueWidth   = 130
	barHeight    = 18
	barGap       = 8
	titleHeight  = 44
	axisHeight   = 28
)

// A chartBar is one system in a picture.
type chartBar struct {
	label, class string
	value        Quartiles
	text         string // after the bar
}

// style lets a picture be read on light and on dark paper.
const style = `<style>
text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}.s{fill:#57606a}
.g{stroke:#d0d7de}.w{stroke:#24292f;stroke-width:1.5}
.bare{fill:#b1bac4}.kernel{fill:#8c959f}.vtepd{fill:#2da44e}.peer{fill:#d4a72c}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9198a1}.g{stroke:#3d444d}.w{stroke:#e6edf3}
.bare{fill:#3d444d}.kernel{fill:#656c76}.vtepd{fill:#3fb950}.peer{fill:#bb8009}}
</style>
`

// SVG draws one metric on one wire: a bar a system up to its median, with a
// whisker over the quartiles. It is empty when nothing was measured.
func (r *Results) SVG(wire Wire, metric Metric) string {
	for _, m := range metrics() {
		if m.metric != metric {
			continue
		}
		var bars []chartBar
		for _, s := range r.Systems {
			row := r.row(wire.Name, metric, s.Name)
			if row == nil {
				continue
			}
			text := number(row.Value.Median, m.digits)
			if row.Ratio != nil && s.Name != kernelName {
				text += " (" + number(row.Ratio.Median, 2) + " ×)"
			}
			bars = append(bars, chartBar{s.Title, s.Kind, row.Value, text})
		}
		if len(bars) == 0 {
			return ""
		}
		better := "more is better"
		if m.lower {
			better = "less is better"
		}
		subtitle := m.unit + ", " + better
		if m.ratio {
			subtitle += "; × is the ratio to kernel vxlan in the same round"
		}
		return draw(m.title+" — "+wire.Title, subtitle, bars)
	}
	return ""
}

// draw draws horizontal bars.
func draw(title, subtitle string, bars []chartBar) string {
	top := 0.0
	for _, b := range bars {
		top = math.Max(top, math.Max(b.value.Q3, b.value.Median))
	}
	step := niceStep(top)
	top = math.Max(math.Ceil(top/step), 1) * step
	plot := float64(pictureWidth - labelWidth - valueWidth)
	x := func(v float64) float64 { return labelWidth + v/top*plot }
	bottom := titleHeight + len(bars)*(barHeight+barGap)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">`+"\n%s",
		pictureWidth, bottom+axisHeight, pictureWidth, bottom+axisHeight, html.EscapeString(title), style)
	fmt.Fprintf(&b, `<text class="t" x="4" y="16">%s</text><text class="s" x="4" y="33">%s</text>`+"\n",
		html.EscapeString(title), html.EscapeString(subtitle))
	for i := 0; float64(i)*step <= top*1.0001; i++ {
		v := float64(i) * step
		fmt.Fprintf(&b, `<line class="g" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="s" x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(v), titleHeight-2, x(v), bottom, x(v), bottom+16, trimmed(v))
	}
	for i, bar := range bars {
		y := titleHeight + i*(barHeight+barGap)
		middle := float64(y) + barHeight/2.0
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`, labelWidth-8, middle+4, html.EscapeString(bar.label))
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, bar.class, labelWidth, y, x(bar.value.Median)-labelWidth, barHeight)
		fmt.Fprintf(&b, `<path class="w" fill="none" d="M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8"/>`,
			x(bar.value.Q1), middle, x(bar.value.Q3), x(bar.value.Q1), middle-4, x(bar.value.Q3), middle-4)
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f">%s</text>`+"\n", x(math.Max(bar.value.Q3, bar.value.Median))+6, middle+4, html.EscapeString(bar.text))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// niceStep is a round distance of axis marks, about five of them up to top.
func niceStep(top float64) float64 {
	if top <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(top/5)))
	for _, f := range []float64{1, 2, 5} {
		if top/(f*power) <= 6 {
			return f * power
		}
	}
	return 10 * power
}

// trimmed is a number of the axis without needless digits.
func trimmed(v float64) string {
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}
