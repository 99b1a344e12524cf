package nft

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// legacyTime bounds a run of iptables-legacy, which waits for its lock.
const legacyTime = 10 * time.Second

// A legacy is the tables of iptables-legacy for one family: only its own
// commands can read and write them.
type legacy struct {
	tables string // file that names the tables in use
	tool   string
	v6     bool
}

func legacies() [2]legacy {
	return [2]legacy{{"ip_tables_names", "iptables", false}, {"ip6_tables_names", "ip6tables", true}}
}

// keepLegacy does for iptables-legacy what keepForward does for nftables. Where
// there is no filter table, none is made.
func (r *Rules) keepLegacy(ctx context.Context, f Forward, s *Status, rep *Report) {
	for _, l := range legacies() {
		if !l.used() {
			delete(r.legacy, l)
			continue
		}
		s.noteLegacy(r.keepOne(ctx, l, &f, s, rep))
	}
}

func (s *Status) noteLegacy(err error) {
	if err != nil {
		s.Errors = append(s.Errors, fmt.Errorf("forward: iptables-legacy has a filter table: %w", err))
	}
}

// used reports whether there is a filter table in the namespace of the calling
// thread.
func (l legacy) used() bool {
	b, err := os.ReadFile("/proc/thread-self/net/" + l.tables)
	return err == nil && slices.Contains(strings.Fields(string(b)), "filter")
}

// keepOne is keepLegacy for one family.
func (r *Rules) keepOne(ctx context.Context, l legacy, f *Forward, s *Status, rep *Report) error {
	out, err := l.run(ctx, "", "-S")
	if err != nil {
		return err
	}
	have := strings.Split(strings.TrimSpace(out), "\n")
	why := l.drops(have)
	options := f.options(l.v6)
	blocked := why != "" && len(options) > 0
	var want []string
	if blocked && f.Insert {
		want = l.rules(options)
	}
	if ours := l.ours(have); !slices.Equal(ours, want) {
		r.legacy[l] = true // whatever becomes of it
		if err := l.write(ctx, have, want); err != nil {
			return err
		}
		if len(want) > 0 {
			rep.Done = append(rep.Done, fmt.Sprintf("a rule %q was inserted with %s-legacy", Mark, l.tool))
		} else {
			rep.Done = append(rep.Done, fmt.Sprintf("the rule %q was removed with %s-legacy", Mark, l.tool))
		}
	}
	r.legacy[l] = len(want) > 0
	if !blocked {
		return nil
	}
	var commands []string
	for _, o := range options {
		commands = append(commands, iptablesCommand(l.tool+"-legacy", o))
	}
	theirs := slices.ContainsFunc(have, func(line string) bool {
		return strings.HasPrefix(line, "-A FORWARD ") && strings.Contains(line, `"`+Mark+`"`) && line != l.jump()
	})
	s.Forward = append(s.Forward, Finding{Where: l.tool + "-legacy, chain FORWARD", Why: why, Command: strings.Join(commands, "; "),
		Passes: len(want) > 0 || theirs, Inserted: len(want) > 0})
	return nil
}

// drops says how the chain drops, in the lines of `iptables -S`.
func (l legacy) drops(lines []string) string {
	for _, line := range lines {
		switch line {
		case "-A FORWARD -j ACCEPT":
			return ""
		case "-A FORWARD -j DROP":
			return "has a rule that drops everything"
		}
		if strings.HasPrefix(line, "-A FORWARD -j REJECT") {
			return "has a rule that drops everything"
		}
	}
	if slices.Contains(lines, "-P FORWARD DROP") {
		return "drops by policy"
	}
	return ""
}

// jump is the marked rule as `iptables -S` shows it.
func (l legacy) jump() string {
	return fmt.Sprintf("-A FORWARD -m comment --comment %q -j %s", Mark, chainName)
}

// rules are ours as `iptables -S` shows them: the chain, what jumps to it, what
// is in it.
func (l legacy) rules(options []string) []string {
	out := []string{"-N " + chainName, l.jump()}
	for _, o := range options {
		out = append(out, fmt.Sprintf("-A %s %s -m comment --comment %q -j ACCEPT", chainName, o, Mark))
	}
	return out
}

// ours picks what is ours out of the lines of `iptables -S`.
func (l legacy) ours(lines []string) (out []string) {
	for _, line := range lines {
		if line == "-N "+chainName || line == l.jump() || strings.HasPrefix(line, "-A "+chainName+" ") {
			out = append(out, line)
		}
	}
	return out
}

// write replaces ours, in one transaction.
func (l legacy) write(ctx context.Context, have, want []string) error {
	var b strings.Builder
	fmt.Fprintln(&b, "*filter")
	had := false
	for _, line := range l.ours(have) {
		switch {
		case line == "-N "+chainName:
			had = true
		case line == l.jump():
			fmt.Fprintln(&b, "-D"+strings.TrimPrefix(line, "-A"))
		}
	}
	if had || len(want) > 0 {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chainName) // makes or empties it
	}
	for _, line := range want {
		switch {
		case line == l.jump():
			fmt.Fprintln(&b, "-I"+strings.TrimPrefix(line, "-A"))
		case strings.HasPrefix(line, "-A"):
			fmt.Fprintln(&b, line)
		}
	}
	if had && len(want) == 0 {
		fmt.Fprintf(&b, "-X %s\n", chainName)
	}
	fmt.Fprintln(&b, "COMMIT")
	_, err := l.run(ctx, b.String(), "-restore", "--noflush")
	return err
}

// run runs iptables-legacy (`-S`) or iptables-legacy-restore (`-restore`) in
// the namespace of the calling thread, until ctx ends.
func (l legacy) run(ctx context.Context, stdin string, args ...string) (string, error) {
	name := l.tool + "-legacy"
	if args[0] == "-restore" {
		name, args = name+"-restore", args[1:]
	}
	ctx, cancel := context.WithTimeout(ctx, legacyTime)
	defer cancel()
	c := exec.CommandContext(ctx, name, append([]string{"-w", "5"}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	var said strings.Builder
	c.Stderr = &said
	out, err := c.Output()
	switch {
	case err != nil && ctx.Err() != nil:
		return "", fmt.Errorf("%s takes too long: it waits for its lock while another iptables runs: %w", name, ctx.Err())
	case err != nil: // in one line, as all problems are
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.Join(strings.Fields(said.String()), " "))
	}
	return string(out), nil
}
