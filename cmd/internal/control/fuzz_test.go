package control

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
	"vtepd/encap/packet"
)

// A strict Backend fails the test when it is given what no Backend should see.
type strict struct {
	*apitest.Backend
	t *testing.T
}

func (s strict) selector(sel api.Selector) {
	s.vni("segment", sel.Segment)
}

func (s strict) vni(name string, v *uint32) {
	if v != nil && *v > maxVNI {
		s.t.Errorf("%s: %d", name, *v)
	}
}

func (s strict) addr(a netip.Addr, required bool) {
	if required && !a.IsValid() || a.IsValid() && (a.IsUnspecified() || a.Is4In6() || a.Zone() != "") {
		s.t.Errorf("address %v", a)
	}
}

func (s strict) op(op api.Op, known ...api.Op) {
	if !slices.Contains(known, op) {
		s.t.Errorf("op %q", op)
	}
}

func (s strict) Counters(sel api.Selector) (api.Counters, error) {
	s.selector(sel)
	return s.Backend.Counters(sel)
}

func (s strict) FDB(sel api.Selector, emit func(api.FDBEntry) error) error {
	s.selector(sel)
	return s.Backend.FDB(sel, emit)
}

func (s strict) FDBGet(sel api.Selector, mac packet.MAC) ([]api.FDBEntry, error) {
	s.selector(sel)
	return s.Backend.FDBGet(sel, mac)
}

func (s strict) FDBChange(c api.FDBChange) (api.Result, error) {
	s.selector(c.Selector)
	s.vni("vni", c.VNI)
	s.op(c.Op, api.OpAdd, api.OpAppend, api.OpReplace, api.OpDel)
	s.addr(c.Dst, c.Op != api.OpDel)
	if !c.State.Valid() {
		s.t.Errorf("state %q", c.State)
	}
	return s.Backend.FDBChange(c)
}

func (s strict) FDBFlush(f api.FDBFlush) (api.Result, error) {
	s.selector(f.Selector)
	s.vni("vni", f.VNI)
	s.addr(f.Dst, false)
	return s.Backend.FDBFlush(f)
}

func (s strict) RemoteChange(c api.RemoteChange) (api.Result, error) {
	s.selector(c.Selector)
	s.vni("vni", c.VNI)
	s.op(c.Op, api.OpAdd, api.OpDel)
	s.addr(c.IP, true)
	return s.Backend.RemoteChange(c)
}

func (s strict) NeighChange(c api.NeighChange) (api.Result, error) {
	s.selector(c.Selector)
	s.op(c.Op, api.OpAdd, api.OpReplace, api.OpDel)
	s.addr(c.IP, true)
	if c.Op != api.OpDel && (c.MAC.IsZero() || c.MAC.IsMulticast()) || c.IP.IsMulticast() {
		s.t.Errorf("neighbour %+v", c)
	}
	return s.Backend.NeighChange(c)
}

func (s strict) RouteGet(sel api.Selector, ip netip.Addr) ([]api.Route, error) {
	s.selector(sel)
	s.addr(ip, true)
	return s.Backend.RouteGet(sel, ip)
}

func (s strict) RouteChange(c api.RouteChange) (api.Result, error) {
	s.selector(c.Selector)
	s.vni("vni", c.VNI)
	s.op(c.Op, api.OpAdd, api.OpReplace, api.OpDel)
	s.addr(c.Via, c.Op != api.OpDel)
	if !c.Prefix.IsValid() || c.Prefix != c.Prefix.Masked() || c.Prefix.Addr().Is4In6() || c.Prefix.Addr().IsMulticast() {
		s.t.Errorf("prefix %v", c.Prefix)
	}
	if c.Op != api.OpDel && c.MAC.IsMulticast() {
		s.t.Errorf("MAC %v", c.MAC)
	}
	return s.Backend.RouteChange(c)
}

func (s strict) SetLogLevel(level string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, level) {
		s.t.Errorf("level %q", level)
	}
	return s.Backend.SetLogLevel(level)
}

