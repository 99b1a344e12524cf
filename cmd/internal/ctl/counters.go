package ctl

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
)

func (a *app) counters() *cobra.Command {
	return a.command(object{
		name: "counters", short: "frames, bytes, drops and their reasons",
		long: `Frames, bytes, drops and their reasons. Units are wire frames (a super-frame
counts as those it holds) and inner bytes. RX is what the device was given, TX
the copies handed to the underlay. Text leaves out what is zero; -j has it all.`,
		show: verb{args: "[dev DEV|segment VNI]", short: "show counters", prepare: a.countersShow},
	})
}

func (a *app) countersShow() (*grammar, action) {
	var g grammar
	var s api.Selector
	g.selector(&s)
	return &g, func(ctx context.Context, c *control.Client) error {
		all, err := c.Counters(ctx, s)
		if err != nil {
			return err
		}
		if a.json {
			return a.document(all)
		}
		for i := range all.Segments {
			a.segmentCounters(&all.Segments[i])
		}
		fmt.Fprintf(a.out, "no segment: rx drops: %s; tx drops: %s\n", tally(all.Drops.Rx), tally(all.Drops.Tx))
		fmt.Fprintf(a.out, "events: %s\n", tally(all.Events))
		return nil
	}
}

// segmentCounters prints one segment in the columns of `ip -s link`.
func (a *app) segmentCounters(s *api.SegmentCounters) {
	fmt.Fprintf(a.out, "%s: segment %d\n", s.Device, s.VNI)
	row := func(name string, columns ...any) {
		fmt.Fprintf(a.out, "    %-3s %16v %12v %10v %10v\n", append([]any{name}, columns...)...)
	}
	row("RX:", "bytes", "frames", "dropped", "")
	row("", s.Rx.Bytes, s.Rx.Frames, s.Drops.Rx.Sum(), "")
	row("TX:", "bytes", "frames", "dropped", "consumed")
	row("", s.Tx.Bytes, s.Tx.Frames, s.Drops.Tx.Sum(), s.Consumed.Sum())
	fmt.Fprintf(a.out, "    rx drops: %s\n", tally(s.Drops.Rx))
	fmt.Fprintf(a.out, "    tx drops: %s\n", tally(s.Drops.Tx))
	fmt.Fprintf(a.out, "    consumed: %s\n", tally(s.Consumed))
	fmt.Fprintf(a.out, "    fdb: entries %d learned %d moved %d aged %d full %d\n",
		s.FDB.Entries, s.FDB.Learned, s.FDB.Moved, s.FDB.Aged, s.FDB.Full)
	for i := range s.Remotes {
		r := &s.Remotes[i]
		fmt.Fprintf(a.out, "    remote %v%s: rx %d frames %d bytes, tx %d frames %d bytes, errors: %s\n",
			r.IP, place(r.Port, r.VNI, s.VNI), r.Rx.Frames, r.Rx.Bytes, r.Tx.Frames, r.Tx.Bytes, tally(r.Errors))
	}
}

// tally prints what is not zero, by name.
func tally(t api.Tally) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if t[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, t[name]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}
