package report

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample are results of two rounds in a machine whose speed halved between
// them. vtepd has 0.8 of the kernel's device in both.
func sample() *Results {
	r := &Results{Rounds: 2, Seconds: 1,
		Wires: []Wire{{Wire1500, "MTU 1500"}, {Wire9000, "MTU 9000"}},
		Systems: []System{
			{Name: "kernel", Title: "kernel vxlan", Kind: "kernel"},
			{Name: "vtepd", Title: "vtepd (automatic tier)", Kind: "vtepd", Version: "v1", Note: "the offload tier"},
			{Name: "slow", Title: "slow <&> peer", Kind: "peer"},
			{Name: "fast", Title: "fast peer", Kind: "peer"},
			{Name: "gone", Title: "gone", Kind: "peer"},
		},
		Gaps: []Gap{{Wire: Wire1500, System: "gone", Reason: "it has\n no | device"}},
	}
	for round, speed := range []float64{1, 0.5} {
		for name, v := range map[string]float64{"kernel": 10, "vtepd": 8, "slow": 1, "fast": 2} {
			r.Add(Wire1500, TCP1, round+1, name, v*speed)
		}
		r.Add(Wire1500, RR50, round+1, "kernel", 20/speed)
		r.Add(Wire1500, RR50, round+1, "vtepd", 20/speed+30)
		r.Add(Wire1500, IdleCPU, round+1, "vtepd", 0)
		r.Add(Wire1500, CPU, round+1, "vtepd", 1.7)
	}
	r.Add(Wire1500, TCP1, 3, "vtepd", 100) // the kernel's device failed in this round
	r.Finish()
	return r
}

func TestRatiosAreTakenInsideARound(t *testing.T) {
	row := sample().row(Wire1500, TCP1, "vtepd")
	if row == nil || row.Ratio == nil {
		t.Fatalf("no ratio in %+v", row)
	}
	if want := (Quartiles{0.8, 0.8, 0.8, 2}); *row.Ratio != want {
		t.Errorf("ratio %+v, want %+v", *row.Ratio, want)
	}
	if want := (Quartiles{6, 8, 54, 3}); row.Value != want {
		t.Errorf("value %+v, want %+v", row.Value, want)
	}
}

func TestNoRatioWhereItMeansNothing(t *testing.T) {
	if row := sample().row(Wire1500, IdleCPU, "vtepd"); row == nil || row.Ratio != nil {
		t.Errorf("got %+v, want a row without a ratio", row)
	}
}

