package ctl

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vtepd/cmd/internal/api"
)

// A buffer is a bytes.Buffer for one writer and one reader.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A monitorRun is a monitor that runs beside the other commands of a script.
type monitorRun struct {
	cancel         context.CancelFunc
	stdout, stderr buffer
	code           chan int
	stop           func() // stops counting

	mu       sync.Mutex
	expected int // events of the kinds that the monitor watches
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

// startMonitor starts a monitor and waits until it watches.
func (s *script) startMonitor(args []string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &monitorRun{cancel: cancel, code: make(chan int, 1)}
	go func() { m.code <- Run(ctx, args, &m.stdout, &m.stderr, "v9.9.9") }()
	until(s.t, "the monitor watches", func() bool { return s.backend.Watchers() == 1 })
	s.calls()
	var kinds []api.Kind
	for _, k := range api.Kinds() {
		if slices.Contains(args, string(k)) {
			kinds = append(kinds, k)
		}
	}
	if kinds == nil {
		kinds = api.Kinds()
	}
	m.stop, _ = s.backend.Watch(kinds, func(api.Event) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.expected++
	})
	s.backend.Calls()
	s.monitor = m
}

// endMonitor interrupts the monitor, if there is one, once it printed what
// happened.
func (s *script) endMonitor() {
	s.t.Helper()
	m := s.monitor
	if m == nil {
		return
	}
	s.monitor = nil
	m.stop()
	until(s.t, "the monitor prints all events", func() bool {
		return strings.Count(m.stdout.String(), "\n") >= m.expected // nobody counts by now
	})
	m.cancel()
	s.ended(m.stdout.String(), m.stderr.String(), <-m.code)
	until(s.t, "the daemon sees that the monitor is gone", func() bool { return s.backend.Watchers() == 0 })
}

func TestMonitorPrintsKindsThatVtepctlDoesNotChange(t *testing.T) {
	e := api.Event{Kind: api.KindRoute, Action: api.Deleted, Route: &api.Route{
		Prefix: mustParse(t, "10.244.2.0/24"), Via: mustParse(t, "192.0.2.2/32").Addr(), Port: 4789, VNI: 42,
		Ifname: "vx42", Segment: 42, Source: api.Flannel, Way: api.WayOnLink}}
	const want = "[ROUTE]Deleted 10.244.2.0/24 via 192.0.2.2 dev vx42 on-link source flannel"
	if got := eventLine(&e, true); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.Route.MAC[0] = 2
	if got := eventLine(&e, false); !strings.Contains(got, " lladdr 02:00:00:00:00:00 ") {
		t.Errorf("no MAC in %q", got)
	}
	if got := eventLine(&api.Event{Kind: "star", Action: api.Added}, false); got != "star added" {
		t.Errorf("a kind of a later daemon: %q", got)
	}
}

func TestMonitorSaysThatTheDaemonStopped(t *testing.T) {
	b := newStoppable(t)
	var stdout, stderr buffer
	code := make(chan int, 1)
	go func() {
		code <- Run(context.Background(), []string{"--control", b.path, "monitor"}, &stdout, &stderr, "")
	}()
	until(t, "the monitor watches", func() bool { return b.backend.Watchers() == 1 })
	b.stop()
	if got := <-code; got != exitRefused || stderr.String() != "vtepctl: the daemon stops\n" {
		t.Errorf("exit code %d, stderr %q", got, stderr.String())
	}
}
