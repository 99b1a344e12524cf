package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/control"
)

// The exit codes.
const (
	exitOK          = 0
	exitRefused     = 1 // usage, or the daemon said no
	exitUnreachable = 2
)

// errHelp ends a command line without an object: its help was printed.
var errHelp = errors.New("no object")

// An app is one run of vtepctl.
type app struct {
	version string
	path    string // of the control socket
	json    bool
	out     *bufio.Writer
}

// Run carries out the command line args (without the program's name) and
// returns the exit code. version is vtepctl's own. Answers go to stdout, errors
// to stderr. The end of ctx ends a monitor with success and everything else
// with an error.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, version string) int {
	a := &app{version: version, out: bufio.NewWriter(stdout)}
	root := a.root(stderr)
	args, err := expand(root, args)
	if err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	if flushErr := a.out.Flush(); err == nil {
		err = flushErr
	}
	var unreachable *control.Unreachable
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errHelp):
		return exitRefused
	case errors.As(err, &unreachable):
		fmt.Fprintln(stderr, "vtepctl:", err)
		return exitUnreachable
	}
	fmt.Fprintln(stderr, "vtepctl:", err)
	return exitRefused
}

// root returns the whole command tree.
func (a *app) root(stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "vtepctl [--control PATH] [-j] OBJECT [VERB] [ARGUMENTS]",
		Short: "Show and change what vtepd does",
		Long: `vtepctl shows and changes what a running vtepd does, in the grammar of ip and
bridge: an object, a verb, and words in pairs. Objects and verbs may be
shortened to what is unambiguous. A bare object means show.

Exit codes: 0 done; 1 usage, or the daemon refused; 2 daemon not reachable.`,
		DisableFlagsInUseLine: true,
		SilenceErrors:         true,
		SilenceUsage:          true,
		RunE: func(c *cobra.Command, _ []string) error {
			c.SetOut(c.ErrOrStderr())
			return errors.Join(c.Help(), errHelp)
		},
	}
	root.SetOut(a.out)
	root.SetErr(stderr)
	root.PersistentFlags().StringVar(&a.path, "control", control.DefaultPath, "the daemon's control socket")
	root.PersistentFlags().BoolVarP(&a.json, "json", "j", false, "print one JSON document (monitor: one a line)")
	root.AddCommand(a.status(), a.segment(), a.counters(), a.fdb(), a.remote(), a.neigh(), a.route(), a.lease(),
		a.monitor(), a.reload(), a.log(), a.versions(), a.decode())
	a.addHelp(root)
	return root
}
