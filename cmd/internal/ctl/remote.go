package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
)

func (a *app) remote() *cobra.Command {
	return a.command(object{
		name: "remote", short: "the VTEPs that segments know",
		long: `The VTEPs that segments know. add and del change the flood list: where frames to
unknown and group MACs go. A change is kept across reloads, not across restarts.`,
		show:  verb{args: "[dev DEV|segment VNI]", short: "show all VTEPs", prepare: a.remoteShow},
		verbs: []verb{a.remoteChange(api.OpAdd, "flood to a VTEP"), a.remoteChange(api.OpDel, "flood to a VTEP no longer")},
	})
}

func (a *app) remoteShow() (*grammar, action) {
	var g grammar
	var s api.Selector
	g.selector(&s)
	return &g, func(ctx context.Context, c *control.Client) error {
		return printList(a, remoteLine)(c.Remotes(ctx, s))
	}
}

func (a *app) remoteChange(op api.Op, short string) verb {
	v := verb{name: string(op), args: "IP[:PORT] [vni N] [dev DEV|segment VNI]", short: short}
	if op == api.OpDel {
		v.aliases = []string{"delete"}
	}
	v.prepare = func() (*grammar, action) {
		var g grammar
		c := api.RemoteChange{Op: op}
		g.argument("IP[:PORT]", setDestination(&c.IP, &c.Port))
		g.destination(&c.Port, &c.VNI)
		g.selector(&c.Selector)
		return &g, func(ctx context.Context, client *control.Client) error {
			return a.result(client.RemoteChange(ctx, c))
		}
	}
	return v
}

func (a *app) neigh() *cobra.Command {
	return a.command(object{
		name: "neigh", aliases: []string{"neighbour", "neighbor"}, short: "overlay addresses and their MACs",
		long: `Overlay addresses and their MACs: what segments with suppress answer ARP and
neighbour solicitations from. A change is kept across reloads, not across
restarts.`,
		show: verb{args: "[IP] [dev DEV|segment VNI]", short: "show all neighbours", prepare: a.neighShow},
		verbs: []verb{
			a.neighChange(api.OpAdd, "add a neighbour"),
			a.neighChange(api.OpReplace, "add a neighbour in place of what the address has"),
			a.neighChange(api.OpDel, "delete a neighbour"),
		},
	})
}

func (a *app) neighShow() (*grammar, action) {
	var g grammar
	var s api.Selector
	var only netip.Addr
	g.args = append(g.args, argument{name: "IP", optional: true, set: setAddr(&only)})
	g.selector(&s)
	return &g, func(ctx context.Context, c *control.Client) error {
		all, err := c.Neighbours(ctx, s)
		if err != nil {
			return err
		}
		chosen := []api.Neighbour{}
		for _, n := range all {
			if !only.IsValid() || n.IP == only {
				chosen = append(chosen, n)
			}
		}
		return printList(a, neighLine)(chosen, nil)
	}
}

func (a *app) neighChange(op api.Op, short string) verb {
	v := verb{name: string(op), args: "IP lladdr MAC [dev DEV|segment VNI]", short: short}
	if op == api.OpDel {
		v.args, v.aliases = "IP [dev DEV|segment VNI]", []string{"delete"}
	}
	v.prepare = func() (*grammar, action) {
		var g grammar
		c := api.NeighChange{Op: op}
		g.argument("IP", setAddr(&c.IP))
		g.option("lladdr", "MAC", setMAC(&c.MAC))
		g.selector(&c.Selector)
		g.option("nud", "permanent", permanentOnly)
		g.ignored("permanent")
		return &g, func(ctx context.Context, client *control.Client) error {
			if op != api.OpDel && c.MAC.IsZero() {
				return errors.New("neigh " + string(op) + ": lladdr MAC is missing")
			}
			return a.result(client.NeighChange(ctx, c))
		}
	}
	return v
}

// permanentOnly takes the one state of ip's that neighbours made here have.
func permanentOnly(s string) error {
	if s != "permanent" {
		return fmt.Errorf("%q is not a state of neighbours made here, which are permanent", s)
	}
	return nil
}
