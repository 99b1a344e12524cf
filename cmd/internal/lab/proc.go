package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Proc is a program that runs in a host.
type Proc struct {
	cmd  *exec.Cmd
	out  *buffer
	done chan struct{}
	err  error
}

// buffer collects what a program writes, up to a limit.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const bufferLimit = 4 << 20

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.b.Len() < bufferLimit {
		b.b.Write(p)
	}
	return len(p), nil
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Start starts a program in the host. `ip netns exec` becomes the program, so
// signals reach it.
func (h *Host) Start(name string, args ...string) (*Proc, error) {
	p := &Proc{cmd: h.command(name, args...), out: new(buffer), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// A Ctrl-C at the terminal is for us only.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	h.lab.mu.Lock()
	h.lab.procs = append(h.lab.procs, p)
	h.lab.mu.Unlock()
	return p, nil
}

// PID is the program's process.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Output is what it wrote so far.
func (p *Proc) Output() string { return p.out.String() }

// Signal sends a signal.
func (p *Proc) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits for its end and returns its error, or one when time is up.
func (p *Proc) Wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("%s still runs after %v", strings.Join(p.cmd.Args[4:], " "), limit)
	}
}

// ExitCode waits for its end and returns its exit code.
func (p *Proc) ExitCode(limit time.Duration) (int, error) {
	err := p.Wait(limit)
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		return p.cmd.ProcessState.ExitCode(), nil
	}
	return -1, err
}

// Running reports whether it runs.
func (p *Proc) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Stop asks it to end and makes it after five seconds. That it was ended is no
// error.
func (p *Proc) Stop() error {
	if !p.Running() {
		return nil
	}
	_ = p.Signal(syscall.SIGTERM) // it may have ended just now
	select {
	case <-p.done:
		return nil
	case <-time.After(5 * time.Second):
	}
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("%s did not stop at SIGTERM", strings.Join(p.cmd.Args[4:], " "))
}

// WaitFor waits until it has written text.
func (p *Proc) WaitFor(text string, limit time.Duration) error {
	return Until(limit, func() error {
		if strings.Contains(p.Output(), text) {
			return nil
		}
		if !p.Running() {
			return &Final{fmt.Errorf("%s ended without %q:\n%s", strings.Join(p.cmd.Args[4:], " "), text, p.Output())}
		}
		return fmt.Errorf("no %q from %s:\n%s", text, strings.Join(p.cmd.Args[4:], " "), p.Output())
	})
}

// Final is an error that trying again does not help against.
type Final struct{ Err error }

// Error implements error.
func (f *Final) Error() string { return f.Err.Error() }

// Until calls f until it returns nil, and returns its last error when time is
// up.
func Until(limit time.Duration, f func() error) error {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		var final *Final
		if err == nil || errors.As(err, &final) || time.Now().After(end) {
			return err
		}
	}
}
