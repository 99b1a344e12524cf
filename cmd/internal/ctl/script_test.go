package ctl

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// A stoppable is a control socket in front of a Backend.
type stoppable struct {
	path    string
	backend *apitest.Backend
	stop    func() // stops serving, once
}

// newStoppable serves a new Backend until the test ends or stop is called.
func newStoppable(t *testing.T) *stoppable {
	t.Helper()
	s := &stoppable{path: filepath.Join(t.TempDir(), "vtepd.sock"), backend: apitest.New()}
	server, err := control.Listen(control.Options{Path: s.path, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, s.backend) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// TestScripts plays testdata/*.txt. Each is a conversation with one daemon:
//
//	# a comment
//	$ vtepctl OBJECT …   a command line; SOCKET and DIR are put in by the test
//	& vtepctl monitor …  a monitor, which runs until the next & line; what it
//	                     prints stands under that line
//	&                    the end of a monitor
//	> Method {…}         what the daemon was asked to change
//	! text               a line on stderr
//	= 1                  the exit code, if it is not 0
//	|                    an empty line on stdout
//
// and every other line is one on stdout. ” is an empty argument. DIR has the
// files of captureFiles.
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

// A script is one conversation while it is played.
type script struct {
	t       *testing.T
	backend *apitest.Backend
	socket  string
	dir     string
	monitor *monitorRun
	out     strings.Builder
}

// play runs the commands of a script and returns it with what happened.
func play(t *testing.T, text string) string {
	t.Helper()
	d := newStoppable(t)
	if strings.Contains(text, "# the file has problems") {
		d.backend.ReloadError = &api.Error{Kind: api.Refused, Text: "the configuration is not in force", Problems: []string{
			"/etc/vtepd/vtepd.yaml:3: segments[0].vni: missing", "/etc/vtepd/vtepd.yaml:9: segments[1].mtu: -1 is not a size"}}
	}
	s := &script{t: t, backend: d.backend, socket: d.path, dir: captureFiles(t)}
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "#") || line == "\n":
			s.out.WriteString(line)
		case strings.HasPrefix(line, "$ vtepctl"):
			s.out.WriteString(line)
			s.command(s.args(line))
		case strings.HasPrefix(line, "&"):
			s.out.WriteString(line)
			s.endMonitor()
			if args := s.args(line); args != nil {
				s.startMonitor(args)
			}
		}
	}
	s.endMonitor()
	return strings.NewReplacer(s.socket, "SOCKET", s.dir, "DIR").Replace(s.out.String())
}

// args returns what a line gives to vtepctl, nil if it does not call it.
func (s *script) args(line string) []string {
	_, rest, ok := strings.Cut(line, " vtepctl")
	if !ok {
		return nil
	}
	args := strings.Fields(strings.NewReplacer("SOCKET", s.socket, "DIR", s.dir).Replace(rest))
	named := false
	for i := range args {
		named = named || strings.HasPrefix(args[i], "--control")
		if args[i] == "''" {
			args[i] = ""
		}
	}
	if !named {
		args = append(args, "--control", s.socket)
	}
	return args
}

func (s *script) command(args []string) {
	var stdout, stderr bytes.Buffer
	code := Run(context.Background(), args, &stdout, &stderr, "v9.9.9")
	s.calls()
	s.ended(stdout.String(), stderr.String(), code)
}

func (s *script) calls() {
	for _, call := range s.backend.Calls() {
		s.out.WriteString("> " + call + "\n")
	}
}

func (s *script) ended(stdout, stderr string, code int) {
	for line := range strings.Lines(stdout) {
		if line == "\n" {
			line = "|\n"
		}
		s.out.WriteString(line)
	}
	if stdout != "" && !strings.HasSuffix(stdout, "\n") {
		s.out.WriteString("\n")
	}
	for line := range strings.Lines(stderr) {
		s.out.WriteString(strings.TrimRight("! "+line, " \n") + "\n")
	}
	if code != 0 {
		fmt.Fprintf(&s.out, "= %d\n", code)
	}
}
