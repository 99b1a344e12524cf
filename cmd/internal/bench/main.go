// Bench is what `make bench` runs: vtepd, the kernel's vxlan device and other
// overlays between network namespaces on this machine, measured in interleaved
// rounds. docs/performance.md says how to read what it writes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"vtepd/cmd/internal/bench/overlay"
	"vtepd/cmd/internal/bench/report"
)

// options are the command line.
type options struct {
	bin, out, publish, from string
	only, measures          string
	rounds, seconds         int
	quick, list, strict     bool
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`folder` of vtepd and vtepctl")
	flag.StringVar(&o.out, "out", "out/bench", "`folder` for results and for programs that are built for the comparison")
	flag.StringVar(&o.publish, "publish", "", "`folder` of performance.md, whose figures and pictures are replaced")
	flag.StringVar(&o.from, "from", "", "measure nothing, report the results of an earlier run from this `file`")
	flag.StringVar(&o.only, "only", "", "`systems` to measure, with commas (default all); the kernel's device always is")
	flag.StringVar(&o.measures, "measures", "", "`measures` to take, with commas (default all)")
	flag.IntVar(&o.rounds, "rounds", 0, "`number` of rounds (default 11, quick 3)")
	flag.IntVar(&o.seconds, "seconds", 1, "`seconds` of one measurement")
	flag.BoolVar(&o.quick, "quick", false, "the kernel's device and vtepd only, the main measures")
	flag.BoolVar(&o.list, "list", false, "list systems, measures and wires")
	flag.BoolVar(&o.strict, "strict", false, "exit 1 when a floor is missed")
	flag.Parse()
	if err := run(&o); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(o *options) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("what is %q?", flag.Arg(0))
	}
	p, err := newPlan(o.quick, o.rounds, o.seconds, o.only, o.measures)
	if err != nil {
		return err
	}
	if o.list {
		list()
		return nil
	}
	if o.from != "" {
		res, err := report.ReadJSON(o.from)
		if err != nil {
			return err
		}
		return o.report(res)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r := &runner{plan: p, bin: bin, tools: filepath.Join(o.out, "tools"), idleTime: idleTime,
		res: &report.Results{Started: time.Now(), Rounds: p.rounds, Seconds: p.seconds, Quick: p.quick, Machine: machine()}}
	progress("%d systems, %d rounds, %d s a measurement: about %.0f minutes", len(p.systems), p.rounds, p.seconds, max(1, p.estimate().Minutes()))
	err = r.all(ctx)
	r.res.Took = time.Since(r.res.Started)
	return errors.Join(err, o.report(r.res))
}

// report writes the results and says them.
func (o *options) report(res *report.Results) error {
	res.Finish()
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	_, err := res.Pictures(filepath.Join(o.out, "pictures"))
	err = errors.Join(err,
		res.WriteJSON(filepath.Join(o.out, "results.json")),
		os.WriteFile(filepath.Join(o.out, "results.md"), []byte("# vtepd, measured\n\n"+res.Markdown("pictures")), 0o644))
	if o.publish != "" {
		err = errors.Join(err, res.Publish(o.publish))
	}
	for _, w := range res.Wires {
		fmt.Printf("\n%s: medians, in brackets the median of the ratios to kernel vxlan\n\n%s", w.Title, res.Overview(w.Name))
	}
	if gaps := res.GapTable(); gaps != "" {
		fmt.Printf("\nLeft out\n\n%s", gaps)
	}
	fmt.Printf("\nThe bars\n\n%s\nAll figures: %s/results.md, results.json, pictures/\n", res.BarTable(), o.out)
	missed := slices.ContainsFunc(res.Bars, func(v report.Verdict) bool { return v.Verdict == report.Missed })
	if o.strict && missed {
		err = errors.Join(err, errors.New("a floor is missed"))
	}
	return err
}

func list() {
	fmt.Println("systems")
	for _, s := range overlay.All() {
		fmt.Printf("  %-18s %s\n", s.Name, s.Title)
	}
	fmt.Println("measures")
	for _, m := range measures() {
		fmt.Printf("  %-18s %s\n", m.name, m.title)
	}
	fmt.Println("wires")
	for _, w := range wires() {
		fmt.Printf("  %-18s %s\n", w.Name, w.Title)
	}
}
