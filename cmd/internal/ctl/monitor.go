package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
)

func (a *app) monitor() *cobra.Command {
	return a.leaf(verb{
		name: "monitor", args: "[fdb] [remote] [neigh] [route]", short: "print changes as they happen",
		long: `Prints changes as they happen, until interrupted: those of the kinds named, or
all of them, then with the kind in front. With -j each line is a JSON document.`,
		prepare: a.monitorPrepare,
	})
}

func (a *app) monitorPrepare() (*grammar, action) {
	var g grammar
	var kinds []api.Kind
	for _, k := range api.Kinds() {
		g.flag(string(k), func() error {
			kinds = append(kinds, k)
			return nil
		})
	}
	g.flag("all", func() error {
		kinds = api.Kinds()
		return nil
	})
	return &g, func(ctx context.Context, c *control.Client) error {
		slices.Sort(kinds)
		m, err := c.Monitor(ctx, slices.Compact(kinds)...)
		if err == nil {
			err = a.follow(m, len(kinds) != 1)
			_ = m.Close() // nothing more is read
		}
		if ctx.Err() != nil { // interrupted, as monitors end, be it before the first answer
			return nil
		}
		return err
	}
}

// follow prints events until the monitor ends.
func (a *app) follow(m *control.Monitor, labels bool) error {
	for {
		e, err := m.Next()
		if err != nil {
			return err
		}
		if a.json {
			err = a.document(e)
		} else {
			_, err = fmt.Fprintln(a.out, eventLine(&e, labels))
		}
		if err = errors.Join(err, a.out.Flush()); err != nil {
			return err
		}
	}
}

// eventLine prints an event as `bridge monitor` does.
func eventLine(e *api.Event, label bool) string {
	s := ""
	if label {
		s = "[" + strings.ToUpper(string(e.Kind)) + "]"
	}
	if e.Action == api.Deleted {
		s += "Deleted "
	}
	switch {
	case e.FDB != nil:
		return s + fdbLine(e.FDB)
	case e.Remote != nil:
		return s + remoteLine(e.Remote)
	case e.Neigh != nil:
		return s + neighLine(e.Neigh)
	case e.Route != nil:
		return s + routeLine(e.Route)
	}
	return s + string(e.Kind) + " " + string(e.Action)
}
