package control

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func options(path string) Options { return Options{Path: path, Log: zap.NewNop()} }

// mustListen opens a control socket and closes it at the end of the test.
func mustListen(t *testing.T, path string) *Server {
	t.Helper()
	s, err := Listen(options(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestSocketMode(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077} {
		path := filepath.Join(t.TempDir(), "s")
		old := syscall.Umask(umask)
		s, err := Listen(options(path))
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != os.ModeSocket|0o660 {
			t.Errorf("umask %#o: mode %v, error %v", umask, info.Mode(), err)
		}
		if err := s.Close(); err != nil || exists(path) {
			t.Errorf("Close: %v, the socket is there: %v", err, exists(path))
		}
	}
}

// stale leaves a socket file behind that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if !exists(path) {
		t.Fatal("there is no stale socket")
	}
}

func TestSocketReplacesStaleOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	mustListen(t, path)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestSocketRefusesLiveOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := mustListen(t, path)
	_, err := Listen(options(path))
	var inUse *SocketInUse
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() || inUse.Path != path {
		t.Fatalf("error %v", err)
	}
	name, _ := os.ReadFile("/proc/self/comm")
	for _, part := range []string{path, "process ", strings.TrimSpace(string(name)), "--control"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if !exists(path) {
		t.Error("the live socket was removed")
	}
	if first.Close() != nil {
		t.Error("Close failed")
	}
	mustListen(t, path) // the lock was given back
}

// A daemon's pid is that of the process that listens, whoever asks.
func TestSocketNamesOtherProcess(t *testing.T) {
	if os.Getenv("VTEPD_TEST_LISTEN") != "" {
		if _, err := Listen(options(os.Getenv("VTEPD_TEST_LISTEN"))); err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString("\n")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	path := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSocketNamesOtherProcess$")
	cmd.Env = append(os.Environ(), "VTEPD_TEST_LISTEN="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, err = Listen(options(path))
	var inUse *SocketInUse
	if !errors.As(err, &inUse) || inUse.PID != cmd.Process.Pid {
		t.Errorf("process %d listens, the error says %v", cmd.Process.Pid, err)
	}
	cancel() // kills it, which leaves the socket behind
	_ = cmd.Wait()
	if !exists(path) {
		t.Fatal("a killed daemon removed its socket")
	}
	mustListen(t, path)
}

func TestSocketPathLength(t *testing.T) {
	dir := t.TempDir()
	fits := filepath.Join(dir, strings.Repeat("s", maxPath-len(dir)-1))
	mustListen(t, fits)
	_, err := Listen(options(fits + "s"))
	if err == nil || !strings.Contains(err.Error(), "at most 107 bytes") {
		t.Errorf("a path of %d bytes: %v", len(fits)+1, err)
	}
}

func TestSocketFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vtepd")
	s := mustListen(t, filepath.Join(dir, "s"))
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o022 != 0 {
		t.Fatalf("folder %v, error %v", info, err)
	}
	if err := s.Close(); err != nil || exists(dir) {
		t.Errorf("Close: %v, its folder is there: %v", err, exists(dir))
	}

	s = mustListen(t, filepath.Join(dir, "s"))
	if err := os.WriteFile(filepath.Join(dir, "other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || !exists(filepath.Join(dir, "other")) {
		t.Errorf("Close: %v; what others put into the folder must stay", err)
	}

	s = mustListen(t, filepath.Join(dir, "s")) // now the folder is not ours
	_ = os.Remove(filepath.Join(dir, "other"))
	if err := s.Close(); err != nil || !exists(dir) {
		t.Errorf("Close: %v; a folder that was there must stay", err)
	}

	if _, err := Listen(options(filepath.Join(dir, "not", "there", "s"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("two folders are missing: %v", err)
	}
}

func TestSocketKeepsWhatIsNotItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(options(path)); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file is in the way: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "precious" || err != nil {
		t.Errorf("the file is gone: %v", err)
	}
	_ = os.Remove(path)

	s := mustListen(t, path)
	_ = os.Remove(path)
	stale(t, path) // somebody else's by now
	if err := s.Close(); err != nil || !exists(path) {
		t.Errorf("Close: %v; another's socket must stay", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// Of many daemons that start at once on a stale socket one gets it.
func TestSocketRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale(t, path)
	var mu sync.Mutex
	var got []*Server
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			s, err := Listen(options(path))
			var inUse *SocketInUse
			if err != nil && !errors.As(err, &inUse) {
				t.Errorf("error %v", err)
			}
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, s)
			}
		})
	}
	wg.Wait()
	if len(got) != 1 {
		t.Errorf("%d daemons have the socket", len(got))
	}
	for _, s := range got {
		s.Close()
	}
}

func TestSocketGroup(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	path := filepath.Join(t.TempDir(), "s")
	s, err := Listen(Options{Path: path, Group: "no-such-group-here", Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if logs.FilterField(zap.String("group", "no-such-group-here")).Len() != 1 {
		t.Errorf("a group that is not there is not warned of: %v", logs.All())
	}
	if os.Getuid() != 0 {
		t.Skip("giving the socket away takes root")
	}
	s, err = Listen(Options{Path: path, Group: "daemon", Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	info, err := os.Lstat(path)
	if err != nil || info.Sys().(*syscall.Stat_t).Gid == 0 {
		t.Errorf("the socket stays root's: %v, %v", info, err)
	}
}