// FuzzRequest gives requests to the control API. Whatever they are, the answer
// is a JSON document (for a monitor none, as it ends at once), an answer that is
// not 200 says why, and the Backend sees only what makes sense.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/v1/version", ""},
		{"GET", "/v1/status", ""},
		{"GET", "/v1/segments?dev=vx42&segment=42", ""},
		{"GET", "/v1/counters?segment=16777215", ""},
		{"GET", "/v1/fdb?dev=vx43", ""},
		{"GET", "/v1/fdb?mac=02:00:00:00:00:03&segment=42", ""},
		{"GET", "/v1/fdb?mac=zz&mac=02-00-00-00-00-03", ""},
		{"GET", "/v1/remotes?segment=-1", ""},
		{"GET", "/v1/neighbours?dev=%00%ff", ""},
		{"GET", "/v1/monitor?kind=fdb&kind=route", ""},
		{"HEAD", "/v1/reload", ""},
		{"POST", "/v1/reload", "{}"},
		{"POST", "/v1/log", `{"level":"debug"}`},
		{"POST", "/v1/fdb", `{"op":"add","dev":"vx42","mac":"02:00:00:00:00:10","dst":"192.0.2.7","port":4790,"vni":7,"state":"static"}`},
		{"POST", "/v1/fdb", `{"op":"append","segment":42,"mac":"00:00:00:00:00:00","dst":"::ffff:192.0.2.7"}`},
		{"POST", "/v1/fdb", `{"op":"del","mac":"02:00:00:00:00:02","dst":"","MAC":null}`},
		{"POST", "/v1/fdb", `{"op":"replace","mac":"02:00:00:00:00:02","dst":"fe80::1%eth0"}`},
		{"POST", "/v1/fdb/flush", `{"all":true,"segment":43,"permanent":true,"static":false,"dst":"::","vni":4294967295}`},
		{"POST", "/v1/remotes", `{"op":"add","dev":"vx42","ip":"2001:db8::7","port":65535,"vni":16777216}`},
		{"POST", "/v1/neighbours", `{"op":"add","dev":"vx42","ip":"10.99.0.3","mac":"02:00:00:00:00:03"}`},
		{"POST", "/v1/neighbours", `{"op":"add","ip":"ff02::1","mac":"ff:ff:ff:ff:ff:ff"}{}`},
		{"POST", "/v1/fdb", `[[[[{"op":"add"`},
		{"GET", "/v1/routes?ip=::ffff:10.244.2.1&dev=vx43", ""},
		{"POST", "/v1/routes", `{"op":"add","dev":"vx43","prefix":"::ffff:10.7.0.0/112","via":"192.0.2.7","mac":"02:00:00:00:00:07"}`},
		{"POST", "/v1/routes", `{"op":"del","segment":43,"prefix":"::/0"}`},
		{"POST", "/v1/routes", `{"op":"replace","prefix":"fe80::%eth0/64","via":"","prefix":"::ffff:0.0.0.0/95"}`},
		{"POST", "/v1/log", `{"level":"` + strings.Repeat("\u2028", 100) + `"}`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip("the HTTP server refuses it")
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // which ends a monitor
		r, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(body))
		if err != nil {
			t.Skip("the HTTP server refuses it")
		}
		b := strict{apitest.New(), t}
		w := httptest.NewRecorder()
		Handler(b).ServeHTTP(w, r)
		if n := b.Watchers(); n != 0 {
			t.Errorf("%d still watch", n)
		}
		if w.Code == http.StatusOK {
			if u.Path != "/v1/monitor" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("the answer is %q", w.Body)
			}
			return
		}
		if !slices.Contains([]int{400, 404, 405, 409, 413}, w.Code) {
			t.Errorf("status %d", w.Code)
		}
		refused(t, w)
		if calls := b.Calls(); w.Code >= 405 && w.Code != 409 && calls != nil {
			t.Errorf("status %d after %v", w.Code, calls)
		}
	})
}
