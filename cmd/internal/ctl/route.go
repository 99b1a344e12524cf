package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
	"vtepd/encap/packet"
)

const routeHelp = `The prefixes of routed segments: which overlay addresses are behind which VTEP.
The longest prefix decides; of several VTEPs each flow has one.

lladdr is the MAC of the router behind the VTEP: of the vxlan device there, or of
the routed segment ("vtepctl segment show"). It may be left out where another
prefix via the same VTEP has it. vni and port are the destination's; dev and
segment say whose prefix it is and may be left out when there is one routed
segment.

What is said here of a prefix takes the place of all that the configuration file
and control planes say of it, is kept across reloads, and is gone when the daemon
starts anew.`

func (a *app) route() *cobra.Command {
	return a.command(object{
		name: "route", short: "prefixes of routed segments and their VTEPs", long: routeHelp,
		show: verb{args: "[dev DEV|segment VNI]", short: "show all prefixes", prepare: a.routeShow},
		verbs: []verb{
			{name: "get", args: "IP [dev DEV|segment VNI]", short: "show the longest prefix that holds an address", prepare: a.routeGet},
			a.routeChange(api.OpAdd, "place a prefix behind a VTEP, beside those put there before"),
			a.routeChange(api.OpReplace, "place a prefix behind a VTEP and nowhere else"),
			a.routeChange(api.OpDel, "delete a prefix, or with via from one VTEP"),
		},
	})
}

func (a *app) routeShow() (*grammar, action) {
	var g grammar
	var s api.Selector
	g.selector(&s)
	return &g, func(ctx context.Context, c *control.Client) error {
		p := newPrinter(a, routeLine)
		return p.end(c.Routes(ctx, s, p.print))
	}
}

func (a *app) routeGet() (*grammar, action) {
	var g grammar
	var s api.Selector
	var ip netip.Addr
	g.argument("IP", setAddr(&ip))
	g.selector(&s)
	return &g, func(ctx context.Context, c *control.Client) error {
		return printList(a, routeLine)(c.RouteGet(ctx, s, ip))
	}
}

func (a *app) routeChange(op api.Op, short string) verb {
	v := verb{name: string(op), short: short, long: short + ".\n\n" + routeHelp,
		args: "PREFIX via IP [lladdr MAC] [dev DEV|segment VNI] [vni N] [port P]"}
	if op == api.OpDel {
		v.args = "PREFIX [via IP] [dev DEV|segment VNI] [vni N] [port P]"
		v.aliases = []string{"delete"}
	}
	v.prepare = func() (*grammar, action) {
		var g grammar
		c := api.RouteChange{Op: op}
		g.argument("PREFIX", setPrefix(&c.Prefix))
		g.option("via", "IP", setDestination(&c.Via, &c.Port))
		g.option("lladdr", "MAC", setMAC(&c.MAC))
		g.selector(&c.Selector)
		g.destination(&c.Port, &c.VNI)
		return &g, func(ctx context.Context, client *control.Client) error {
			if op != api.OpDel && !c.Via.IsValid() {
				return errors.New("route " + string(op) + ": via IP is missing")
			}
			if op == api.OpDel {
				c.MAC = packet.MAC{}
			}
			return a.result(client.RouteChange(ctx, c))
		}
	}
	return v
}

// setPrefix takes a CIDR, or an address that stands for itself as with `ip
// route`.
func setPrefix(to *netip.Prefix) func(string) error {
	return func(s string) error {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
			ip = ip.Unmap()
			*to = netip.PrefixFrom(ip, ip.BitLen())
			return nil
		}
		p, err := netip.ParsePrefix(s)
		if s == "default" {
			return errors.New("default may be 0.0.0.0/0 or ::/0: say which")
		}
		if err != nil {
			return fmt.Errorf("%q is not a prefix such as 10.244.2.0/24", s)
		}
		*to = p
		return nil
	}
}
