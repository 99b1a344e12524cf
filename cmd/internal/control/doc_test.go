package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/api/apitest"
	"vtepd/encap/packet"
)

func apiDoc(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// An example is a request in docs/api.md and the answer below it.
type example struct {
	method, target, body string
	status               int
	answer               string
}

func examples(t *testing.T, doc string) []example {
	t.Helper()
	blocks := regexp.MustCompile("(?s)```http\n([A-Z]+) (\\S+)\n(.*?)```\n```json ([0-9]+)\n(.*?)```")
	var all []example
	for _, m := range blocks.FindAllStringSubmatch(doc, -1) {
		status, err := strconv.Atoi(m[4])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, example{m[1], m[2], m[3], status, m[5]})
	}
	if n := strings.Count(doc, "```http"); n != len(all) {
		t.Errorf("%d of %d requests have an answer", len(all), n)
	}
	return all
}

// compact brings JSON, one document or several, to one form.
func compact(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		if err := json.Compact(&out, v); err != nil {
			t.Fatal(err)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// played is what a daemon answers to an example.
func played(t *testing.T, e example) (status int, answer string) {
	t.Helper()
	if !strings.HasPrefix(e.target, "/v1/monitor") {
		w := ask(Handler(apitest.New()), e.method, e.target, e.body)
		return w.Code, w.Body.String()
	}
	d := start(t, apitest.New())
	m, err := d.client(t).open(t.Context(), answerTime, e.method, "/v1/monitor", url.Values{"kind": {"fdb"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	entries, err := d.FDBGet(api.Selector{}, packet.MAC{2, 0, 0, 0, 0, 3})
	if err != nil {
		t.Fatal(err)
	}
	d.Emit(api.Event{Kind: api.KindFDB, Action: api.Added, FDB: &entries[0]})
	lines := bufio.NewReader(m)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	d.stop()
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	return 200, line + string(rest)
}

func TestDocExamples(t *testing.T) {
	for _, e := range examples(t, apiDoc(t)) {
		status, answer := played(t, e)
		if status != e.status {
			t.Errorf("%s %s: status %d, the page says %d", e.method, e.target, status, e.status)
		}
		if diff := cmp.Diff(compact(t, e.answer), compact(t, answer)); diff != "" {
			t.Errorf("%s %s (-page +daemon):\n%s", e.method, e.target, diff)
		}
	}
}

// Every method of every path has a section and an example that is carried out.
func TestDocHasEveryEndpoint(t *testing.T) {
	doc := apiDoc(t)
	shown := make(map[string]bool)
	for _, e := range examples(t, doc) {
		path, _, _ := strings.Cut(e.target, "?")
		shown[e.method+" "+path] = shown[e.method+" "+path] || e.status == 200
	}
	for path, methods := range newHandler(apitest.New()).routes {
		for method, route := range methods {
			name := method + " " + path
			_, section, ok := strings.Cut(doc, "\n## "+name+"\n")
			if !ok || !shown[name] {
				t.Errorf("%s: a section: %v, an example: %v", name, ok, shown[name])
			}
			section, _, _ = strings.Cut(section, "\n## ")
			for _, p := range route.params {
				selector := strings.Contains(section, "selector") && (p == "dev" || p == "segment")
				if !selector && !strings.Contains(section, "`"+p+"`") {
					t.Errorf("%s: parameter %s is not in its section", name, p)
				}
			}
			delete(shown, name)
		}
	}
	for name := range shown {
		t.Errorf("%s is on the page, but not there", name)
	}
}

// Every field of every document stands on the page.
func TestDocHasEveryField(t *testing.T) {
	doc := apiDoc(t)
	seen := make(map[reflect.Type]bool)
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(typ.Elem())
		case reflect.Struct:
			for f := range typ.Fields() {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name != "" && !strings.Contains(doc, `"`+name+`"`) && !strings.Contains(doc, "`"+name+"`") {
					t.Errorf("field %s of %v is not on the page", name, typ)
				}
				walk(f.Type)
			}
		}
	}
	for _, v := range []any{api.Version{}, api.Status{}, api.Node{}, api.SegmentStatus{}, api.Counters{}, api.FDBEntry{}, api.FDBChange{},
		api.FDBFlush{}, api.Remote{}, api.RemoteChange{}, api.Neighbour{}, api.NeighChange{}, api.Route{}, api.RouteChange{}, api.Event{},
		api.Result{}, errorBody{}} {
		walk(reflect.TypeOf(v))
	}
}

// The numbers on the page are those of the code.
func TestDocHasTheLimits(t *testing.T) {
	doc := apiDoc(t)
	seconds := func(d time.Duration) string { return fmt.Sprintf("%g s", d.Seconds()) }
	for _, text := range []string{
		strconv.Itoa(maxBody) + " bytes", "within " + seconds(headerTime), strconv.Itoa(maxHeader>>10) + " KiB",
		"Body: within " + seconds(bodyTime), seconds(writeTime) + " for each piece", strconv.Itoa(maxConns) + " connections", strconv.Itoa(monitorQueue) + " changes",
		strconv.Itoa(maxMonitors) + " monitors", strconv.Itoa(maxVNI), DefaultPath,
	} {
		if !strings.Contains(doc, text) {
			t.Errorf("%q is not on the page", text)
		}
	}
}
