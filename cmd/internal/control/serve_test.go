package control

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
	"vtepd/encap/packet"
)

func TestServeRemovesItsSocket(t *testing.T) {
	d := start(t, apitest.New())
	if _, err := d.client(t).Version(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.stop()
	if exists(d.path) {
		t.Error("the socket is still there")
	}
}

func TestServeOfADaemonThatStopsAtOnce(t *testing.T) {
	s := mustListen(t, filepath.Join(t.TempDir(), "s"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Serve(ctx, apitest.New()); err != nil || exists(s.Path()) {
		t.Errorf("Serve: %v, the socket is there: %v", err, exists(s.Path()))
	}
}

func TestServeSaysThatItsListenerBroke(t *testing.T) {
	s := mustListen(t, filepath.Join(t.TempDir(), "s"))
	s.socket.Listener.Close()
	if err := s.Serve(context.Background(), apitest.New()); !errors.Is(err, net.ErrClosed) || exists(s.Path()) {
		t.Errorf("Serve: %v, the socket is there: %v", err, exists(s.Path()))
	}
}

// A request that runs when the daemon stops is answered if it ends soon.
func TestServeLetsRequestsEnd(t *testing.T) {
	b := apitest.New()
	b.Blocked = make(chan struct{})
	d := start(t, b)
	c := d.client(t)
	answered := make(chan error, 1)
	go func() {
		_, err := c.Reload(context.Background())
		answered <- err
	}()
	until(t, "the reload runs", func() bool { return b.Calls() != nil })
	time.AfterFunc(100*time.Millisecond, func() { close(b.Blocked) })
	d.stop()
	if err := <-answered; err != nil {
		t.Errorf("the reload was not answered: %v", err)
	}
}

// One that does not end soon is ended: the daemon stops in under 2 s.
func TestServeEndsRequests(t *testing.T) {
	b := apitest.New()
	b.Blocked = make(chan struct{})
	d := start(t, b)
	c := d.client(t)
	answered := make(chan error, 1)
	go func() {
		_, err := c.Reload(context.Background())
		answered <- err
	}()
	until(t, "the reload runs", func() bool { return b.Calls() != nil })
	began := time.Now()
	d.stop()
	if took := time.Since(began); took > 1900*time.Millisecond {
		t.Errorf("stopping took %v", took)
	}
	if err := <-answered; err == nil {
		t.Error("a reload that never ended was answered")
	}
}

func TestClientFDB(t *testing.T) {
	b := apitest.New()
	b.Fill(20_000)
	c := start(t, b).client(t)
	n := 0
	err := c.FDB(t.Context(), api.Selector{}, func(api.FDBEntry) error {
		n++
		return nil
	})
	if err != nil || n != 20_005 {
		t.Errorf("%d entries, error %v", n, err)
	}
	enough := errors.New("enough")
	err = c.FDB(t.Context(), api.Selector{}, func(api.FDBEntry) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	if err := c.FDB(t.Context(), api.Segment(9), nil); api.AsError(err).Kind != api.NotFound {
		t.Errorf("error %v", err)
	}
}

// A Backend whose FDB breaks off after a few entries.
type brittle struct{ *apitest.Backend }

func (b brittle) FDB(_ api.Selector, emit func(api.FDBEntry) error) error {
	return errors.Join(emit(api.FDBEntry{}), emit(api.FDBEntry{}), errors.New("broken"))
}

// A list that broke off is not taken for a whole one.
func TestListThatBreaksOff(t *testing.T) {
	w := ask(Handler(brittle{apitest.New()}), "GET", "/v1/fdb", "")
	if text := w.Body.String(); strings.HasSuffix(text, "]\n") || !strings.HasPrefix(text, "[{") {
		t.Errorf("the answer is %q", text)
	}
	s := mustListen(t, filepath.Join(t.TempDir(), "s"))
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(ctx, brittle{apitest.New()}) })
	defer served.Wait()
	defer cancel()
	c := NewClient(s.Path())
	defer c.Close()
	n := 0
	err := c.FDB(t.Context(), api.Selector{}, func(api.FDBEntry) error {
		n++
		return nil
	})
	var u *Unreachable
	if !errors.As(err, &u) || n != 2 {
		t.Errorf("%d entries, error %v", n, err)
	}
}

func TestClientChanges(t *testing.T) {
	d := start(t, apitest.New())
	c := d.client(t)
	ctx, vx42 := t.Context(), api.Device("vx42")
	mac := packet.MAC{2, 0, 0, 0, 0, 0x10}
	entries := must(c.FDBGet(ctx, vx42, packet.MAC{2, 0, 0, 0, 0, 3}))(t)
	dst := entries[0].Dst
	must(c.FDBChange(ctx, api.FDBChange{Op: api.OpAdd, Selector: vx42, MAC: mac, Dst: dst}))(t)
	must(c.FDBFlush(ctx, api.FDBFlush{Selector: vx42, All: true}))(t)
	must(c.RemoteChange(ctx, api.RemoteChange{Op: api.OpAdd, Selector: vx42, IP: dst}))(t)
	must(c.NeighChange(ctx, api.NeighChange{Op: api.OpReplace, Selector: api.Segment(42), IP: dst, MAC: mac}))(t)
	must(c.SetLogLevel(ctx, "warn"))(t)
	must(c.Reload(ctx))(t)
	want := []string{
		`FDBChange {"op":"add","dev":"vx42","mac":"02:00:00:00:00:10","dst":"192.0.2.2","state":"permanent"}`,
		`FDBFlush {"dev":"vx42","all":true}`,
		`RemoteChange {"op":"add","dev":"vx42","ip":"192.0.2.2"}`,
		`NeighChange {"op":"replace","segment":42,"ip":"192.0.2.2","mac":"02:00:00:00:00:10"}`,
		`SetLogLevel "warn"`, `Reload null`,
	}
	if got := d.Calls(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := must(c.Remotes(ctx, vx42))(t); len(got) != 2 {
		t.Errorf("remotes %v", got)
	}
	if got := must(c.Neighbours(ctx, vx42))(t); len(got) != 2 {
		t.Errorf("neighbours %v", got)
	}
	if got := must(c.Segments(ctx, vx42))(t); len(got) != 1 {
		t.Errorf("segments %v", got)
	}
	if got := must(c.Counters(ctx, api.Selector{}))(t); len(got.Segments) != 2 {
		t.Errorf("counters %v", got)
	}
	if got := must(c.Status(ctx))(t); got.LogLevel != "warn" {
		t.Errorf("status %v", got)
	}
}

// must returns v, and fails the test for an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestClientOfNobody(t *testing.T) {
	dir := t.TempDir()
	stale(t, filepath.Join(dir, "stale"))
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "rude"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	for name, text := range map[string]string{
		"missing": "there is no such socket", "stale": "start it again", "file": "nobody answers", "rude": "not reachable",
	} {
		c := NewClient(filepath.Join(dir, name))
		_, err := c.Status(t.Context())
		var u *Unreachable
		if !errors.As(err, &u) || !strings.Contains(err.Error(), text) || u.Unwrap() == nil {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
	}
	c := NewClient(filepath.Join(dir, "missing"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended, the error is %v", err)
	}
}
