package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"vtepd/config"
)

// check reads a file and reports its problems. It does not look at the host.
func check(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vtepd check", flag.ContinueOnError)
	fs.SetOutput(stderr)
	file := fs.String("config", "", "the configuration `FILE`")
	if code, ok := parse(fs, args, stdout); !ok {
		return code
	}
	if *file == "" {
		fmt.Fprintln(stderr, "vtepd check: name a file with --config FILE")
		return exitConfig
	}
	cfg, err := config.Load(*file)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitConfig
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintln(stderr, "warning:", w)
	}
	return exitOK
}

// parse parses args and refuses what is left over. Help that was asked for goes
// to stdout. ok is false when the command ends here, with code.
func parse(fs *flag.FlagSet, args []string, stdout io.Writer) (code int, ok bool) {
	fs.Usage = func() {}
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fs.SetOutput(stdout)
		fmt.Fprintf(stdout, "Usage of %s:\n", fs.Name())
		fs.PrintDefaults()
		return exitOK, false
	}
	if err != nil { // fs has said what
		fmt.Fprintf(fs.Output(), "`%s --help` lists the flags\n", fs.Name())
		return exitConfig, false
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(fs.Output(), "%s: unexpected argument %q\n", fs.Name(), fs.Arg(0))
		return exitConfig, false
	}
	return exitOK, true
}