func TestResultsSurviveTheirFile(t *testing.T) {
	r := sample()
	file := filepath.Join(t.TempDir(), "results.json")
	if err := r.WriteJSON(file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	got.Finish()
	if diff := cmp.Diff(r.Markdown("x"), got.Markdown("x")); diff != "" {
		t.Errorf("another report (-before +after):\n%s", diff)
	}
}

func verdicts(r *Results) map[string]Verdict {
	out := map[string]Verdict{}
	for _, v := range r.Bars {
		out[v.Bar] = v
	}
	return out
}

func TestBars(t *testing.T) {
	got := verdicts(sample())
	for _, c := range []struct {
		bar     string
		value   float64
		verdict string
	}{
		{"TCP, 1 stream, MTU 1500", 0.8, ReachedGoal},
		{"TCP, 1 stream, against the best userspace peer", 4, ReachedOnly},
		{"request/response, median above kernel vxlan", 30, ReachedOnly},
		{"processor time, whole machine", 1.7, ReachedOnly},
		{"idle daemon, processor time", 0, ReachedGoal},
		{"TCP, 1 stream, MTU 9000", 0, NotMeasured},
		{"64-byte UDP received", 0, NotMeasured},
	} {
		t.Run(c.bar, func(t *testing.T) {
			v, ok := got[c.bar]
			if !ok {
				t.Fatal("there is no such bar")
			}
			if math.Abs(v.Value.Median-c.value) > 1e-9 || v.Verdict != c.verdict {
				t.Errorf("got %v (%s), want %v (%s)", v.Value.Median, v.Verdict, c.value, c.verdict)
			}
		})
	}
	if v := got["TCP, 1 stream, against the best userspace peer"]; v.Against != "fast peer" {
		t.Errorf("the best peer is %q", v.Against)
	}
}

func TestVerdictsAtTheMarks(t *testing.T) {
	more := bar{floor: 0.5, goal: 0.7, aim: 0.9}
	less := bar{floor: 40, goal: 25, aim: 15, atMost: true}
	noAim := bar{floor: 30, goal: 30, aim: math.NaN(), atMost: true}
	for _, c := range []struct {
		name  string
		bar   bar
		value float64
		want  string
	}{
		{"under the floor", more, 0.499, Missed},
		{"the floor itself", more, 0.5, ReachedOnly},
		{"the goal itself", more, 0.7, ReachedGoal},
		{"the aim itself", more, 0.9, ReachedAim},
		{"above a most", less, 40.1, Missed},
		{"the most itself", less, 40, ReachedOnly},
		{"the goal of a most", less, 25, ReachedGoal},
		{"the aim of a most", less, 3, ReachedAim},
		{"no aim to reach", noAim, 0, ReachedGoal},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.bar.verdict(Quartiles{Median: c.value, N: 1}); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// TestFloorsGoalsAndAimsAreInOrder guards the table of bars against a slip.
func TestFloorsGoalsAndAimsAreInOrder(t *testing.T) {
	for _, b := range bars() {
		up := b.floor <= b.goal && (math.IsNaN(b.aim) || b.goal <= b.aim)
		down := b.floor >= b.goal && (math.IsNaN(b.aim) || b.goal >= b.aim)
		if b.atMost && !down || !b.atMost && !up {
			t.Errorf("%s: %v, %v, %v", b.title, b.floor, b.goal, b.aim)
		}
	}
}

func TestTables(t *testing.T) {
	r := sample()
	want := strings.Join([]string{
		"| system                 | TCP 1, Gbit/s | CPU, s/GByte | RR p50, µs | idle CPU, % of a core |",
		"| ---------------------- | ------------: | -----------: | ---------: | --------------------: |",
		"| kernel vxlan           |          7.50 |              |         30 |                       |",
		"| vtepd (automatic tier) |   8.00 [0.80] |         1.70 |  60 [2.12] |                 0.000 |",
		"| slow <&> peer          |   0.75 [0.10] |              |            |                       |",
		"| fast peer              |   1.50 [0.20] |              |            |                       |", "",
	}, "\n")
	if diff := cmp.Diff(want, r.Overview(Wire1500)); diff != "" {
		t.Errorf("overview (-want +got):\n%s", diff)
	}
	want = strings.Join([]string{
		"| system                 | median, Gbit/s |  quartiles | × kernel vxlan | quartiles | rounds |",
		"| ---------------------- | -------------: | ---------: | -------------: | --------: | -----: |",
		"| kernel vxlan           |           7.50 |  6.25–8.75 |           1.00 | 1.00–1.00 |      2 |",
		"| vtepd (automatic tier) |           8.00 | 6.00–54.00 |           0.80 | 0.80–0.80 |      3 |",
		"| slow <&> peer          |           0.75 |  0.62–0.88 |           0.10 | 0.10–0.10 |      2 |",
		"| fast peer              |           1.50 |  1.25–1.75 |           0.20 | 0.20–0.20 |      2 |", "",
	}, "\n")
	if diff := cmp.Diff(want, r.Detail(Wire1500, TCP1)); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
	if got := r.Detail(Wire9000, TCP1); got != "" {
		t.Errorf("a table of nothing: %q", got)
	}
	if got := r.GapTable(); !strings.Contains(got, "| gone ") || !strings.Contains(got, "it has no / device") {
		t.Errorf("what was left out reads\n%s", got)
	}
}
