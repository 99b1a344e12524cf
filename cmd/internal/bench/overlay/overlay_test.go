package overlay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

func TestSystemsHaveNamesOfTheirOwn(t *testing.T) {
	seen, kernels := map[string]bool{}, 0
	for _, s := range All() {
		if s.Name == "" || s.Title == "" || seen[s.Name] {
			t.Errorf("system %q, %q", s.Name, s.Title)
		}
		seen[s.Name] = true
		if s.Kind == Kernel {
			kernels++
		}
	}
	if kernels != 1 {
		t.Errorf("%d systems to take ratios to", kernels)
	}
}

func TestOnlyTheTierThatWasAskedForIsMeasured(t *testing.T) {
	status := api.Status{Tier: "offload", WhyNotFaster: "Linux is too old", Workers: 2}
	slow := api.Status{Tier: "tunnel-gso", Segments: api.List[api.SegmentStatus]{{Tier: "offload", Reason: "a rule"}}}
	for _, c := range []struct {
		name, wanted string
		status       api.Status
		tier, reason string
	}{
		{"automatic takes any", "auto", status, "offload", ""},
		{"the wanted one", "offload", status, "offload", ""},
		{"a slower one", "tunnel-gso", status, "offload", "Linux is too old"},
		{"a slower one of the segment", "tunnel-gso", slow, "offload", "a rule"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Pair
			err := p.inTier(c.wanted, &c.status)
			if p.Tier != c.tier {
				t.Errorf("tier %q, want %q", p.Tier, c.tier)
			}
			var u *Unavailable
			switch {
			case c.reason == "" && err != nil:
				t.Error(err)
			case c.reason != "" && (!errors.As(err, &u) || !strings.Contains(u.Reason, c.reason)):
				t.Errorf("got %v, want it left out with %q", err, c.reason)
			}
		})
	}
}

func TestAProgramThatIsNotThereIsNamedWithItsPackage(t *testing.T) {
	if err := needs("sh", "dash"); err != nil {
		t.Error(err)
	}
	var u *Unavailable
	if err := needs("nosuchprogram", "nosuchpackage"); !errors.As(err, &u) || !strings.Contains(u.Reason, "nosuchpackage") {
		t.Errorf("got %v", err)
	}
}

// TestWireGuardSocket talks to a socket that answers as wireguard-go does.
func TestWireGuardSocket(t *testing.T) {
	for _, c := range []struct{ name, answer, problem string }{
		{"taken", "errno=0\n\n", ""},
		{"refused", "errno=-22\n\n", "errno=-22"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					got <- err.Error()
					return
				}
				defer conn.Close()
				buf := make([]byte, 100)
				n, _ := conn.Read(buf)
				got <- string(buf[:n])
				conn.Write([]byte(c.answer))
			}()
			err = configureWireGuard(path, "set=1\n\n")
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("error %v, want %q", err, c.problem)
			}
			if g := <-got; g != "set=1\n\n" {
				t.Errorf("the socket got %q", g)
			}
		})
	}
}

// TestSystems starts each system that needs nothing built on both wires, and
// stops it by closing the lab. Go modules are left to the benchmark.
func TestSystems(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a dozen daemons")
	}
	lab.Start(t) // skips without root
	bin := t.TempDir()
	if err := lab.Build(bin); err != nil {
		t.Fatal(err)
	}
	for _, s := range All() {
		if s.Name == "wireguard-go" || s.Name == "nebula" {
			continue
		}
		for _, mtu := range []int{1500, 9000} {
			t.Run(fmt.Sprintf("%s, MTU %d", s.Name, mtu), func(t *testing.T) {
				hosts := lab.Hosts(t, 2, lab.Wire{MTU: mtu})
				p := &Pair{A: hosts[0], B: hosts[1], MTU: mtu, Bin: bin}
				err := s.Start(p)
				var u *Unavailable
				if errors.As(err, &u) {
					t.Skip(u.Reason)
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Alive(); err != nil {
					t.Error(err)
				}
				if s.Kind != Bare && s.Kind != Kernel && len(p.PIDs(0))+len(p.PIDs(1)) == 0 {
					t.Error("it has no process to measure")
				}
			})
		}
	}
}

// TestNothingRunsAfterAFailedStart: what a system had started is stopped.
func TestNothingRunsAfterAFailedStart(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	var left *lab.Proc
	s := &System{Name: "broken", Title: "broken", Kind: Peer, start: func(p *Pair) error {
		side := p.sides()[0]
		proc, err := side.run("sleep", "1000")
		left = proc
		return errors.Join(err, os.ErrInvalid)
	}}
	p := &Pair{A: hosts[0], B: hosts[1], MTU: 1500}
	if err := s.Start(p); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if left == nil || left.Running() || len(p.PIDs(0)) != 0 {
		t.Errorf("process %v, pids %v", left, p.PIDs(0))
	}
}
