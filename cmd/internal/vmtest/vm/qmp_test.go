package vm

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
)

// qemu plays the other side of QMP: a greeting, then an answer a line.
func qemu(t *testing.T, answers ...string) (*monitor, *[]string) {
	t.Helper()
	ours, theirs := net.Pipe()
	var asked []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer theirs.Close()
		in := bufio.NewScanner(theirs)
		greeting := `{"QMP": {"version": {}, "capabilities": []}}` + "\n"
		for _, a := range answers {
			if !in.Scan() {
				return
			}
			asked = append(asked, in.Text())
			if _, err := fmt.Fprint(theirs, greeting+a+"\n"); err != nil {
				return
			}
			greeting = ""
		}
	}()
	t.Cleanup(func() {
		ours.Close()
		<-done
	})
	return newMonitor(ours), &asked
}

func TestExecute(t *testing.T) {
	m, asked := qemu(t, `{"return": {}}`, `{"event": "RESUME"}`+"\n"+`{"return": {}}`, `{"error": {"class": "GenericError", "desc": "no such object"}}`)
	if err := m.execute("object-add", map[string]any{"id": "capture"}); err != nil {
		t.Fatal(err)
	}
	err := m.execute("object-del", nil)
	if err == nil || err.Error() != "qemu: object-del: no such object" {
		t.Errorf("a refusal became %v", err)
	}
	if err := m.execute("quit", nil); err == nil {
		t.Error("a line that ended is no answer")
	}
	want := `{"execute":"qmp_capabilities"}
{"arguments":{"id":"capture"},"execute":"object-add"}
{"execute":"object-del"}`
	if got := strings.Join(*asked, "\n"); got != want {
		t.Errorf("asked\n%s\nwant\n%s", got, want)
	}
}
