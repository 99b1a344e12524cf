// Package lab makes laboratories of network namespaces: hosts, wires and
// switches between them, and programs that run in them. Tests, the demo and the
// benchmark are built on it. All traffic stays in namespaces that the lab made,
// and all of it goes with Close.
package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// commandTime is how long a command of the lab may take.
const commandTime = 60 * time.Second

// A Lab is a set of hosts. Its methods are called by one goroutine.
type Lab struct {
	prefix string
	dir    string
	hosts  []*Host

	mu    sync.Mutex
	procs []*Proc
}

// A Host is a network namespace.
type Host struct {
	lab *Lab
	// Name is the name of the namespace.
	Name string
}

// New makes an empty lab. It needs root.
func New() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces take root")
	}
	dir, err := os.MkdirTemp("", "vtlab")
	if err != nil {
		return nil, err
	}
	return &Lab{prefix: fmt.Sprintf("vt%x-%x-", os.Getpid(), time.Now().UnixNano()&0xffff), dir: dir}, nil
}

// Dir is a folder for files of the lab. It goes with Close.
func (l *Lab) Dir() string { return l.dir }

// Host makes a host. Its addresses need no duplicate address detection, so
// that nothing has to wait for it.
func (l *Lab) Host(name string) (*Host, error) {
	h := &Host{lab: l, Name: l.prefix + name}
	if _, err := run(exec.Command("ip", "netns", "add", h.Name)); err != nil {
		return nil, err
	}
	l.hosts = append(l.hosts, h)
	_, err := h.Run("sh", "-c", `ip link set lo up
		for d in all default; do
			echo 0 > /proc/sys/net/ipv6/conf/$d/accept_dad
			echo 0 > /proc/sys/net/ipv6/conf/$d/router_solicitations
		done`)
	return h, err
}

// Wire says what a veth between two hosts is like.
type Wire struct {
	MTU       int      // bytes; 0 for 1500
	NoOffload bool     // as a plain wire: nothing is left to hardware
	A, B      []string // addresses with prefix lengths; nil for 192.0.2.1 and .2, 2001:db8::1 and ::2
}

// Connect joins two hosts by a wire; the interface is called u0 on both.
func (l *Lab) Connect(a, b *Host, w Wire) error {
	if w.A == nil && w.B == nil {
		w.A, w.B = underlay(1), underlay(2)
	}
	if _, err := a.Run("ip", "link", "add", "u0", "type", "veth", "peer", "name", "u0", "netns", b.Name); err != nil {
		return err
	}
	return errors.Join(a.plug("u0", w, w.A), b.plug("u0", w, w.B))
}

// underlay returns the addresses of host n of a lab.
func underlay(n int) []string {
	return []string{fmt.Sprintf("192.0.2.%d/24", n), fmt.Sprintf("2001:db8::%d/64", n)}
}

// plug sets an end of a wire up.
func (h *Host) plug(dev string, w Wire, addrs []string) error {
	mtu := w.MTU
	if mtu == 0 {
		mtu = 1500
	}
	if _, err := h.Run("ip", "link", "set", dev, "mtu", fmt.Sprint(mtu), "up"); err != nil {
		return err
	}
	for _, a := range addrs {
		if _, err := h.Run("ip", "addr", "add", a, "dev", dev); err != nil {
			return err
		}
	}
	if !w.NoOffload {
		return nil
	}
	_, err := h.Run("ethtool", "-K", dev, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off",
		"tx-udp-segmentation", "off", "tx-udp_tnl-segmentation", "off", "tx-udp_tnl-csum-segmentation", "off")
	return err
}

// Station makes a host of its own behind a bridge of h, with an address on its
// interface e0.
func (h *Host) Station(name, bridge, addr string, mtu int) (*Host, error) {
	s, err := h.lab.Host(name)
	if err != nil {
		return nil, err
	}
	port := "p-" + name
	if _, err := h.Run("ip", "link", "add", "name", port, "mtu", fmt.Sprint(mtu), "type", "veth", "peer", "name", "e0", "netns", s.Name); err != nil {
		return nil, err
	}
	if _, err := h.Run("ip", "link", "set", port, "master", bridge, "up"); err != nil {
		return nil, err
	}
	return s, s.plug("e0", Wire{MTU: mtu}, []string{addr})
}

// Close stops what runs in the lab and removes it.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs := l.procs
	l.procs = nil
	l.mu.Unlock()
	var errs []error
	for _, p := range procs {
		errs = append(errs, p.Stop())
	}
	for _, h := range l.hosts {
		_, err := run(exec.Command("ip", "netns", "del", h.Name))
		errs = append(errs, err)
	}
	l.hosts = nil
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

// run runs a command to its end and returns what it wrote. A command that
// fails is an error with all of that.
func run(c *exec.Cmd) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	limited := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	limited.Stdin = c.Stdin
	out, err := limited.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(c.Args, " "), err, out)
	}
	return string(out), nil
}

// command is a command line that runs in the host.
func (h *Host) command(name string, args ...string) *exec.Cmd {
	if p, err := exec.LookPath(name); err == nil {
		name = p
	}
	return exec.Command("ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
}

// Run runs a program in the host and returns its output. A program that fails
// is an error.
func (h *Host) Run(name string, args ...string) (string, error) {
	return run(h.command(name, args...))
}

// File is the path of a file of the lab that belongs to the host.
func (h *Host) File(name string) string { return filepath.Join(h.lab.dir, h.Name+"-"+name) }

var serial atomic.Int64 //nolint:gochecknoglobals // makes names distinct within the process

// unique returns a name that nothing else of this process has.
func unique(name string) string { return fmt.Sprintf("%s%d", name, serial.Add(1)) }
