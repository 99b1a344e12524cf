package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// allocator is the environment variable that makes the test's program one that
// takes an address and prints it.
const allocator = "IPAM_TEST_ALLOCATE"

func TestMain(m *testing.M) {
	if args := os.Getenv(allocator); args != "" {
		if err := allocateOne(strings.Fields(args)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func allocateOne(args []string) error {
	s, err := Open(args[0], "net")
	if err != nil {
		return err
	}
	l, err := s.Lock(context.Background())
	if err != nil {
		return err
	}
	p, err := ParsePools([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")})
	if err != nil {
		return err
	}
	got, err := l.Allocate(Owner{args[1], "eth0"}, p)
	if err != nil {
		return err
	}
	_, err = fmt.Println(got[0].Addr, got[1].Addr)
	return err // the lock goes with the process
}

// TestProcesses: 200 processes at once get 200 different addresses of each
// family.
func TestProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector sees nothing of what processes share, and each address waits for the disk twice")
	}
	const n = 200
	dir := t.TempDir()
	out := make([]string, n)
	var g errgroup.Group
	g.SetLimit(64)
	for i := range n {
		g.Go(func() error {
			c := exec.Command(os.Args[0])
			c.Env = append(os.Environ(), fmt.Sprintf("%s=%s c%d", allocator, dir, i))
			b, err := c.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, b)
			}
			out[i] = string(b)
			return nil
		})
	}
	must(t, g.Wait())
	seen := map[string]bool{}
	for _, line := range out {
		for _, a := range strings.Fields(line) {
			if seen[a] {
				t.Errorf("%s was given twice", a)
			}
			seen[a] = true
		}
	}
	if len(seen) != 2*n {
		t.Errorf("%d addresses, want %d", len(seen), 2*n)
	}
}
