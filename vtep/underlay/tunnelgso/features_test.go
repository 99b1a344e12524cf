package tunnelgso

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCuts compares with what the program ethtool sets.
func TestCuts(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
	for _, c := range []struct {
		set  string
		want bool
	}{{"on", true}, {"off", false}, {"on", true}} {
		run("ethtool", "-K", "v0", cutting, c.set)
		if got, err := Cuts("v0"); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.set, got, err)
		}
	}
	for _, name := range []string{"none", "", "a-name-of-sixteen"} {
		if got, err := Cuts(name); err == nil || got {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}
