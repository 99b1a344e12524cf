package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
)

// The client's limits.
const (
	dialTime   = 2 * time.Second
	answerTime = 30 * time.Second // until the daemon starts to answer
	reloadTime = 5 * time.Minute  // a reload waits for the host
	maxAnswer  = 64 << 20         // bytes of a document that is not streamed
)

// A Client asks the daemon behind a control socket. Its methods may be called
// from any goroutine. Their errors are an [*Unreachable] when nobody answers,
// and an [*api.Error] when the daemon says no.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the daemon at the socket. It does not connect.
func NewClient(path string) *Client {
	dialer := net.Dialer{Timeout: dialTime}
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", path)
		},
		DisableCompression: true,
	}}}
}

// Close gives idle connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Version asks what the daemon is.
func (c *Client) Version(ctx context.Context) (v api.Version, err error) {
	err = c.get(ctx, "/v1/version", nil, &v)
	return v, err
}

// Status asks for the daemon at a glance.
func (c *Client) Status(ctx context.Context) (s api.Status, err error) {
	err = c.get(ctx, "/v1/status", nil, &s)
	return s, err
}

// Node asks for the subnets of this node's pods.
func (c *Client) Node(ctx context.Context) (n api.Node, err error) {
	err = c.get(ctx, "/v1/node", nil, &n)
	return n, err
}

// Segments asks for segments.
func (c *Client) Segments(ctx context.Context, s api.Selector) (out []api.SegmentStatus, err error) {
	err = c.get(ctx, "/v1/segments", values(s), &out)
	return out, err
}

// Leases asks for what control planes gave this node.
func (c *Client) Leases(ctx context.Context) (out []api.Lease, err error) {
	err = c.get(ctx, "/v1/leases", nil, &out)
	return out, err
}

// Counters asks for counters.
func (c *Client) Counters(ctx context.Context, s api.Selector) (out api.Counters, err error) {
	err = c.get(ctx, "/v1/counters", values(s), &out)
	return out, err
}

// FDB calls each with every entry as it arrives, until it returns an error.
func (c *Client) FDB(ctx context.Context, s api.Selector, each func(api.FDBEntry) error) error {
	return streamed(ctx, c, "/v1/fdb", s, each)
}

// FDBGet asks for the entries of one MAC.
func (c *Client) FDBGet(ctx context.Context, s api.Selector, mac packet.MAC) (out []api.FDBEntry, err error) {
	v := values(s)
	v.Set("mac", mac.String())
	err = c.get(ctx, "/v1/fdb", v, &out)
	return out, err
}

// FDBChange changes the FDB.
func (c *Client) FDBChange(ctx context.Context, change api.FDBChange) (api.Result, error) {
	return c.post(ctx, "/v1/fdb", change)
}

// FDBFlush deletes many entries of the FDB.
func (c *Client) FDBFlush(ctx context.Context, flush api.FDBFlush) (api.Result, error) {
	return c.post(ctx, "/v1/fdb/flush", flush)
}

// Remotes asks for the VTEPs that segments know.
func (c *Client) Remotes(ctx context.Context, s api.Selector) (out []api.Remote, err error) {
	err = c.get(ctx, "/v1/remotes", values(s), &out)
	return out, err
}

// RemoteChange changes a flood list.
func (c *Client) RemoteChange(ctx context.Context, change api.RemoteChange) (api.Result, error) {
	return c.post(ctx, "/v1/remotes", change)
}

// Neighbours asks for the neighbours that segments answer for.
func (c *Client) Neighbours(ctx context.Context, s api.Selector) (out []api.Neighbour, err error) {
	err = c.get(ctx, "/v1/neighbours", values(s), &out)
	return out, err
}

// NeighChange changes the neighbours.
func (c *Client) NeighChange(ctx context.Context, change api.NeighChange) (api.Result, error) {
	return c.post(ctx, "/v1/neighbours", change)
}

