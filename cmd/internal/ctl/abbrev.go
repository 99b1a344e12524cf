package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// expand returns args with object and verb spelt out. A word that is no
// beginning of any stays as it is, for the command to complain about. `help`
// as a verb asks for help, as with ip.
func expand(root *cobra.Command, args []string) ([]string, error) {
	args = slices.Clone(args)
	at := root
	for i := 0; i < len(args) && at.HasSubCommands(); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return args, nil
		case arg == "--control":
			i++ // its value
		case strings.HasPrefix(arg, "-"):
		case strings.HasPrefix(arg, "__"): // cobra's own, called by completion scripts
			return expandCompleted(root, args, i+1), nil
		case arg == "help" && at != root:
			args[i] = "--help"
			return args, nil
		default:
			found, err := match(at, arg)
			if found == nil || err != nil {
				return args, err
			}
			args[i], at = found.Name(), found
		}
	}
	return args, nil
}

// expandCompleted expands the words from i on but for the last, which is being
// typed.
func expandCompleted(root *cobra.Command, args []string, i int) []string {
	if i >= len(args) {
		return args
	}
	typed, err := expand(root, args[i:len(args)-1])
	if err != nil { // nothing to offer, which cobra finds out by itself
		return args
	}
	copy(args[i:], typed)
	return args
}

// match returns the command below at that name stands for, nil if there is
// none.
func match(at *cobra.Command, name string) (*cobra.Command, error) {
	var found []*cobra.Command
	var names []string
	for _, c := range at.Commands() {
		spellings := append([]string{c.Name()}, c.Aliases...)
		if slices.Contains(spellings, name) {
			return c, nil
		}
		if slices.ContainsFunc(spellings, func(s string) bool { return strings.HasPrefix(s, name) }) {
			found = append(found, c)
			names = append(names, c.Name())
		}
	}
	switch {
	case len(found) == 0 || name == "":
		return nil, nil
	case len(found) > 1:
		return nil, fmt.Errorf("%q may be %s", name, strings.Join(names, " or "))
	}
	return found[0], nil
}
