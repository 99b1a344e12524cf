package ctl

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
	"vtepd/cmd/internal/control"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a control socket in front of a Backend until the test ends, and
// returns its path.
func serve(t *testing.T, b api.Backend) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vtepd.sock")
	s, err := control.Listen(control.Options{Path: path, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, b) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return path
}

// TestScripts plays testdata/*.txt. Each is a conversation with one daemon:
//
//	# a comment
//	$ vtepctl OBJECT …   a command line; SOCKET is put in by the test
//	> Method {…}         what the daemon was asked to change
//	! text               a line on stderr
//	= 1                  the exit code, if it is not 0
//
// and every other line is one on stdout.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// play runs the commands of a script and returns it with what happened.
func play(t *testing.T, script string) string {
	t.Helper()
	b := apitest.New()
	if strings.Contains(script, "# the file has problems") {
		b.ReloadError = &api.Error{Kind: api.Refused, Text: "the configuration is not in force", Problems: []string{
			"/etc/vtepd/vtepd.yaml:3: segments[0].vni: missing", "/etc/vtepd/vtepd.yaml:9: segments[1].mtu: -1 is not a size"}}
	}
	socket := serve(t, b)
	var out strings.Builder
	for line := range strings.Lines(script) {
		switch {
		case strings.HasPrefix(line, "#") || line == "\n":
			out.WriteString(line)
		case strings.HasPrefix(line, "$ vtepctl"):
			out.WriteString(line)
			args := strings.Fields(strings.TrimPrefix(line, "$ vtepctl"))
			out.WriteString(command(b, socket, args))
		}
	}
	return out.String()
}

func command(b *apitest.Backend, socket string, args []string) string {
	named := false
	for i := range args {
		named = named || strings.HasPrefix(args[i], "--control")
		args[i] = strings.ReplaceAll(args[i], "SOCKET", socket)
	}
	if !named {
		args = append(args, "--control", socket)
	}
	var stdout, stderr bytes.Buffer
	code := Run(context.Background(), args, &stdout, &stderr, "v9.9.9")
	var out strings.Builder
	for _, call := range b.Calls() {
		out.WriteString("> " + call + "\n")
	}
	out.WriteString(stdout.String())
	for line := range strings.Lines(stderr.String()) {
		out.WriteString(strings.TrimRight("! "+line, " \n") + "\n")
	}
	if code != 0 {
		fmt.Fprintf(&out, "= %d\n", code)
	}
	return strings.ReplaceAll(out.String(), socket, "SOCKET")
}