// Routes calls each with every prefix as it arrives, until it returns an error.
func (c *Client) Routes(ctx context.Context, s api.Selector, each func(api.Route) error) error {
	return streamed(ctx, c, "/v1/routes", s, each)
}

// RouteGet asks for the longest prefix that holds an address.
func (c *Client) RouteGet(ctx context.Context, s api.Selector, ip netip.Addr) (out []api.Route, err error) {
	v := values(s)
	v.Set("ip", ip.String())
	err = c.get(ctx, "/v1/routes", v, &out)
	return out, err
}

// RouteChange changes the prefixes.
func (c *Client) RouteChange(ctx context.Context, change api.RouteChange) (api.Result, error) {
	return c.post(ctx, "/v1/routes", change)
}

// Reload makes the daemon read its configuration file and returns when it is
// in force.
func (c *Client) Reload(ctx context.Context) (r api.Result, err error) {
	err = c.do(ctx, reloadTime, http.MethodPost, "/v1/reload", nil, nil, &r)
	return r, err
}

// SetLogLevel sets the daemon's log level.
func (c *Client) SetLogLevel(ctx context.Context, level string) (api.Result, error) {
	return c.post(ctx, "/v1/log", map[string]string{"level": level})
}

// values puts a Selector into a query.
func values(s api.Selector) url.Values {
	v := url.Values{}
	if s.Device != "" {
		v.Set("dev", s.Device)
	}
	if s.Segment != nil {
		v.Set("segment", strconv.FormatUint(uint64(*s.Segment), 10))
	}
	return v
}

func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, answerTime, http.MethodGet, path, query, nil, out)
}

func (c *Client) post(ctx context.Context, path string, document any) (r api.Result, err error) {
	body, err := json.Marshal(document)
	if err != nil {
		return r, err
	}
	err = c.do(ctx, answerTime, http.MethodPost, path, nil, body, &r)
	return r, err
}

// streamed calls each with every element of an array as it arrives, until it
// returns an error.
func streamed[T any](ctx context.Context, c *Client, path string, s api.Selector, each func(T) error) error {
	body, err := c.open(ctx, answerTime, http.MethodGet, path, values(s), nil)
	if err != nil {
		return err
	}
	defer body.Close()
	d := json.NewDecoder(body)
	if _, err := d.Token(); err != nil {
		return c.broken(err)
	}
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return c.broken(err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return c.broken(err)
	}
	return nil
}

// do asks and reads one document into out.
func (c *Client) do(ctx context.Context, limit time.Duration, method, path string, query url.Values, body []byte, out any) error {
	answer, err := c.open(ctx, limit, method, path, query, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if err := json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(out); err != nil {
		return c.broken(err)
	}
	return nil
}

// open asks and returns the body of a good answer. The daemon has limit to
// start answering.
func (c *Client) open(ctx context.Context, limit time.Duration, method, path string, query url.Values, body []byte) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("no answer within %v", limit)) })
	u := url.URL{Scheme: "http", Host: "vtepd", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, c.unreachable(err)
	}
	stream := &stream{ReadCloser: response.Body, cancel: cancel}
	if response.StatusCode != http.StatusOK {
		err := refusal(response)
		_ = stream.Close() // what mattered was read
		return nil, err
	}
	return stream, nil
}

// A stream is a body whose Close also ends the request.
type stream struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close ends the request.
func (s *stream) Close() error {
	s.cancel(nil)
	return s.ReadCloser.Close()
}

// refusal reads the error document of an answer.
func refusal(r *http.Response) error {
	var e errorBody
	if err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(&e); err != nil || e.Error == nil {
		return &api.Error{Kind: api.Internal, Text: "the daemon answered " + r.Status + " without saying why"}
	}
	return e.Error
}

// unreachable wraps an error of the connection. What the caller asked for (the
// end of its context) stays as it is.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Unreachable{Path: c.path, Err: err}
}

// broken is what an answer that ends in the middle means.
func (c *Client) broken(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Unreachable{Path: c.path, Err: fmt.Errorf("the answer broke off: %w", err)}
}
