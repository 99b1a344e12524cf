package report

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// table is a Markdown table that is readable as plain text too. All columns
// but the first are aligned to the right.
func table(head []string, rows [][]string) string {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c), 3)
		}
	}
	var b strings.Builder
	line := func(cells []string) {
		for i, c := range cells {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if i == 0 {
				b.WriteString("| " + c + pad)
			} else {
				b.WriteString(" | " + pad + c)
			}
		}
		b.WriteString(" |\n")
	}
	line(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = strings.Repeat("-", width[i]-1) + ":"
	}
	rule[0] = strings.Repeat("-", width[0])
	line(rule)
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

func number(v float64, digits int) string { return fmt.Sprintf("%.*f", digits, v) }

// span is the quartiles as "low–high".
func span(q Quartiles, digits int) string {
	return number(q.Q1, digits) + "–" + number(q.Q3, digits)
}

// Overview is a table of one wire: a line a system, a column a metric, each
// with the median and, in brackets, the median of the ratios to the kernel's
// vxlan device.
func (r *Results) Overview(wire string) string {
	var shown []metricInfo
	head := []string{"system"}
	for _, m := range metrics() {
		for _, row := range r.Summary {
			if row.Wire == wire && row.Metric == m.metric {
				shown = append(shown, m)
				head = append(head, shortTitle(m))
				break
			}
		}
	}
	var rows [][]string
	for _, s := range r.Systems {
		cells, some := []string{s.Title}, false
		for _, m := range shown {
			cell := ""
			if row := r.row(wire, m.metric, s.Name); row != nil {
				cell, some = number(row.Value.Median, m.digits), true
				if row.Ratio != nil && s.Name != kernelName {
					cell += " [" + number(row.Ratio.Median, 2) + "]"
				}
			}
			cells = append(cells, cell)
		}
		if some {
			rows = append(rows, cells)
		}
	}
	return table(head, rows)
}

// shortTitle names a metric in the head of a column.
func shortTitle(m metricInfo) string {
	short := map[Metric]string{TCP1: "TCP 1", TCP4: "TCP 4", Bidir: "TCP both ways", CPU: "CPU", UDP64: "UDP 64 B",
		RR50: "RR p50", RR99: "RR p99", RSS: "RSS", IdleCPU: "idle CPU", IdleRSS: "idle RSS",
		FDBFew: "FDB 1,000", FDBMany: "FDB 1,000 of 1,000,000", FDBAll: "FDB 1,000,000", FDBBytes: "FDB entry", FloodCPU: "copy, CPU", FloodTime: "copy, time"}[m.metric]
	return short + ", " + m.unit
}

// Detail is a table of one metric on one wire, with quartiles. It is empty when
// nothing was measured.
func (r *Results) Detail(wire string, metric Metric) string {
	var rows [][]string
	var info metricInfo
	for _, m := range metrics() {
		if m.metric == metric {
			info = m
		}
	}
	for _, s := range r.Systems {
		row := r.row(wire, metric, s.Name)
		if row == nil {
			continue
		}
		cells := []string{s.Title, number(row.Value.Median, info.digits), span(row.Value, info.digits)}
		if info.ratio {
			median, quartiles := "", ""
			if row.Ratio != nil {
				median, quartiles = number(row.Ratio.Median, 2), span(*row.Ratio, 2)
			}
			cells = append(cells, median, quartiles)
		}
		rows = append(rows, append(cells, fmt.Sprint(row.Value.N)))
	}
	if len(rows) == 0 {
		return ""
	}
	head := []string{"system", "median, " + info.unit, "quartiles"}
	if info.ratio {
		head = append(head, "× kernel vxlan", "quartiles")
	}
	return table(append(head, "rounds"), rows)
}

// BarTable is the table of the bars.
func (r *Results) BarTable() string {
	var rows [][]string
	for _, v := range r.Bars {
		aim, value, quartiles := "", "", ""
		if v.Aim != nil {
			aim = number(*v.Aim, v.digits)
		}
		if v.Value.N > 0 {
			value, quartiles = number(v.Value.Median, v.digits), span(v.Value, v.digits)
		}
		sign, unit := "≥ ", v.Unit
		if v.AtMost {
			sign = "≤ "
		}
		if v.Against != "" {
			unit = "× " + v.Against
		}
		rows = append(rows, []string{v.Bar, unit, value, quartiles, sign + number(v.Floor, v.digits),
			sign + number(v.Goal, v.digits), aim, v.Verdict})
	}
	return table([]string{"bar", "in", "median", "quartiles", "floor", "goal", "aim", "reached"}, rows)
}

// GapTable lists what was not measured and why. It is empty when there is
// nothing.
func (r *Results) GapTable() string {
	var rows [][]string
	for _, g := range r.Gaps {
		what := "all"
		if g.Measure != "" {
			what = fmt.Sprintf("%s, round %d", g.Measure, g.Round)
		}
		reason := strings.Join(strings.Fields(g.Reason), " ")
		const most = 300
		if len(reason) > most {
			reason = reason[:most] + "…"
		}
		rows = append(rows, []string{r.system(g.System).Title, g.Wire, what, strings.ReplaceAll(reason, "|", "/")})
	}
	if len(rows) == 0 {
		return ""
	}
	return table([]string{"system", "wire", "left out", "reason"}, rows)
}
