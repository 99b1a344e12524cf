package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vtepd/cmd/internal/vmtest/initramfs"
	"vtepd/cmd/internal/vmtest/vm"
)

// bootTime is how long a machine may take to boot; without KVM on a busy host
// it takes ten seconds and more.
const bootTime = 2 * time.Minute

// commandTime is how long a command in a machine may take.
const commandTime = 60 * time.Second

// A host is a machine in a scenario.
type host struct {
	*vm.Machine
	title   string // as the account calls it
	outer   string // underlay address
	overlay string // address in the segment
}

// A pair is the two machines of a scenario.
type pair struct {
	a, b    *host
	out     string // folder of the scenario's captures and logs
	sockets string // folder of the sockets that join the machines to us and each other
}

// play boots two machines, plays a scenario on them, and ends them.
func (c *config) play(ctx context.Context, s scenario, k *initramfs.Kernel, initrd string) (err error) {
	out := filepath.Join(c.out, s.name)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	p, err := c.boot(ctx, k, initrd, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	return s.play(ctx, p)
}

// boot boots two machines with the first accelerator that works.
func (c *config) boot(ctx context.Context, k *initramfs.Kernel, initrd, out string) (*pair, error) {
	var failed []error
	for _, accel := range c.accelerators() {
		p, err := bootWith(ctx, accel, k, initrd, out)
		if err == nil {
			return p, nil
		}
		failed = append(failed, fmt.Errorf("with %s: %w", accel, err))
		if ctx.Err() != nil {
			break
		}
		fmt.Println("no machine", failed[len(failed)-1])
	}
	return nil, errors.Join(failed...)
}

func bootWith(ctx context.Context, accel string, k *initramfs.Kernel, initrd, out string) (_ *pair, err error) {
	sockets, err := os.MkdirTemp("", "vmtest")
	if err != nil {
		return nil, err
	}
	p := &pair{
		a:   &host{title: "vm A", outer: "192.0.2.1", overlay: "10.99.0.1"},
		b:   &host{title: "vm B", outer: "192.0.2.2", overlay: "10.99.0.2"},
		out: out, sockets: sockets,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop())
		}
	}()
	for i, h := range p.hosts() {
		h.Machine, err = vm.Start(ctx, vm.Options{
			Name: string(rune('a' + i)), Accel: accel, Image: k.Image, Initrd: initrd,
			MAC: fmt.Sprintf("52:54:00:00:00:%02x", i+1), Wire: filepath.Join(sockets, "wire"), Listen: i == 0,
			Sockets: sockets, Logs: out,
		})
		if err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for _, h := range p.hosts() {
		if err := h.Ready(limited); err != nil {
			return nil, err
		}
	}
	fmt.Printf("two machines are up after %.1f s and %.1f s (%s)\n", p.a.Boot.Seconds(), p.b.Boot.Seconds(), accel)
	return p, nil
}

func (p *pair) hosts() []*host { return []*host{p.a, p.b} }

// stop ends the machines that were started.
func (p *pair) stop() error {
	var errs []error
	for _, h := range p.hosts() {
		if h.Machine != nil {
			errs = append(errs, h.Stop())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(p.sockets))...)
}

// try runs a command on the user's terminal and returns what became of it.
func (h *host) try(ctx context.Context, command string) (vm.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	return h.User.Run(ctx, command+" 2>&1")
}

// run runs a command that must succeed and returns its output.
func (h *host) run(ctx context.Context, command string) (string, error) {
	r, err := h.try(ctx, command)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("%s: %s: exit code %d\n%s", h.title, command, r.Code, r.Text)
	}
	return r.Text, err
}

// show runs a command that must succeed, in the account.
func (h *host) show(ctx context.Context, command string) (string, error) {
	fmt.Printf("%s# %s\n", h.title, command)
	text, err := h.run(ctx, command)
	if err == nil && text != "" {
		fmt.Println(strings.TrimRight(text, "\n"))
	}
	return text, err
}
