package ctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/control"
)

// An object is what a command line starts with. Its verbs are commands below
// it.
type object struct {
	name, short, long string
	aliases           []string
	show              verb // also what the bare object does
	verbs             []verb
}

// A verb is one command.
type verb struct {
	name, args, short, long string
	aliases                 []string
	// prepare returns the words the verb takes and what it does once they were
	// read. It is called anew for each use.
	prepare func() (*grammar, action)
}

// An action carries out a command. The client has not connected yet.
type action func(ctx context.Context, c *control.Client) error

// command builds an object's cobra command.
func (a *app) command(o object) *cobra.Command {
	o.show.name, o.show.aliases = "show", []string{"list", "ls"}
	cmd := a.leaf(o.show)
	cmd.Use, cmd.Short, cmd.Long, cmd.Aliases = o.name, o.short, o.long, o.aliases
	verbs := append([]verb{o.show}, o.verbs...)
	show := cmd.RunE
	cmd.RunE = func(c *cobra.Command, args []string) error {
		g, _ := o.show.prepare()
		if len(args) > 0 && g.word(args[0]) == nil {
			return unknownVerb(o.name, verbs, g, args[0])
		}
		return show(c, args)
	}
	for _, v := range verbs {
		cmd.AddCommand(a.leaf(v))
	}
	return cmd
}

// leaf builds the cobra command of a verb, or of an object without verbs.
func (a *app) leaf(v verb) *cobra.Command {
	return &cobra.Command{
		Use: strings.TrimSpace(v.name + " " + v.args), Short: v.short, Long: v.long, Aliases: v.aliases,
		DisableFlagsInUseLine: true,
		Args:                  cobra.ArbitraryArgs,
		ValidArgsFunction:     a.completer(v),
		RunE: func(c *cobra.Command, args []string) error {
			g, do := v.prepare()
			if err := g.parse(args); err != nil {
				return fmt.Errorf("%s: %w", strings.TrimPrefix(c.CommandPath(), "vtepctl "), err)
			}
			client := control.NewClient(a.path)
			defer client.Close()
			return do(c.Context(), client)
		},
	}
}

// unknownVerb is the error for what is neither a verb of an object nor, where
// there is no verb but show, one of the words g of that.
func unknownVerb(name string, verbs []verb, g *grammar, what string) error {
	var names []string
	for _, v := range verbs {
		names = append(names, v.name)
	}
	if len(verbs) == 1 {
		names = append(names, g.expected()...)
	}
	return fmt.Errorf("%s: what is %q? It takes %s", name, what, strings.Join(names, ", "))
}
