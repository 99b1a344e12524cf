package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// patience is how long a test waits for what must happen soon.
const patience = 5 * time.Second

// bin is where TestMain built vtepd and vtepctl.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vtepd-e2e")
	if err == nil {
		err = lab.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program in a host, which must succeed.
func run(t testing.TB, h *lab.Host, args ...string) string {
	t.Helper()
	out, err := h.Run(args[0], args[1:]...)
	must(t, err)
	return out
}

// vtepd starts a daemon, which must come up. What it says is shown when the
// test fails.
func vtepd(t testing.TB, h *lab.Host, args ...string) *lab.Daemon {
	t.Helper()
	d, err := h.Vtepd(bin, args...)
	t.Cleanup(func() {
		if t.Failed() && d != nil && d.Proc != nil {
			t.Logf("vtepd in %s:\n%s", h.Name, d.Output())
		}
	})
	must(t, err)
	return d
}

func vtepdFile(t testing.TB, h *lab.Host, config string) *lab.Daemon {
	t.Helper()
	d, err := h.VtepdFile(bin, config)
	t.Cleanup(func() {
		if t.Failed() && d != nil && d.Proc != nil {
			t.Logf("vtepd in %s:\n%s", h.Name, d.Output())
		}
	})
	must(t, err)
	return d
}

func ctl(t testing.TB, d *lab.Daemon, args ...string) string {
	t.Helper()
	out, err := d.Ctl(args...)
	must(t, err)
	return out
}

func counters(t testing.TB, d *lab.Daemon) api.Counters {
	t.Helper()
	var c api.Counters
	must(t, json.Unmarshal([]byte(ctl(t, d, "-j", "counters")), &c))
	return c
}

func fdbShow(t testing.TB, d *lab.Daemon) []api.FDBEntry {
	t.Helper()
	var es []api.FDBEntry
	must(t, json.Unmarshal([]byte(ctl(t, d, "-j", "fdb", "show")), &es))
	return es
}

func ping(t testing.TB, h *lab.Host, dst string, args ...string) {
	t.Helper()
	must(t, h.PingUntil(dst, 5*time.Second))
	if len(args) > 0 {
		if _, err := h.Ping(dst, args...); err != nil {
			t.Error(err)
		}
	}
}

// mac returns the address of a device.
func mac(t testing.TB, h *lab.Host, dev string) string {
	t.Helper()
	return strings.TrimSpace(run(t, h, "cat", "/sys/class/net/"+dev+"/address"))
}

func decode(t testing.TB, text string, v any) {
	t.Helper()
	must(t, json.Unmarshal([]byte(text), v))
}
