package e2e

import (
	"fmt"
	"os"
	"regexp"
	"testing"

	"vtepd/cmd/internal/lab"
)

// sequence is what ping prints of each answer.
var sequence = regexp.MustCompile(`icmp_seq=(\d+) ttl`)

// witness pings from a host, 200 times a second, until the function it returns
// is called, which checks that no answer is missing between the first and the
// last. What is under way at the end may be cut off: that is no loss.
func witness(t *testing.T, h *lab.Host, addr string) (unharmed func()) {
	t.Helper()
	p, err := h.Start("ping", "-n", "-i", "0.005", addr)
	must(t, err)
	return func() {
		t.Helper()
		must(t, p.Signal(os.Interrupt))
		must(t, p.Wait(patience))
		answers := sequence.FindAllStringSubmatch(p.Output(), -1)
		if len(answers) < 20 {
			t.Errorf("only %d answers: %s", len(answers), p.Output())
		}
		for i, a := range answers {
			if a[1] != fmt.Sprint(i+1) {
				t.Errorf("an untouched segment lost frames: answer %d is to request %s", i+1, a[1])
				return
			}
		}
	}
}
