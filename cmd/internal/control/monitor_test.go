package control

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
)

func TestMonitorSeesWhatItAskedFor(t *testing.T) {
	d := start(t, apitest.New())
	c := d.client(t)
	all, err := c.Monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	neigh, err := c.Monitor(t.Context(), api.KindNeigh, api.KindRoute)
	if err != nil {
		t.Fatal(err)
	}
	defer neigh.Close()
	n := api.Event{Kind: api.KindNeigh, Action: api.Deleted, Neigh: &api.Neighbour{Ifname: "vx42", Segment: 42}}
	d.Emit(event())
	d.Emit(n)
	for _, want := range []struct {
		m *Monitor
		e api.Event
	}{{all, event()}, {all, n}, {neigh, n}} {
		got, err := want.m.Next()
		if err != nil || got.Time.IsZero() {
			t.Fatalf("event %+v, error %v", got, err)
		}
		got.Time = time.Time{}
		if diff := cmp.Diff(inJSON(t, want.e), inJSON(t, got)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func inJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMonitorEndsWithItsClient(t *testing.T) {
	d := start(t, apitest.New())
	c := d.client(t)
	ctx, cancel := context.WithCancel(context.Background())
	m, err := c.Monitor(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cancel()
	if _, err := m.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended, the error is %v", err)
	}
	until(t, "the daemon sees it", func() bool { return d.Watchers() == 0 })

	m, err = c.Monitor(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	if _, err := m.Next(); err == nil {
		t.Error("a closed monitor goes on")
	}
	until(t, "the daemon sees it", func() bool { return d.Watchers() == 0 })
}

func TestMonitorsEndWhenTheDaemonStops(t *testing.T) {
	d := start(t, apitest.New())
	c := d.client(t)
	var monitors []*Monitor
	for range 3 {
		m, err := c.Monitor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		monitors = append(monitors, m)
	}
	began := time.Now()
	d.stop()
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("the daemon waited %v for its monitors", took)
	}
	if n := d.Watchers(); n != 0 {
		t.Errorf("%d still watch", n)
	}
	for _, m := range monitors {
		_, err := m.Next()
		var e *api.Error
		if !errors.As(err, &e) || e.Text != "the daemon stops" {
			t.Errorf("the monitor ends with %v", err)
		}
	}
}

// A monitor that reads, but slower than things happen, is told so.
func TestMonitorOverrun(t *testing.T) {
	d := start(t, apitest.New())
	m, err := d.client(t).Monitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for range 50 * monitorQueue {
		d.Emit(event())
	}
	seen := 0
	for ; err == nil; seen++ {
		_, err = m.Next()
	}
	var e *api.Error
	if !errors.As(err, &e) || e.Kind != api.Refused || !strings.Contains(e.Text, "some are lost") {
		t.Errorf("after %d events: %v", seen, err)
	}
	until(t, "it watches no longer", func() bool { return d.Watchers() == 0 })
}

func TestMonitorsAreCounted(t *testing.T) {
	d := start(t, apitest.New())
	c := d.client(t)
	var monitors []*Monitor
	for range maxMonitors {
		m, err := c.Monitor(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		monitors = append(monitors, m)
	}
	_, err := c.Monitor(t.Context())
	var e *api.Error
	if !errors.As(err, &e) || e.Kind != api.Refused {
		t.Errorf("one more: %v", err)
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Errorf("others get through no longer: %v", err)
	}
	monitors[0].Close()
	until(t, "one more is served", func() bool {
		m, err := c.Monitor(t.Context())
		if err == nil {
			m.Close()
		}
		return err == nil
	})
}

// A Backend that does not let itself be watched.
type blind struct{ *apitest.Backend }

func (blind) Watch([]api.Kind, func(api.Event)) (func(), error) {
	return nil, errors.New("no watching here")
}

func TestMonitorPassesOnErrors(t *testing.T) {
	w := ask(Handler(blind{apitest.New()}), "GET", "/v1/monitor", "")
	if e := refused(t, w); w.Code != 500 || e.Text != "no watching here" {
		t.Errorf("%d %+v", w.Code, e)
	}
}
