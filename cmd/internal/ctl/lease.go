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

func (a *app) lease() *cobra.Command {
	return a.command(object{
		name: "lease", short: "this node's lease in a Flannel network",
		show: verb{short: "show the lease, and how the network is followed", prepare: func() (*grammar, action) {
			return &grammar{}, func(ctx context.Context, c *control.Client) error {
				return printList(a, leaseText)(c.Leases(ctx))
			}
		}},
	})
}

// leaseText prints a lease: what this node has, how the store is, and what
// became of the leases of others.
func leaseText(l *api.Lease) string {
	var b strings.Builder
	key := l.Key
	if key == "" {
		key = "no lease"
	}
	fmt.Fprintf(&b, "%s: %s", l.Source, key)
	switch {
	case l.Key == "":
	case l.Reserved:
		b.WriteString(" reserved")
	case !l.Expires.IsZero():
		b.WriteString(" expires " + l.Expires.UTC().Format(time.RFC3339))
	}
	if l.Backend != "" {
		fmt.Fprintf(&b, "\n    network %s backend %s", prefixes(l.Networks), l.Backend)
	}
	if l.VNI != nil {
		fmt.Fprintf(&b, " vni %d port %d", *l.VNI, l.Port)
	}
	if l.Interface != "" {
		fmt.Fprintf(&b, "\n    via %s", l.Interface)
		if l.Device != "" {
			b.WriteString(" dev " + l.Device)
		}
		fmt.Fprintf(&b, " mtu %d subnet file %s", l.MTU, l.SubnetFile)
	}
	if l.Value != "" {
		b.WriteString("\n    value " + l.Value)
	}
	fmt.Fprintf(&b, "\n    store %s revision %d, %d renewals, %d races, %d times lost, read anew %d times",
		negated(l.Connected, "connected"), l.Revision, l.Renewals, l.Races, l.Lost, l.Relists)
	fmt.Fprintf(&b, "\n    leases of others: %d in force, refused %s", l.Peers, tally(l.Refused))
	for _, r := range l.Refusals {
		b.WriteString("\n    refused: " + r)
	}
	for _, p := range l.Problems {
		b.WriteString("\n    problem: " + p)
	}
	return b.String()
}

func prefixes(l []netip.Prefix) string {
	var texts []string
	for _, p := range l {
		texts = append(texts, p.String())
	}
	return orNone(texts)
}
