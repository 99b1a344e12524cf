package ctl

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
)

// completeTime is how long a shell waits for the daemon when Tab is pressed.
const completeTime = 500 * time.Millisecond

// completer offers what may come next in the words of a verb.
func (a *app) completer(v verb) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if v.name == "decode" && len(args) == 0 {
			return nil, cobra.ShellCompDirectiveDefault // a file
		}
		g, _ := v.prepare()
		return a.candidates(c.Context(), g, args), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) candidates(ctx context.Context, g *grammar, args []string) []string {
	var out []string
	for _, p := range g.args {
		if len(args) == 0 {
			out = append(out, p.values...)
			if !p.optional {
				return out
			}
			break
		}
		if !p.optional || g.word(args[0]) == nil {
			args = args[1:]
		}
	}
	for len(args) > 0 {
		w := g.word(args[0])
		args = args[1:]
		if w == nil {
			continue
		}
		w.seen = true
		if w.value == "" {
			continue
		}
		if len(args) == 0 {
			return a.wordValues(ctx, w)
		}
		args = args[1:]
	}
	for _, w := range g.words {
		if !w.seen {
			out = append(out, w.name)
		}
	}
	return out
}

// wordValues asks the daemon what may stand behind a word.
func (a *app) wordValues(ctx context.Context, w *word) []string {
	if w.name != "dev" && w.name != "segment" {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	c := control.NewClient(a.path)
	defer c.Close()
	segments, err := c.Segments(ctx, api.Selector{})
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range segments {
		if w.name == "dev" {
			out = append(out, s.Device)
		} else {
			out = append(out, strconv.FormatUint(uint64(s.VNI), 10))
		}
	}
	return out
}
