package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"vtepd/cmd/internal/api"
)

// A Monitor is a stream of changes. One goroutine uses it; Close may be called
// by any.
type Monitor struct {
	client *Client
	body   io.ReadCloser
	lines  *json.Decoder
}

// Monitor starts to watch changes of the given kinds, of all when there are
// none. When it returns every later change is seen. The Monitor ends with ctx
// or Close.
func (c *Client) Monitor(ctx context.Context, kinds ...api.Kind) (*Monitor, error) {
	v := url.Values{}
	for _, k := range kinds {
		v.Add("kind", string(k))
	}
	body, err := c.open(ctx, answerTime, http.MethodGet, "/v1/monitor", v, nil)
	if err != nil {
		return nil, err
	}
	return &Monitor{client: c, body: body, lines: json.NewDecoder(body)}, nil
}

// Next waits for the next change. Its error is an [*api.Error] when the daemon
// ended the stream and said why, context.Canceled after Close or the end of the
// context, and otherwise an [*Unreachable].
func (m *Monitor) Next() (api.Event, error) {
	var line struct {
		api.Event
		errorBody
	}
	if err := m.lines.Decode(&line); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the daemon went away")
		}
		return api.Event{}, m.client.broken(err)
	}
	if line.Error != nil {
		return api.Event{}, line.Error
	}
	return line.Event, nil
}

// Close ends the stream.
func (m *Monitor) Close() error { return m.body.Close() }
