package control

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"vtepd/cmd/internal/api"
)

// maxBody is the largest request body in bytes. A sensible one has a few
// hundred.
const maxBody = 64 << 10

// A handler serves the paths of docs/api.md.
type handler struct {
	backend  api.Backend
	routes   map[string]map[string]route // by path, then by method
	monitors chan struct{}               // a token for each monitor that is served

	stopOnce sync.Once
	stopping chan struct{} // closed when the daemon stops
}

// A route says how one method on one path is answered.
type route struct {
	// serve returns the document to answer with, or nil if it wrote the answer
	// itself.
	serve func(http.ResponseWriter, *request) (any, error)
	// params are the query parameters there may be.
	params []string
}

// A request is one whose route was found, whose parameters are all known to
// it, and whose body was read.
type request struct {
	*http.Request
	values url.Values
	body   []byte
}

// Handler returns the control API of a Backend, to serve it elsewhere than on
// the control socket.
func Handler(b api.Backend) http.Handler { return newHandler(b) }

func newHandler(b api.Backend) *handler {
	h := &handler{backend: b, monitors: make(chan struct{}, maxMonitors), stopping: make(chan struct{})}
	const get, post = http.MethodGet, http.MethodPost
	selector := []string{"dev", "segment"}
	h.routes = map[string]map[string]route{
		"/v1/version":    {get: {serve: h.version}},
		"/v1/status":     {get: {serve: h.status}},
		"/v1/node":       {get: {serve: h.node}},
		"/v1/segments":   {get: {serve: h.segments, params: selector}},
		"/v1/counters":   {get: {serve: h.counters, params: selector}},
		"/v1/fdb":        {get: {serve: h.fdb, params: []string{"dev", "segment", "mac"}}, post: {serve: h.fdbChange}},
		"/v1/fdb/flush":  {post: {serve: h.fdbFlush}},
		"/v1/remotes":    {get: {serve: h.remotes, params: selector}, post: {serve: h.remoteChange}},
		"/v1/neighbours": {get: {serve: h.neighbours, params: selector}, post: {serve: h.neighChange}},
		"/v1/routes":     {get: {serve: h.routesList, params: []string{"dev", "segment", "ip"}}, post: {serve: h.routeChange}},
		"/v1/leases":     {get: {serve: h.leases}},
		"/v1/monitor":    {get: {serve: h.monitor, params: []string{"kind"}}},
		"/v1/reload":     {post: {serve: h.reload}},
		"/v1/log":        {post: {serve: h.logLevel}},
	}
	return h
}

// stop ends the monitors.
func (h *handler) stop() { h.stopOnce.Do(func() { close(h.stopping) }) }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Not every writer has deadlines; the control socket's has.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTime))
	_ = rc.SetWriteDeadline(time.Now().Add(writeTime))
	answer, err := h.answer(w, r, rc)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTime)) // reading may have used up the first one
	if err != nil {
		e := api.AsError(err)
		write(w, httpStatus(err, e), errorBody{e})
	} else if answer != nil {
		write(w, http.StatusOK, answer)
	}
}

func (h *handler) answer(w http.ResponseWriter, r *http.Request, rc *http.ResponseController) (any, error) {
	methods, ok := h.routes[r.URL.Path]
	if !ok {
		return nil, api.NotFoundf("no such path: %q", r.URL.Path)
	}
	found, ok := methods[r.Method]
	if !ok {
		allowed := slices.Sorted(maps.Keys(methods))
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, &httpError{http.StatusMethodNotAllowed,
			api.Usagef("%s takes %s", r.URL.Path, strings.Join(allowed, " or "))}
	}
	values, err := query(r.URL.RawQuery, found.params)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, badBody(err)
	}
	// From here on the connection is only read to see that the client is gone,
	// and the Backend may take its time.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	return found.serve(w, &request{Request: r, values: values, body: body})
}

// An httpError is an error with a status code that its kind does not say.
type httpError struct {
	status int
	err    *api.Error
}

// Error implements error.
func (e *httpError) Error() string { return e.err.Error() }

// Unwrap returns the [*api.Error].
func (e *httpError) Unwrap() error { return e.err }

func badBody(err error) error {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return &httpError{http.StatusRequestEntityTooLarge,
			api.Usagef("request body: more than %d bytes", tooBig.Limit)}
	}
	return api.Usagef("request body: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// httpStatus maps an error to the code that says the same.
func httpStatus(err error, e *api.Error) int {
	var coded *httpError
	if errors.As(err, &coded) {
		return coded.status
	}
	switch e.Kind {
	case api.Usage:
		return http.StatusBadRequest
	case api.NotFound:
		return http.StatusNotFound
	case api.Refused:
		return http.StatusConflict
	}
	return http.StatusInternalServerError
}

// errorBody is the document of every answer that is not 200, and the last line
// of a monitor.
type errorBody struct {
	Error *api.Error `json:"error"`
}

// write answers with one document. The client may be gone by now, which is its
// own affair.
func write(w http.ResponseWriter, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		status = http.StatusInternalServerError
		body = []byte(`{"error":{"kind":"internal","text":"the answer cannot be written as JSON"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
