package ctl

import (
	"context"
	"errors"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
	"vtepd/encap/packet"

	"github.com/spf13/cobra"
)

const fdbHelp = `The forwarding database: which MAC is behind which VTEP. The zero MAC is the
flood list, where frames to unknown and group MACs go.

An entry made here is permanent unless static or dynamic is said (dynamic
ages). It replaces what was learned, is kept across reloads, and is gone when
the daemon starts anew. vni and port are the destination's; dev and segment say
whose entry it is and may be left out when there is one segment. self and master
are accepted and say nothing.`

const flushHelp = `Deletes dynamic entries, learned ones and those made here. This is unlike
"bridge fdb flush", which takes all entries: "flush all" takes those made here in
every state, too. Entries that the configuration file or a control plane made are
never taken.

permanent, static and dynamic take only entries of that state, also without
"all"; nopermanent, nostatic and nodynamic leave entries of that state alone.
dst, vni and port take only entries with that destination.`

func (a *app) fdb() *cobra.Command {
	return a.command(object{
		name: "fdb", short: "forwarding database: MAC to VTEP", long: fdbHelp,
		show: verb{args: "[dev DEV|segment VNI]", short: "show all entries", prepare: a.fdbShow},
		verbs: []verb{
			{name: "get", args: "MAC [dev DEV|segment VNI]", short: "show the entries of one MAC", prepare: a.fdbGet},
			a.fdbChange(api.OpAdd, "add an entry for a MAC that has none but a learned one"),
			a.fdbChange(api.OpAppend, "add a destination to a group MAC or to the flood list"),
			a.fdbChange(api.OpReplace, "add an entry in place of what the MAC has"),
			a.fdbChange(api.OpDel, "delete the entry of a MAC, or with dst one of them"),
			{name: "flush", args: "[all] [dev DEV|segment VNI] [[no]permanent] [[no]static] [[no]dynamic] [dst IP] [vni N] [port P]",
				short: "delete dynamic entries; with all, static and permanent ones, too", long: flushHelp, prepare: a.fdbFlush},
		},
	})
}

func (a *app) fdbShow() (*grammar, action) {
	var g grammar
	var s api.Selector
	g.selector(&s)
	g.ignored("self", "master")
	return &g, func(ctx context.Context, c *control.Client) error {
		p := newPrinter(a, fdbLine)
		return p.end(c.FDB(ctx, s, p.print))
	}
}

func (a *app) fdbGet() (*grammar, action) {
	var g grammar
	var s api.Selector
	var mac packet.MAC
	g.argument("MAC", setMAC(&mac))
	g.selector(&s)
	g.ignored("self", "master")
	return &g, func(ctx context.Context, c *control.Client) error {
		return printList(a, fdbLine)(c.FDBGet(ctx, s, mac))
	}
}

func (a *app) fdbChange(op api.Op, short string) verb {
	v := verb{name: string(op), short: short, long: short + ".\n\n" + fdbHelp,
		args: "MAC dst IP [dev DEV|segment VNI] [vni N] [port P] [static|dynamic|permanent]"}
	if op == api.OpDel {
		v.args = "MAC [dst IP] [dev DEV|segment VNI] [vni N] [port P]"
		v.aliases = []string{"delete"}
	}
	v.prepare = func() (*grammar, action) {
		var g grammar
		c := api.FDBChange{Op: op}
		g.argument("MAC", setMAC(&c.MAC))
		g.option("dst", "IP", setDestination(&c.Dst, &c.Port))
		g.destination(&c.Port, &c.VNI)
		g.selector(&c.Selector)
		g.states(&c.State)
		g.ignored("self", "master")
		return &g, func(ctx context.Context, client *control.Client) error {
			if op != api.OpDel && !c.Dst.IsValid() {
				return errors.New("fdb " + string(op) + ": dst IP is missing")
			}
			return a.result(client.FDBChange(ctx, c))
		}
	}
	return v
}

// states takes the words for an entry's state, one of them at most.
func (g *grammar) states(to *api.State) {
	for _, s := range []api.State{api.Static, api.Dynamic, api.Permanent} {
		g.flag(string(s), func() error {
			if *to != "" {
				return errors.New("an entry is " + string(*to) + " or " + string(s) + ", not both")
			}
			*to = s
			return nil
		})
	}
}

func (a *app) fdbFlush() (*grammar, action) {
	var g grammar
	var f api.FDBFlush
	g.flag("all", func() error {
		f.All = true
		return nil
	})
	g.selector(&f.Selector)
	g.filter("permanent", &f.Permanent)
	g.filter("static", &f.Static)
	g.filter("dynamic", &f.Dynamic)
	g.option("dst", "IP", setDestination(&f.Dst, &f.Port))
	g.destination(&f.Port, &f.VNI)
	g.ignored("self", "master")
	return &g, func(ctx context.Context, c *control.Client) error {
		return a.result(c.FDBFlush(ctx, f))
	}
}

// filter takes name or noname.
func (g *grammar) filter(name string, to **bool) {
	set := func(want bool) func() error {
		return func() error {
			if *to != nil {
				return errors.New(name + " or no" + name + ", not both")
			}
			*to = &want
			return nil
		}
	}
	g.flag(name, set(true))
	g.flag("no"+name, set(false))
}
