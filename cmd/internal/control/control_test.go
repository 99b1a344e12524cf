package control

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A daemon is a served control socket.
type daemon struct {
	*apitest.Backend
	path string
	stop func() // returns when Serve did; only the first call does anything
}

// start serves b on a new socket until the test ends.
func start(t *testing.T, b *apitest.Backend) *daemon {
	t.Helper()
	d := &daemon{Backend: b, path: filepath.Join(t.TempDir(), "s")}
	server, err := Listen(Options{Path: d.path, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	if server.Path() != d.path {
		t.Errorf("Path is %q, not %q", server.Path(), d.path)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, b) }()
	d.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(d.stop)
	return d
}

// client returns a client of d.
func (d *daemon) client(t *testing.T) *Client {
	t.Helper()
	c := NewClient(d.path)
	t.Cleanup(c.Close)
	return c
}

// until waits for what happens in other goroutines.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

// event returns an event with an entry of the FDB.
func event() api.Event {
	var e api.FDBEntry
	_ = apitest.New().FDB(api.Device("vx42"), func(next api.FDBEntry) error {
		e = next
		return nil
	})
	return api.Event{Kind: api.KindFDB, Action: api.Added, FDB: &e}
}
