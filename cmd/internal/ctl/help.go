package ctl

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// addHelp adds what cobra makes by itself, changed where it would call a
// mistake a success. It comes last: it looks at what is there.
func (a *app) addHelp(root *cobra.Command) {
	// On the root, because cobra takes the word behind a flag that it does not
	// know yet for its value.
	root.PersistentFlags().BoolP("help", "h", false, "help for the command")
	root.SetHelpCommand(helpCommand(root))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil || completion == root {
		return
	}
	completion.Short = "print the completion script of a shell"
	completion.Use = "completion SHELL"
	completion.DisableFlagsInUseLine = true
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = func(c *cobra.Command, args []string) error {
		var shells []string
		for _, s := range c.Commands() {
			shells = append(shells, s.Name())
		}
		known := strings.Join(shells, ", ")
		if len(args) == 0 {
			return fmt.Errorf("completion: SHELL is missing: %s", known)
		}
		return fmt.Errorf("completion: %q is none of %s", args[0], known)
	}
}

// helpCommand is cobra's, but an error for what is no command.
func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [OBJECT [VERB]]", Short: "help about a command", DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			args, err := expand(root, args)
			if err != nil {
				return err
			}
			c, rest, err := root.Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return fmt.Errorf("help: %s has no %q", c.CommandPath(), rest[0])
			}
			return c.Help()
		},
	}
}
