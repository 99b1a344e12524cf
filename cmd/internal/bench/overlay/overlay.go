// Package overlay knows how each network that the benchmark compares is set up
// between two hosts of a lab: the bare wire, the kernel's vxlan device, vtepd
// in its tiers, and other overlays that run in user space. All of them move
// frames or packets between two overlay addresses; that is all a measure needs.
package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"vtepd/cmd/internal/lab"
)

// A Kind says what part a system has in the comparison.
type Kind string

// The kinds of system.
const (
	Bare   Kind = "bare"   // no overlay: the wire itself
	Kernel Kind = "kernel" // what every ratio is taken to
	Ours   Kind = "vtepd"
	Peer   Kind = "peer" // another overlay that runs in user space
)

// A System is one way to join two hosts.
type System struct {
	Name  string // for flags and files, such as vtepd-offload
	Title string // for people
	Kind  Kind
	// start sets it up. What it started before an error is stopped by Start.
	start func(p *Pair) error
}

// A Pair is two hosts joined by a wire, and the overlay that runs on it. One
// goroutine uses it.
type Pair struct {
	A, B *lab.Host
	MTU  int    // of the wire, in bytes
	Bin  string // folder of vtepd and vtepctl
	// Tools is the folder for programs that are built for the comparison.
	Tools string

	// What a system fills in at its start.

	AddrA, AddrB string // of the overlay
	Version      string // of the program, for the report
	Note         string // what a reader must know
	Tier         string // that vtepd runs in; empty for other systems
	// Procs are the programs of host A and of host B.
	Procs [2][]*lab.Proc
}

// The addresses of the wire and, of most systems, of the overlay.
const (
	wireA, wireB = "192.0.2.1", "192.0.2.2"
	overA, overB = "10.99.0.1", "10.99.0.2"
)

// An Unavailable error says why a system does not run on this machine.
type Unavailable struct{ Reason string }

// Error implements error.
func (u *Unavailable) Error() string { return u.Reason }

// unavailable makes an Unavailable error.
func unavailable(format string, args ...any) error {
	return &Unavailable{fmt.Sprintf(format, args...)}
}

// patience is how long a system may take until the first answer crosses it.
const patience = 15 * time.Second

// Start sets the system up between the hosts of p and returns when packets
// cross it in both directions. When it cannot, nothing of it runs any more.
func (s *System) Start(p *Pair) error {
	p.AddrA, p.AddrB = overA, overB
	err := s.start(p)
	if err == nil {
		err = p.answers()
	}
	if err == nil {
		return nil
	}
	for i := range p.Procs {
		for _, proc := range p.Procs[i] {
			err = errors.Join(err, proc.Stop())
		}
		p.Procs[i] = nil
	}
	return err
}

// answers waits until pings of each side are answered.
func (p *Pair) answers() error {
	err := p.A.PingUntil(p.AddrB, patience)
	if err == nil {
		err = p.B.PingUntil(p.AddrA, patience)
	}
	if err == nil {
		return nil
	}
	text := ""
	for i := range p.Procs {
		for _, proc := range p.Procs[i] {
			text += proc.Output()
		}
	}
	const most = 2000 // the end is where the reason is
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return fmt.Errorf("nothing crosses it within %v: %w\n%s", patience, err, text)
}

// PIDs are the processes of a side, 0 for host A and 1 for host B.
func (p *Pair) PIDs(side int) []int {
	var out []int
	for _, proc := range p.Procs[side] {
		out = append(out, proc.PID())
	}
	return out
}

// Alive returns an error when a program of the system has ended.
func (p *Pair) Alive() error {
	for i := range p.Procs {
		for _, proc := range p.Procs[i] {
			if !proc.Running() {
				return fmt.Errorf("a program of host %c ended:\n%s", 'A'+i, proc.Output())
			}
		}
	}
	return nil
}

// side is one host as the functions that set it up see it.
type side struct {
	*lab.Host
	pair *Pair
	i    int    // 0 or 1
	name string // a or b
	// Addresses of the wire and of the overlay, ours and the other side's.
	wire, peerWire, over, peerOver string
}

// sides are both hosts of the pair.
func (p *Pair) sides() [2]side {
	return [2]side{
		{p.A, p, 0, "a", wireA, wireB, overA, overB},
		{p.B, p, 1, "b", wireB, wireA, overB, overA},
	}
}

// each sets both sides up.
func (p *Pair) each(f func(s side) error) error {
	for _, s := range p.sides() {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

// run starts a program of the system.
func (s side) run(name string, args ...string) (*lab.Proc, error) {
	proc, err := s.Start(name, args...)
	if err == nil {
		s.pair.Procs[s.i] = append(s.pair.Procs[s.i], proc)
	}
	return proc, err
}

// commands runs programs of the host to their end, one after the other.
func (s side) commands(lines ...[]string) error {
	for _, l := range lines {
		if _, err := s.Run(l[0], l[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// device waits for a device of the host and gives it an address and an MTU.
func (s side) device(dev string, mtu int) error {
	err := lab.Until(patience, func() error {
		_, err := s.Run("ip", "link", "show", dev)
		return err
	})
	if err != nil {
		return err
	}
	return s.commands(
		[]string{"ip", "link", "set", dev, "mtu", fmt.Sprint(mtu), "up"},
		[]string{"ip", "addr", "replace", s.over + "/24", "dev", dev})
}

// folder makes a folder for files of the host.
func (s side) folder(name string) (string, error) {
	dir := s.File(name)
	return dir, os.MkdirAll(dir, 0o700)
}

// write writes a file that only we read.
func write(dir, name, content string) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}
