package differential

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"vtepd/cmd/internal/lab"
)

// A sequence is steps, and what the kernel's device makes of them. vtepd must
// do the very same, frame by frame, unless row names the row of
// docs/differences.md that says why not; then ours is what it makes of them,
// "X or Y" where the tiers differ.
type sequence struct {
	name, steps, want string
	row, ours         string
}

// same is a sequence that both treat alike.
func same(name, steps, want string) sequence { return sequence{name: name, steps: steps, want: want} }

// differs is a sequence that vtepd treats differently on purpose. row is the
// first cell of its row in docs/differences.md.
func differs(row, name, steps, kernel, ours string) sequence {
	return sequence{name: name, steps: steps, want: kernel, row: row, ours: ours}
}

// A batch is sequences that share a setup.
type batch struct {
	category  string
	name      string // what is special about the setup
	setup     setup
	only      string // "IPv4" or "IPv6" underlay; "" for both
	slow      bool   // waits for ageing, so it has a stage of its own
	sequences []sequence
}

// batches are all there are.
func batches() []batch {
	return slices.Concat(learning(), ageing(), static(), flood(), loops(), ecn(), headers(), headerFaults(), innerFaults(), sizes(), entropy())
}

// A stage is lanes with the same underlay, the kernel's first.
type stage struct {
	v6    bool
	lanes []*lane
}

func newStage(t testing.TB, v6 bool, subjects ...subject) *stage {
	t.Helper()
	l := lab.Start(t)
	cpus := processors(t)
	s := &stage{v6: v6}
	t.Cleanup(func() {
		for _, n := range s.lanes {
			if err := n.close(); err != nil {
				t.Error(err)
			}
		}
	})
	for i, sub := range append([]subject{{name: "kernel"}}, subjects...) {
		n, err := newLane(l, sub, v6, string(rune('a'+i)), cpus[i%len(cpus)])
		must(t, err)
		s.lanes = append(s.lanes, n)
	}
	return s
}

// each runs f for all lanes at once.
func (s *stage) each(f func(i int, n *lane) error) error {
	errs := make([]error, len(s.lanes))
	var wg sync.WaitGroup
	for i, n := range s.lanes {
		wg.Go(func() { errs[i] = n.do(func() error { return f(i, n) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// play sets the batch up, plays it and reports each sequence with what is
// wrong about it.
func (s *stage) play(b *batch, report func(q *sequence, problems []string)) (err error) {
	started := make([]bool, len(s.lanes))
	defer func() {
		err = errors.Join(err, s.each(func(i int, n *lane) error {
			if !started[i] {
				return nil
			}
			return n.stop()
		}))
	}()
	// The kernel's device last: its ten seconds till it looks for aged entries
	// begin when it is up.
	for _, kernel := range []bool{false, true} {
		if err := s.each(func(i int, n *lane) error {
			if kernel != (i == 0) {
				return nil
			}
			err := n.start(&b.setup)
			started[i] = err == nil
			return err
		}); err != nil {
			return fmt.Errorf("%s, %s: %w", b.category, b.name, err)
		}
	}
	for _, n := range s.lanes[1:] {
		if !slices.Equal(n.base, s.lanes[0].base) {
			return fmt.Errorf("%s, %s: the FDB at the start: kernel %q, %s %q", b.category, b.name, s.lanes[0].base, n.name, n.base)
		}
	}
	for i := range b.sequences {
		q := &b.sequences[i]
		outcomes := make([]*outcome, len(s.lanes))
		if err := s.each(func(i int, n *lane) (err error) {
			outcomes[i], err = n.play(q.steps)
			return err
		}); err != nil {
			return fmt.Errorf("%s, %s, %s: %w", b.category, b.name, q.name, err)
		}
		report(q, s.judge(q, outcomes))
	}
	return nil
}

// kernelDiffers begins a problem that is the table's or the kernel's, not ours.
const kernelDiffers = "the kernel does not do what the table says"

// judge says what is wrong about the outcomes of a sequence.
func (s *stage) judge(q *sequence, outcomes []*outcome) (problems []string) {
	if got := outcomes[0].summary(); got != q.want {
		problems = append(problems, fmt.Sprintf(kernelDiffers+":\n  it says  %s\n  it does  %s", q.want, got))
	}
	for i, n := range s.lanes[1:] {
		o := outcomes[i+1]
		if q.row == "" {
			problems = append(problems, o.differences(outcomes[0], n.name)...)
		} else if got := o.summary(); !slices.Contains(strings.Split(q.ours, " or "), got) {
			problems = append(problems, fmt.Sprintf("%s does not do what the table says of its difference %q:\n  it says  %s\n  it does  %s", n.name, q.row, q.ours, got))
		}
	}
	return problems
}

// families are the underlays a batch is played over.
func (b *batch) families() []string {
	if b.only != "" {
		return []string{b.only}
	}
	return []string{"IPv4", "IPv6"}
}

// vtepds are what is compared with the kernel: the automatic and the portable
// tier.
func vtepds() []subject {
	return []subject{{"vtepd", bin, "auto"}, {"vtepd, portable tier", bin, "portable"}}
}

func TestSequences(t *testing.T) {
	for _, family := range []string{"IPv4", "IPv6"} {
		if testing.Short() && family == "IPv6" {
			continue // the short run is a glance
		}
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, family == "IPv6", vtepds()...)
			for _, b := range batches() {
				if slices.Contains(b.families(), family) && !b.slow {
					runBatch(t, s, &b)
				}
			}
		})
	}
	if testing.Short() {
		return
	}
	for _, b := range batches() {
		if b.slow {
			for _, family := range b.families() {
				t.Run(family+" "+b.name, func(t *testing.T) {
					t.Parallel()
					runBatch(t, newStage(t, family == "IPv6", vtepds()...), &b)
				})
			}
		}
	}
}

func runBatch(t *testing.T, s *stage, b *batch) {
	t.Run(b.category+", "+b.name, func(t *testing.T) {
		must(t, s.play(b, func(q *sequence, problems []string) {
			t.Run(q.name, func(t *testing.T) {
				for _, p := range problems {
					t.Error(p)
				}
			})
		}))
	})
}

// TestThereAreEnough counts the sequences, each underlay by itself.
func TestThereAreEnough(t *testing.T) {
	count, names, total := map[string]int{}, map[string]bool{}, 0
	for _, b := range batches() {
		for _, q := range b.sequences {
			count[b.category]++
			if key := b.category + b.name + b.only + q.name; names[key] {
				t.Errorf("%s, %s: there are two sequences %q", b.category, b.name, q.name)
			} else {
				names[key] = true
			}
			for _, f := range b.families() {
				count[f]++
				total++
			}
		}
	}
	for _, c := range []string{"learn, move, age", "static", "flood", "self and loop", "ECN", "TTL and TOS", "header faults", "inner faults", "sizes", "IPv4", "IPv6"} {
		if count[c] < 10 {
			t.Errorf("%d sequences of %q, want 10 or more", count[c], c)
		}
		t.Logf("%4d %s", count[c], c)
	}
	if total < 200 {
		t.Errorf("%d sequences, want 200 or more", total)
	}
	t.Logf("%4d played in all, to each of %d subjects", total, 1+len(vtepds()))
}
