// Vtepd is a userspace VXLAN overlay router: it joins TAP and TUN devices on
// this host to VTEPs on others over UDP.
//
//	vtepd run --config FILE
//	vtepd run --vni N --remote IP [flags]
//	vtepd check --config FILE
//	vtepd config example
//	vtepd subnet init --etcd URL --network CIDR --backend vxlan
//	vtepd version
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"vtepd/cmd/internal/build"
	"vtepd/cmd/internal/daemon"
	"vtepd/config"
)

// The exit codes, as docs/api.md lists them.
const (
	exitOK     = 0
	exitConfig = 1 // configuration or usage
	exitSystem = 2 // the system refused: port, device, privilege
)

const usage = `vtepd is a userspace VXLAN overlay router.

Usage:
  vtepd run --config FILE       forward for the segments of a file
  vtepd run --vni N [flags]     forward for one segment (vtepd run --help)
  vtepd check --config FILE     report every problem of a file
  vtepd config example          print a commented file
  vtepd subnet init             write the configuration of a Flannel network (--help)
  vtepd version                 print the version

Exit status: 0 asked to stop, 1 configuration or usage, 2 the system refused.
Two hosts without a file:
  host A# vtepd run --vni 42 --local 192.0.2.1 --remote 192.0.2.2 --address 10.99.0.1/24
  host B# vtepd run --vni 42 --local 192.0.2.2 --remote 192.0.2.1 --address 10.99.0.2/24
`

func main() {
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

func command(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitConfig
	}
	switch verb := args[0]; {
	case verb == "run":
		return run(args[1:], stdout, stderr)
	case verb == "check":
		return check(args[1:], stdout, stderr)
	case verb == "config" && len(args) == 2 && args[1] == "example":
		fmt.Fprint(stdout, config.Example())
		return exitOK
	case verb == "subnet" && len(args) >= 2 && args[1] == "init":
		return subnetInit(args[2:], stdout, stderr)
	case verb == "version" && len(args) == 1, verb == "--version":
		fmt.Fprintln(stdout, "vtepd", build.String())
		return exitOK
	case verb == "help", verb == "-h", verb == "--help":
		fmt.Fprint(stdout, usage)
		return exitOK
	default:
		fmt.Fprintf(stderr, "vtepd: unknown command %q\n\n%s", verb, usage)
		return exitConfig
	}
}

// run forwards until it is asked to stop.
func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("vtepd run", flag.ContinueOnError)
	fs.SetOutput(stderr)
	file := fs.String("config", "", "read segments from `FILE` (then no segment flags)")
	flags := new(config.Flags)
	flags.Register(fs)
	if code, ok := parse(fs, args, stdout); !ok {
		return code
	}
	load := flags.Config
	if *file != "" {
		if flags.Given() {
			fmt.Fprintln(stderr, "vtepd run: --config and segment flags exclude each other; put the segment into the file")
			return exitConfig
		}
		load = func() (*config.Config, error) {
			cfg, err := config.Load(*file)
			if err != nil {
				return nil, err
			}
			return flags.Apply(cfg)
		}
	}
	cfg, err := load()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return exitConfig
	}
	err = daemon.Main(cfg, daemon.Source{File: *file, Load: load}, stderr)
	var refused *daemon.SystemError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &refused):
		fmt.Fprintln(stderr, "vtepd:", err)
		return exitSystem
	default:
		fmt.Fprintln(stderr, "vtepd:", err)
		return exitConfig
	}
}
