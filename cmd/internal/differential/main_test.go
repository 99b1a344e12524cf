package differential

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"vtepd/cmd/internal/lab"
)

// bin is where TestMain built vtepd and vtepctl.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vtepd-differential")
	if err == nil {
		err = lab.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	// Most tests wait most of the time: the number of processors does not say
	// how many may run at once.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
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
