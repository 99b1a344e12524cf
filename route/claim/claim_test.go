package claim_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/route/claim"
)

// namespace gives the test's thread an empty network namespace, which ends
// with it.
func namespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal(err)
	}
}

func TestOneHolder(t *testing.T) {
	namespace(t)
	c, err := claim.Take("kernel routes")
	if err != nil {
		t.Fatal(err)
	}
	_, err = claim.Take("kernel routes")
	if held := new(claim.Held); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("a second one: %v", err)
	}
	other, err := claim.Take("something else")
	if err != nil {
		t.Errorf("another name: %v", err)
	}
	other.Release()
	c.Release()
	c.Release()
	if c, err = claim.Take("kernel routes"); err != nil {
		t.Errorf("after release: %v", err)
	}
	c.Release()
	(*claim.Claim)(nil).Release()
}

// TestStrangersHaveNoSay: an unprivileged user who sits on the name keeps
// nobody out.
func TestStrangersHaveNoSay(t *testing.T) {
	namespace(t)
	c := exec.Command("setpriv", "--reuid", "65534", "--clear-groups", "socat", "-u", "ABSTRACT-LISTEN:vtepd/kernel routes,fork", "OPEN:/dev/null")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill() // it ends by it
		_ = c.Wait()
	}()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if b, err := os.ReadFile("/proc/thread-self/net/unix"); err == nil && strings.Contains(string(b), "@vtepd/kernel routes") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("socat does not listen")
		}
	}
	got, err := claim.Take("kernel routes")
	if err != nil {
		t.Fatal(err)
	}
	got.Release()
}
