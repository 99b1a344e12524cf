package control

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"vtepd/cmd/internal/api"
)

// streamArray answers with a JSON array whose elements are written as they
// come: a million FDB entries are never in memory as text. An error before the
// first element is returned, and nothing was written; after it the array is
// left open, which no reader takes for a whole document.
func streamArray[T any](w http.ResponseWriter, each func(emit func(T) error) error) error {
	rc := http.NewResponseController(w)
	out := bufio.NewWriterSize(w, 64<<10)
	started := false
	start := func() {
		if !started {
			started = true
			w.Header().Set("Content-Type", "application/json")
			_ = out.WriteByte('[')
		}
	}
	first := true
	err := each(func(v T) error {
		start()
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if out.Available() < len(b)+2 { // a write to the client follows
			_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
		}
		if !first {
			_ = out.WriteByte(',')
		}
		first = false
		_, err = out.Write(b)
		return err
	})
	if err != nil && !started {
		return err
	}
	start()
	if err == nil {
		_, _ = out.WriteString("]\n")
	}
	_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
	_ = out.Flush()
	return nil
}

// monitorQueue is how many events wait for a slow monitor before it is
// dropped. An event is a few hundred bytes.
const monitorQueue = 1024

// monitor answers with a line for each change as it happens, until the client
// goes away, is too slow, or the daemon stops. The last line is an error.
func (h *handler) monitor(w http.ResponseWriter, r *request) (any, error) {
	kinds, err := monitorKinds(r)
	if err != nil {
		return nil, err
	}
	select {
	case h.monitors <- struct{}{}:
		defer func() { <-h.monitors }()
	default:
		return nil, api.Refusedf("%d monitors are open, more are not served", maxMonitors)
	}
	queue := make(chan api.Event, monitorQueue)
	overrun := make(chan struct{})
	lost := false
	stop, err := h.backend.Watch(kinds, func(e api.Event) {
		if lost {
			return
		}
		select {
		case queue <- e:
		default:
			lost = true
			close(overrun)
		}
	})
	if err != nil {
		return nil, err
	}
	defer stop()
	m := monitorWriter{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "application/x-ndjson")
	if m.flush() != nil { // the header tells the client that it is watching
		return nil, nil
	}
	m.run(r.Context(), queue, overrun, h.stopping)
	return nil, nil
}

func monitorKinds(r *request) ([]api.Kind, error) {
	var kinds []api.Kind
	for _, v := range r.values["kind"] {
		k, err := parseKind(v)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, k)
	}
	if len(kinds) == 0 {
		kinds = api.Kinds()
	}
	return kinds, nil
}

func parseKind(s string) (api.Kind, error) {
	for _, k := range api.Kinds() {
		if s == string(k) {
			return k, nil
		}
	}
	return "", api.Usagef("kind: %q is none of %v", s, api.Kinds())
}

// A monitorWriter writes lines to one monitor.
type monitorWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (m *monitorWriter) run(ctx context.Context, queue <-chan api.Event, overrun, stopping <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-overrun:
			_ = m.line(errorBody{api.Refusedf("events came faster than they were read: some are lost")})
			_ = m.flush()
			return
		case <-stopping:
			_ = m.line(errorBody{&api.Error{Kind: api.Internal, Text: "the daemon stops"}})
			_ = m.flush()
			return
		case e := <-queue:
			if m.line(e) != nil || len(queue) == 0 && m.flush() != nil {
				return
			}
		}
	}
}

func (m *monitorWriter) line(document any) error {
	b, err := json.Marshal(document)
	if err != nil {
		return err
	}
	_ = m.rc.SetWriteDeadline(time.Now().Add(writeTime))
	_, err = m.w.Write(append(b, '\n'))
	return err
}

func (m *monitorWriter) flush() error {
	_ = m.rc.SetWriteDeadline(time.Now().Add(writeTime))
	return m.rc.Flush()
}
