package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
)

func (a *app) reload() *cobra.Command {
	return a.leaf(verb{
		name: "reload", short: "read the configuration file again",
		long: `Reads the configuration file again and returns when it is in force. A file with
problems changes nothing: they are printed as vtepd check prints them.`,
		prepare: func() (*grammar, action) {
			return &grammar{}, func(ctx context.Context, c *control.Client) error {
				return a.result(c.Reload(ctx))
			}
		},
	})
}

func (a *app) log() *cobra.Command {
	return a.command(object{
		name: "log", short: "the daemon's log",
		show:  verb{short: "show the log level in force", prepare: a.logShow},
		verbs: []verb{{name: "level", args: "debug|info|warn|error", short: "set the log level until the daemon ends", prepare: a.logLevel}},
	})
}

func (a *app) logShow() (*grammar, action) {
	return &grammar{}, func(ctx context.Context, c *control.Client) error {
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		if a.json {
			return a.document(map[string]string{"level": s.LogLevel})
		}
		_, err = fmt.Fprintln(a.out, "level", s.LogLevel)
		return err
	}
}

func (a *app) logLevel() (*grammar, action) {
	var level string
	g := &grammar{args: []argument{{name: "level", values: []string{"debug", "info", "warn", "error"},
		set: func(v string) error {
			level = v
			return nil
		}}}}
	return g, func(ctx context.Context, c *control.Client) error {
		return a.result(c.SetLogLevel(ctx, level))
	}
}

// versions is the document of `vtepctl -j version`.
type versions struct {
	Control string       `json:"vtepctl"`
	Daemon  *api.Version `json:"vtepd"` // null when it is not reachable
}

func (a *app) versions() *cobra.Command {
	return a.leaf(verb{
		name: "version", short: "versions of vtepctl and, when it is reachable, of the daemon",
		prepare: func() (*grammar, action) {
			return &grammar{}, func(ctx context.Context, c *control.Client) error {
				v := versions{Control: a.version}
				daemon, err := c.Version(ctx)
				var unreachable *control.Unreachable
				switch {
				case err == nil:
					v.Daemon = &daemon
				case !errors.As(err, &unreachable):
					return err
				}
				return a.printVersions(&v, unreachable)
			}
		},
	})
}

func (a *app) printVersions(v *versions, unreachable error) error {
	if a.json {
		return a.document(v)
	}
	fmt.Fprintln(a.out, "vtepctl", v.Control)
	if v.Daemon != nil {
		_, err := fmt.Fprintf(a.out, "vtepd %s pid %d\n", v.Daemon.Version, v.Daemon.PID)
		return err
	}
	_, err := fmt.Fprintln(a.out, "no daemon:", unreachable)
	return err
}
