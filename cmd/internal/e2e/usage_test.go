package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/lab"
)

// TestHelpHasEveryFlag holds `vtepd run --help` against the flags that users
// were promised. Help that was asked for is no error.
func TestHelpHasEveryFlag(t *testing.T) {
	out, err := exec.Command(filepath.Join(bin, "vtepd"), "run", "--help").Output()
	must(t, err)
	promised := strings.Fields(`config vni device local interface remote group port address mac mtu learning ageing max-macs
		remote-share ttl tos df udp-csum udp6-zero-csum-tx udp6-zero-csum-rx srcport vlan accept bridge static neighbour suppress
		persist control log-level log-format tier workers spin`)
	for _, f := range promised {
		if !regexp.MustCompile(`(?m)^\s+--?` + f + `(\s|$)`).Match(out) {
			t.Errorf("no --%s in\n%s", f, out)
		}
	}
}

// TestExampleIsAccepted: what `config example` prints is what `check` takes.
func TestExampleIsAccepted(t *testing.T) {
	out, err := exec.Command(filepath.Join(bin, "vtepd"), "config", "example").Output()
	must(t, err)
	file := filepath.Join(t.TempDir(), "vtepd.yaml")
	must(t, os.WriteFile(file, out, 0o600))
	if out, err := exec.Command(filepath.Join(bin, "vtepd"), "check", "--config", file).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestBashCompletes loads the completion into a bash and asks it, as a Tab
// would.
func TestBashCompletes(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	d := vtepdFile(t, hosts[0], `
underlay: {local: 192.0.2.1}
segments:
  - {vni: 42, remotes: [192.0.2.2]}
  - {vni: 4711, device: blue, remotes: [192.0.2.2]}
`)
	script := `
		PATH=` + bin + `:$PATH
		_get_comp_words_by_ref() { :; }
		source <(vtepctl completion bash)
		COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
		_init_completion() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur="${COMP_WORDS[COMP_CWORD]}"; prev="${COMP_WORDS[COMP_CWORD-1]}"; }
		compopt() { :; }
		__start_vtepctl
		printf '%s\n' "${COMPREPLY[@]}"
	`
	for _, c := range []struct {
		line []string
		want []string
	}{
		{[]string{"f"}, []string{"fdb"}},
		{[]string{"se"}, []string{"segment"}},
		{[]string{"fdb", "rep"}, []string{"replace"}},
		{[]string{"counters", ""}, []string{"dev", "segment"}},
		{[]string{"fdb", "show", "dev", ""}, []string{"vx42", "blue"}},
		{[]string{"counters", "segment", "47"}, []string{"4711"}},
		{[]string{"log", "level", "d"}, []string{"debug"}},
		{[]string{"completion", ""}, []string{"bash", "zsh", "fish"}},
	} {
		line := append([]string{"vtepctl", "--control", d.Control()}, c.line...)
		out := run(t, hosts[0], append([]string{"bash", "-c", script, "bash"}, line...)...)
		var got []string
		for _, l := range strings.Split(out, "\n") {
			if f := strings.Fields(l); len(f) > 0 {
				got = append(got, f[0])
			}
		}
		for _, want := range c.want {
			if !slices.Contains(got, want) {
				t.Errorf("%q completes to %q, want %q", c.line, got, want)
			}
		}
	}
}
