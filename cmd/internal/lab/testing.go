package lab

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Start makes a lab for a test and removes it at its end. Without root the
// test is skipped, unless VTEPD_ROOT_TESTS is set: then it fails.
func Start(t testing.TB) *Lab {
	t.Helper()
	l, err := New()
	if err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("lab: %v", err)
		}
	})
	return l
}

// Hosts makes n hosts for a test: two are joined by a wire, more by a switch.
func Hosts(t testing.TB, n int, w Wire) []*Host {
	t.Helper()
	l := Start(t)
	var hosts []*Host
	for i := range n {
		h, err := l.Host(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	var err error
	if n == 2 {
		err = l.Connect(hosts[0], hosts[1], w)
	} else {
		err = l.Switch(hosts...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return hosts
}

// Build builds vtepd, vtepctl and vtep-cni for the tests of a package and returns the
// folder they are in. It is called from TestMain.
func Build(dir string, flags ...string) error {
	args := append(append([]string{"build", "-o", dir + string(filepath.Separator)}, flags...),
		"vtepd/cmd/vtepd", "vtepd/cmd/vtepctl", "vtepd/cmd/vtep-cni")
	_, err := run(exec.Command("go", args...))
	return err
}
