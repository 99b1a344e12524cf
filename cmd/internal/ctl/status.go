package ctl

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
)

func (a *app) status() *cobra.Command {
	return a.command(object{
		name: "status", short: "the daemon at a glance",
		show: verb{short: "show the daemon at a glance", prepare: func() (*grammar, action) {
			return &grammar{}, func(ctx context.Context, c *control.Client) error {
				s, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if a.json {
					return a.document(s)
				}
				a.statusText(&s)
				return nil
			}
		}},
	})
}

func (a *app) statusText(s *api.Status) {
	line := func(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }
	line("vtepd %s pid %d up %v", s.Version, s.PID, time.Duration(s.Uptime)*time.Second)
	from := s.Config
	if from == "" {
		from = "from flags"
	}
	line("  config %s, log level %s", from, s.LogLevel)
	line("  tier %s, workers %d, capabilities %s", s.Tier, s.Workers, orNone(s.Capabilities))
	if s.WhyNotFaster != "" {
		line("  not faster: %s", s.WhyNotFaster)
	}
	for i := range s.Sockets {
		line("  listening on %s", socketText(&s.Sockets[i]))
	}
	for _, p := range s.Sources {
		line("  source %s %s, %d leases of others, %d refused", p.Source, negated(p.Connected, "connected"), p.Leases, p.Refused)
	}
	for i := range s.Segments {
		g := &s.Segments[i]
		line("  segment %d dev %s mtu %d local %s remotes %d %s%s",
			g.VNI, g.Device, g.MTU, addrs(g.Local), g.Remotes, tableText(g), tierText(g, s.Tier))
		for _, p := range g.Problems {
			line("    problem: %s", p)
		}
	}
	if s.Node != nil {
		line("  pods %s", nodeText(s.Node))
	}
	if s.Kernel != nil {
		a.kernelText(s.Kernel, line)
	}
	for _, p := range s.Problems {
		line("  problem: %s", p)
	}
}

func (a *app) kernelText(k *api.Kernel, line func(string, ...any)) {
	line("  kernel routes %d of %d restored %d, rules %s", k.Routes, k.Wanted, k.Restored, orNone(k.Rules))
	for _, f := range k.Forward {
		who := "packets are dropped"
		switch {
		case f.Inserted:
			who = "our rule lets them through"
		case f.Passes:
			who = "somebody's rule lets them through"
		}
		line("  forward: %s %s, %s", f.Where, f.Why, who)
	}
}

func nodeText(n *api.Node) string {
	var subnets []string
	for _, p := range n.Subnets {
		subnets = append(subnets, p.String())
	}
	text := orNone(subnets)
	if n.Source != "" {
		text += fmt.Sprintf(" mtu %d from %s", n.MTU, n.Source)
	}
	if n.Waiting != "" {
		text += ", waiting: " + n.Waiting
	}
	if n.Conflist != "" {
		text += ", conflist " + n.Conflist
	}
	return text
}

// tableText says how much there is in a segment's table.
func tableText(g *api.SegmentStatus) string {
	if g.Mode == api.ModeRoute {
		return fmt.Sprintf("prefixes %d", g.Prefixes)
	}
	return fmt.Sprintf("fdb %d", g.Entries)
}

func tierText(g *api.SegmentStatus, usual string) string {
	s := ""
	if g.Tier != usual && g.Tier != "" {
		s = " tier " + g.Tier
	}
	if g.Reason != "" {
		s += " (" + g.Reason + ")"
	}
	return s
}

func socketText(s *api.Socket) string {
	text := s.Addr.String()
	if s.Device != "" {
		text += " dev " + s.Device
	}
	if s.Group {
		text += " group"
	}
	return fmt.Sprintf("%s dropped %d", text, s.Dropped)
}

func orNone(l []string) string {
	if len(l) == 0 {
		return "none"
	}
	return strings.Join(l, ",")
}

func addrs(l []netip.Addr) string {
	var texts []string
	for _, a := range l {
		texts = append(texts, a.String())
	}
	return orNone(texts)
}

func (a *app) segment() *cobra.Command {
	return a.command(object{
		name: "segment", short: "the segments and their options",
		show: verb{args: "[dev DEV|segment VNI]", short: "show segments", prepare: func() (*grammar, action) {
			var g grammar
			var s api.Selector
			g.selector(&s)
			return &g, func(ctx context.Context, c *control.Client) error {
				return printList(a, segmentText)(c.Segments(ctx, s))
			}
		}},
	})
}

// segmentText prints a segment as `ip -d link` prints a vxlan device.
func segmentText(g *api.SegmentStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: segment %d", g.Device, g.VNI)
	if g.Mode == api.ModeRoute {
		b.WriteString(" mode route")
	}
	fmt.Fprintf(&b, " mtu %d link %v", g.MTU, g.MAC)
	if g.Bridge != "" {
		b.WriteString(" master " + g.Bridge)
	}
	fmt.Fprintf(&b, "\n    local %s port %d", addrs(g.Local), g.Port)
	if g.Interface != "" {
		b.WriteString(" dev " + g.Interface)
	}
	if g.Group.IsValid() {
		fmt.Fprintf(&b, " group %v", g.Group)
	}
	fmt.Fprintf(&b, " accept %s remotes %d", g.Accept, g.Remotes)
	if g.Mode == api.ModeRoute {
		b.WriteString("\n    " + tableText(g) + tierText(g, ""))
	} else {
		b.WriteString("\n    " + negated(g.Learning, "learning"))
		fmt.Fprintf(&b, " ageing %v fdb %d/%d %s%s", time.Duration(g.Ageing)*time.Second, g.Entries, g.MaxMACs,
			negated(g.Suppress, "suppress"), tierText(g, ""))
	}
	for _, p := range g.Problems {
		b.WriteString("\n    problem: " + p)
	}
	return b.String()
}

// negated is how `ip -d link` prints what is on or off.
func negated(on bool, name string) string {
	if on {
		return name
	}
	return "no" + name
}
