package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
)

// ask sends one request to a handler.
func ask(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

// refused returns what an answer that is not 200 says.
func refused(t *testing.T, w *httptest.ResponseRecorder) *api.Error {
	t.Helper()
	var e errorBody
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Error == nil || e.Error.Text == "" {
		t.Fatalf("%d %q is no error document: %v", w.Code, w.Body, err)
	}
	return e.Error
}

// A request is taken, and the Backend is asked for exactly what stands there.
func TestEndpointsGood(t *testing.T) {
	for _, test := range []struct {
		method, target, body string
		call                 string // what the Backend notes
		answer               string // the beginning of the document
	}{
		{"GET", "/v1/version", "", "", `{"version":"v1.2.3","go":"go1.26","pid":4242}`},
		{"GET", "/v1/status", "", "", `{"version":"v1.2.3","pid":4242,"uptime_seconds":3723,`},
		{"GET", "/v1/node", "", "", `{"subnets":["10.244.1.0/24","fd00:1::/64"],"mtu":1450,"source":"flannel",`},
		{"GET", "/v1/segments", "", "", `[{"vni":42,"mode":"bridge","device":"vx42",`},
		{"GET", "/v1/segments?dev=vx43&segment=43", "", "", `[{"vni":43,`},
		{"GET", "/v1/counters", "", "", `{"segments":[{"vni":42,`},
		{"GET", "/v1/counters?segment=43", "", "", `{"segments":[{"vni":43,`},
		{"GET", "/v1/fdb", "", "", `[{"mac":"00:00:00:00:00:00","ifname":"vx42",`},
		{"GET", "/v1/fdb?dev=vx43", "", "", `[{"mac":"00:00:00:00:00:00","ifname":"vx43",`},
		{"GET", "/v1/fdb?mac=02-00-00-00-00-03", "", "", `[{"mac":"02:00:00:00:00:03",`},
		{"GET", "/v1/remotes?segment=42", "", "", `[{"ip":"192.0.2.2",`},
		{"GET", "/v1/neighbours?dev=vx43", "", "", `[]`},
		{"GET", "/v1/neighbours?dev=", "", "", `[{"ip":"10.99.0.2",`},
		{"POST", "/v1/fdb", `{"op":"add","dev":"vx42","mac":"02:00:00:00:00:10","dst":"::ffff:192.0.2.7"}`,
			`FDBChange {"op":"add","dev":"vx42","mac":"02:00:00:00:00:10","dst":"192.0.2.7","state":"permanent"}`, `{"changed":1}`},
		{"POST", "/v1/fdb", ` {"op":"replace","segment":42,"mac":"02:00:00:00:00:10","dst":"192.0.2.7","port":4790,"vni":0,"state":"static"} ` + "\n",
			`FDBChange {"op":"replace","segment":42,"mac":"02:00:00:00:00:10","dst":"192.0.2.7","port":4790,"vni":0,"state":"static"}`, `{"changed":1}`},
		{"POST", "/v1/fdb", `{"op":"append","dev":"vx42","mac":"00:00:00:00:00:00","dst":"192.0.2.7","state":"dynamic"}`,
			`FDBChange {"op":"append","dev":"vx42","mac":"00:00:00:00:00:00","dst":"192.0.2.7","state":"dynamic"}`, `{"changed":1}`},
		{"POST", "/v1/fdb", `{"op":"del","dev":"vx42","mac":"02:00:00:00:00:02"}`,
			`FDBChange {"op":"del","dev":"vx42","mac":"02:00:00:00:00:02","state":"permanent"}`, `{"changed":1,"note":"named by `},
		{"POST", "/v1/fdb/flush", `{}`, `FDBFlush {}`, `{"changed":1}`},
		{"POST", "/v1/fdb/flush", `{"all":true,"segment":43,"static":false,"dst":"2001:db8::2","vni":7,"port":4790}`,
			`FDBFlush {"segment":43,"all":true,"static":false,"dst":"2001:db8::2","port":4790,"vni":7}`, `{"changed":1}`},
		{"POST", "/v1/remotes", `{"op":"add","dev":"vx42","ip":"192.0.2.7","port":4790,"vni":16777215}`,
			`RemoteChange {"op":"add","dev":"vx42","ip":"192.0.2.7","port":4790,"vni":16777215}`, `{"changed":1}`},
		{"POST", "/v1/remotes", `{"op":"del","dev":"vx42","ip":"192.0.2.2"}`,
			`RemoteChange {"op":"del","dev":"vx42","ip":"192.0.2.2"}`, `{"changed":1,"note":"named by `},
		{"POST", "/v1/neighbours", `{"op":"replace","dev":"vx42","ip":"10.99.0.2","mac":"02:00:00:00:00:05"}`,
			`NeighChange {"op":"replace","dev":"vx42","ip":"10.99.0.2","mac":"02:00:00:00:00:05"}`, `{"changed":1}`},
		{"POST", "/v1/neighbours", `{"op":"del","segment":42,"ip":"10.99.0.2"}`,
			`NeighChange {"op":"del","segment":42,"ip":"10.99.0.2"}`, `{"changed":1}`},
		{"GET", "/v1/routes", "", "", `[{"prefix":"10.244.2.0/24","via":"192.0.2.2",`},
		{"GET", "/v1/routes?dev=vx42", "", "", `[]`},
		{"GET", "/v1/routes?ip=2001:db8:2::7&segment=43", "", "", `[{"prefix":"2001:db8:2::/64",`},
		{"GET", "/v1/routes?ip=::ffff:10.244.3.1", "", "", `[{"prefix":"10.244.3.0/24","via":"192.0.2.3","port":4789,"vni":43,"ifname"`},
		{"POST", "/v1/routes", `{"op":"add","dev":"vx43","prefix":"::ffff:10.7.0.0/112","via":"::ffff:192.0.2.7","port":8472,"vni":7,"mac":"02:00:00:00:00:07"}`,
			`RouteChange {"op":"add","dev":"vx43","prefix":"10.7.0.0/16","via":"192.0.2.7","port":8472,"vni":7,"mac":"02:00:00:00:00:07"}`, `{"changed":1}`},
		{"POST", "/v1/routes", `{"op":"replace","segment":43,"prefix":"10.244.2.0/24","via":"192.0.2.7"}`,
			`RouteChange {"op":"replace","segment":43,"prefix":"10.244.2.0/24","via":"192.0.2.7"}`, `{"changed":1}`},
		{"POST", "/v1/routes", `{"op":"del","dev":"vx43","prefix":"10.244.2.0/24"}`,
			`RouteChange {"op":"del","dev":"vx43","prefix":"10.244.2.0/24"}`, `{"changed":1,"note":"named by `},
		{"POST", "/v1/reload", "", `Reload null`, `{"changed":2}`},
		{"POST", "/v1/log", `{"level":"debug"}`, `SetLogLevel "debug"`, `{"changed":1}`},
	} {
		b := apitest.New()
		w := ask(Handler(b), test.method, test.target, test.body)
		name := test.method + " " + test.target + " " + test.body
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), test.answer) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: the content is %q", name, got)
		}
		if diff := cmp.Diff(test.call, strings.Join(b.Calls(), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A request that makes no sense is answered with a reason and never reaches
// the Backend.
func TestEndpointsUsage(t *testing.T) {
	const add = `"op":"add","dev":"vx42","mac":"02:00:00:00:00:10"`
	for _, test := range []struct {
		method, target, body string
		text                 string // part of the reason
	}{
		{"GET", "/v1/version?x=1", "", `no such parameter: "x"`},
		{"GET", "/v1/status?dev=vx42", "", `no such parameter: "dev"`},
		{"GET", "/v1/segments?dev=vx42&dev=vx43", "", `dev is there 2 times`},
		{"GET", "/v1/segments?segment=forty", "", `"forty" is not a VNI, 0 to 16777215`},
		{"GET", "/v1/counters?segment=16777216", "", `is not a VNI`},
		{"GET", "/v1/counters?segment=-1", "", `is not a VNI`},
		{"GET", "/v1/counters?segment=", "", `is not a VNI`},
		{"GET", "/v1/remotes?%zz", "", `query: `},
		{"GET", "/v1/neighbours?segment=1;dev=x", "", `query: `},
		{"GET", "/v1/fdb?mac=", "", `mac: `},
		{"GET", "/v1/fdb?mac=02:00:00:00:00", "", `is not a MAC address`},
		{"GET", "/v1/monitor?kind=stars", "", `"stars" is none of [fdb remote neigh route]`},
		{"GET", "/v1/monitor?kind=fdb&kind=", "", `is none of`},
		{"POST", "/v1/fdb", ``, `a JSON object is needed`},
		{"POST", "/v1/fdb", " \n", `a JSON object is needed`},
		{"POST", "/v1/fdb", `null`, `a JSON object is needed`},
		{"POST", "/v1/fdb", `[]`, `a JSON object is needed`},
		{"POST", "/v1/fdb", `{"op":"add"`, `unexpected EOF`},
		{"POST", "/v1/fdb", `{"op":"add"}{}`, `more than one JSON value`},
		{"POST", "/v1/fdb", `{"op":"add"} x`, `more than one JSON value`},
		{"POST", "/v1/fdb", `{"op":"add",}`, `invalid character`},
		{"POST", "/v1/fdb", `{"op":1}`, `cannot unmarshal number`},
		{"POST", "/v1/fdb", `{"op":"add","colour":"red"}`, `unknown field "colour"`},
		{"POST", "/v1/fdb", `{"op":"paint","mac":"02:00:00:00:00:10"}`, `"paint" is none of [add append replace del]`},
		{"POST", "/v1/fdb", `{"op":"add","dev":"vx42","dst":"192.0.2.7"}`, `a MAC is missing`},
		{"POST", "/v1/fdb", `{"op":"del","dev":"vx42"}`, `a MAC is missing`},
		{"POST", "/v1/fdb", `{"op":"add","dev":"vx42","mac":"2","dst":"192.0.2.7"}`, `not a MAC address`},
		{"POST", "/v1/fdb", `{` + add + `}`, `an IP address is missing`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"host.example"}`, `host.example`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"0.0.0.0"}`, `nobody's address`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"::ffff:0.0.0.0"}`, `nobody's address`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"fe80::1%eth0"}`, `zone`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"192.0.2.7","port":65536}`, `cannot unmarshal`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"192.0.2.7","vni":16777216}`, `16777216 is not a VNI`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"192.0.2.7","vni":-1}`, `cannot unmarshal`},
		{"POST", "/v1/fdb", `{` + add + `,"dst":"192.0.2.7","state":"eternal"}`, `"eternal" is none of dynamic, static, permanent`},
		{"POST", "/v1/fdb", `{"op":"del","segment":4294967295,"mac":"02:00:00:00:00:10"}`, `4294967295 is not a VNI`},
		{"POST", "/v1/fdb?dev=vx42", `{` + add + `,"dst":"192.0.2.7"}`, `no such parameter`},
		{"POST", "/v1/fdb/flush", ``, `a JSON object is needed`},
		{"POST", "/v1/fdb/flush", `{"everything":true}`, `unknown field`},
		{"POST", "/v1/fdb/flush", `{"segment":16777216}`, `not a VNI`},
		{"POST", "/v1/fdb/flush", `{"dst":"::"}`, `nobody's address`},
		{"POST", "/v1/remotes", `{"op":"append","ip":"192.0.2.7"}`, `"append" is none of [add del]`},
		{"POST", "/v1/remotes", `{"op":"add"}`, `an IP address is missing`},
		{"POST", "/v1/remotes", `{"op":"del"}`, `an IP address is missing`},
		{"POST", "/v1/remotes", `{"op":"add","ip":"192.0.2.7","vni":16777216}`, `not a VNI`},
		{"POST", "/v1/remotes", `{"op":"add","ip":"192.0.2.7:4790"}`, `192.0.2.7:4790`},
		{"POST", "/v1/neighbours", `{"op":"append","ip":"10.99.0.3"}`, `is none of [add replace del]`},
		{"POST", "/v1/neighbours", `{"op":"add","ip":"10.99.0.3","segment":16777216}`, `not a VNI`},
		{"POST", "/v1/neighbours", `{"op":"add","mac":"02:00:00:00:00:03"}`, `an IP address is missing`},
		{"POST", "/v1/neighbours", `{"op":"add","ip":"10.99.0.3"}`, `a neighbour has a unicast MAC, not 00:00:00:00:00:00`},
		{"POST", "/v1/neighbours", `{"op":"add","ip":"10.99.0.3","mac":"01:00:00:00:00:03"}`, `a neighbour has a unicast MAC`},
		{"POST", "/v1/neighbours", `{"op":"add","ip":"ff02::1","mac":"02:00:00:00:00:03"}`, `a group has no neighbour entry`},
		{"GET", "/v1/routes?ip=", "", `ip: "" is not an IP address`},
		{"GET", "/v1/routes?ip=10.0.0.0/8", "", `is not an IP address`},
		{"GET", "/v1/routes?ip=fe80::1%25eth0", "", `zone`},
		{"POST", "/v1/routes", `{"op":"append","prefix":"10.7.0.0/16"}`, `is none of [add replace del]`},
		{"POST", "/v1/routes", `{"op":"add","via":"192.0.2.7"}`, `a prefix is missing`},
		{"POST", "/v1/routes", `{"op":"add","prefix":"10.7.0.0/33","via":"192.0.2.7"}`, `10.7.0.0/33`},
		{"POST", "/v1/routes", `{"op":"add","prefix":"10.7.0.1/16","via":"192.0.2.7"}`, `10.7.0.1/16 has host bits: say 10.7.0.0/16`},
		{"POST", "/v1/routes", `{"op":"del","prefix":"ff00::/8"}`, `ff00::/8 is for groups`},
		{"POST", "/v1/routes", `{"op":"add","prefix":"10.7.0.0/16"}`, `an IP address is missing`},
		{"POST", "/v1/routes", `{"op":"add","prefix":"10.7.0.0/16","via":"0.0.0.0"}`, `nobody's address`},
		{"POST", "/v1/routes", `{"op":"add","prefix":"10.7.0.0/16","via":"192.0.2.7","mac":"01:00:00:00:00:01"}`, `a router has a unicast MAC`},
		{"POST", "/v1/routes", `{"op":"add","prefix":"10.7.0.0/16","via":"192.0.2.7","vni":16777216}`, `not a VNI`},
		{"POST", "/v1/reload?force=1", ``, `no such parameter`},
		{"POST", "/v1/log", `{}`, `"" is none of debug, info, warn, error`},
		{"POST", "/v1/log", `{"level":"chatty"}`, `"chatty" is none of`},
		{"POST", "/v1/log", `{"level":"debug","level2":"x"}`, `unknown field`},
	} {
		b := apitest.New()
		w := ask(Handler(b), test.method, test.target, test.body)
		name := test.method + " " + test.target + " " + test.body
		e := refused(t, w)
		if w.Code != http.StatusBadRequest || e.Kind != api.Usage || !strings.Contains(e.Text, test.text) {
			t.Errorf("%s: %d %+v", name, w.Code, e)
		}
		if calls := b.Calls(); calls != nil {
			t.Errorf("%s: the Backend was asked for %v", name, calls)
		}
	}
}

// What the Backend says is passed on, with the status code that says the same.
func TestEndpointsRefused(t *testing.T) {
	for _, test := range []struct {
		method, target, body string
		status               int
		kind                 api.ErrorKind
	}{
		{"GET", "/v1/segments?dev=vx99", "", 404, api.NotFound},
		{"GET", "/v1/segments?dev=vx42&segment=43", "", 404, api.NotFound},
		{"GET", "/v1/counters?segment=9", "", 404, api.NotFound},
		{"GET", "/v1/fdb?dev=vx99", "", 404, api.NotFound},
		{"GET", "/v1/fdb?mac=02:00:00:00:00:99", "", 404, api.NotFound},
		{"GET", "/v1/remotes?segment=9", "", 404, api.NotFound},
		{"GET", "/v1/neighbours?segment=9", "", 404, api.NotFound},
		{"POST", "/v1/fdb", `{"op":"add","mac":"02:00:00:00:00:10","dst":"192.0.2.7"}`, 400, api.Usage},
		{"POST", "/v1/fdb", `{"op":"add","dev":"vx99","mac":"02:00:00:00:00:10","dst":"192.0.2.7"}`, 404, api.NotFound},
		{"POST", "/v1/fdb", `{"op":"add","dev":"vx42","mac":"02:00:00:00:00:02","dst":"192.0.2.7"}`, 409, api.Refused},
		{"POST", "/v1/fdb", `{"op":"del","dev":"vx42","mac":"02:00:00:00:00:99"}`, 404, api.NotFound},
		{"POST", "/v1/fdb/flush", `{"dev":"vx99"}`, 404, api.NotFound},
		{"POST", "/v1/remotes", `{"op":"del","dev":"vx42","ip":"192.0.2.99"}`, 404, api.NotFound},
		{"POST", "/v1/neighbours", `{"op":"add","dev":"vx42","ip":"10.99.0.2","mac":"02:00:00:00:00:03"}`, 409, api.Refused},
		{"POST", "/v1/neighbours", `{"op":"del","dev":"vx42","ip":"10.99.0.99"}`, 404, api.NotFound},
		{"POST", "/v1/reload", ``, 500, api.Internal},
		{"GET", "/", "", 404, api.NotFound},
		{"GET", "/v1/fdb/", "", 404, api.NotFound},
		{"GET", "/v2/version", "", 404, api.NotFound},
		{"POST", "/v1/route", "{}", 404, api.NotFound},
	} {
		b := apitest.New()
		b.ReloadError = errors.New("the disk is on fire")
		w := ask(Handler(b), test.method, test.target, test.body)
		if e := refused(t, w); w.Code != test.status || e.Kind != test.kind {
			t.Errorf("%s %s %s: %d %+v", test.method, test.target, test.body, w.Code, e)
		}
	}
}

func TestReloadListsProblems(t *testing.T) {
	b := apitest.New()
	b.ReloadError = fmt.Errorf("reload: %w", &api.Error{Kind: api.Refused, Text: "not in force", Problems: []string{"f:1: a", "f:2: b"}})
	w := ask(Handler(b), "POST", "/v1/reload", "")
	want := &api.Error{Kind: api.Refused, Text: "not in force", Problems: []string{"f:1: a", "f:2: b"}}
	if diff := cmp.Diff(want, refused(t, w)); diff != "" || w.Code != http.StatusConflict {
		t.Errorf("%d (-want +got):\n%s", w.Code, diff)
	}
}

func TestWrongMethod(t *testing.T) {
	all := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"}
	h := newHandler(apitest.New())
	for path, methods := range h.routes {
		for _, m := range all {
			if _, ok := methods[m]; ok {
				continue
			}
			w := ask(h, m, path, "{}")
			if e := refused(t, w); w.Code != http.StatusMethodNotAllowed || e.Kind != api.Usage {
				t.Errorf("%s %s: %d %+v", m, path, w.Code, e)
			}
			allowed := strings.Split(w.Header().Get("Allow"), ", ")
			for a := range methods {
				if len(allowed) != len(methods) || !slices.Contains(allowed, a) {
					t.Errorf("%s %s: Allow is %q", m, path, allowed)
				}
			}
		}
	}
}

// Every path that takes a document refuses fields that are not known.
func TestUnknownFields(t *testing.T) {
	h := newHandler(apitest.New())
	for path, methods := range h.routes {
		if _, ok := methods["POST"]; !ok || path == "/v1/reload" { // which takes no document
			continue
		}
		w := ask(h, "POST", path, `{"no_such_field":1}`)
		if e := refused(t, w); w.Code != http.StatusBadRequest || !strings.Contains(e.Text, `unknown field "no_such_field"`) {
			t.Errorf("%s: %d %+v", path, w.Code, e)
		}
	}
}

func TestOversizedBody(t *testing.T) {
	h := newHandler(apitest.New())
	body := `{"level":"` + strings.Repeat("x", maxBody) + `"}`
	for path, methods := range h.routes {
		for m := range methods {
			w := ask(h, m, path, body)
			if e := refused(t, w); w.Code != http.StatusRequestEntityTooLarge || e.Kind != api.Usage {
				t.Errorf("%s %s: %d %+v", m, path, w.Code, e)
			}
		}
	}
	fits := `{"level":"info"}`
	fits += strings.Repeat(" ", maxBody-len(fits))
	if w := ask(h, "POST", "/v1/log", fits); w.Code != http.StatusOK {
		t.Errorf("%d bytes: %d %s", len(fits), w.Code, w.Body)
	}
	if w := ask(h, "POST", "/v1/log", fits+" "); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d bytes: %d %s", len(fits)+1, w.Code, w.Body)
	}
}
