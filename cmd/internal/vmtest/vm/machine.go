// Package vm runs virtual machines under qemu: it boots them, talks to the
// shells on their serial lines, captures what they send, and ends them.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Options say what a machine is. Two machines with the same Wire are joined by
// it; one of them listens and is started first.
type Options struct {
	Name    string // of files and messages
	Accel   string // as qemu names it: kvm or tcg
	Image   string // file of the kernel
	Initrd  string // file of the initial RAM file system
	MAC     string
	Wire    string // path of the socket that is the wire
	Listen  bool
	Sockets string // folder for sockets; its path must be short
	Logs    string // folder for what appears on the serial lines
}

// memory is what a machine has, in MiB; cpus how many processors.
const (
	memory = 512
	cpus   = 2
)

// A Machine is a qemu process.
type Machine struct {
	// User and Daemon are two terminals, with a shell on each.
	User, Daemon *Terminal
	// Boot is the time from the start of qemu until both shells answered.
	Boot time.Duration

	opts  Options
	begin time.Time
	cmd   *exec.Cmd
	said  bytes.Buffer // by qemu itself; whole after done
	done  chan struct{}
	qmp   *monitor
}

// Start starts a machine. It ends with ctx, with Stop, and with the calling
// thread. Ready says when it is up.
func Start(ctx context.Context, o Options) (*Machine, error) {
	m := &Machine{opts: o, done: make(chan struct{}), begin: time.Now()}
	listeners := map[string]net.Listener{}
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, name := range []string{"user", "daemon", "qmp"} {
		l, err := net.Listen("unix", m.socket(name))
		if err != nil {
			return nil, err
		}
		listeners[name] = l
	}
	if err := m.run(ctx); err != nil {
		return nil, err
	}
	conns := map[string]net.Conn{}
	for name, l := range listeners {
		c, err := m.accept(ctx, l)
		if err != nil {
			return nil, errors.Join(err, m.Stop())
		}
		conns[name] = c
	}
	m.User, m.Daemon = NewTerminal(conns["user"]), NewTerminal(conns["daemon"])
	m.qmp = newMonitor(conns["qmp"])
	// It answers when all devices are there, the listening end of a wire too.
	if err := m.qmp.execute("query-status", nil); err != nil {
		return nil, errors.Join(err, m.Stop(), errors.New(m.lastWords()))
	}
	return m, nil
}

// Ready waits until the shells of the machine answer.
func (m *Machine) Ready(ctx context.Context) error {
	for _, t := range []*Terminal{m.User, m.Daemon} {
		if _, err := t.Wait(ctx); err != nil {
			return fmt.Errorf("machine %s does not boot: %w\n%s", m.opts.Name, err, m.lastWords())
		}
	}
	m.Boot = time.Since(m.begin)
	return nil
}

func (m *Machine) socket(name string) string {
	return filepath.Join(m.opts.Sockets, m.opts.Name+"-"+name)
}

func (m *Machine) log(name string) string {
	return filepath.Join(m.opts.Logs, m.opts.Name+"-"+name+".log")
}

// args is the command line of qemu.
func (m *Machine) args() []string {
	o := m.opts
	terminal := func(name string) string {
		return fmt.Sprintf("socket,id=%s,path=%s,logfile=%s", name, m.socket(name), m.log(name))
	}
	return []string{
		"-name", o.Name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-accel", o.Accel, "-cpu", "max", "-smp", fmt.Sprint(cpus), "-m", fmt.Sprint(memory),
		"-kernel", o.Image, "-initrd", o.Initrd, "-append", "console=ttyS0 panic=-1",
		"-chardev", "file,id=console,path=" + m.log("console"), "-serial", "chardev:console",
		"-chardev", terminal("user"), "-serial", "chardev:user",
		"-chardev", terminal("daemon"), "-serial", "chardev:daemon",
		"-chardev", "socket,id=qmp,path=" + m.socket("qmp"), "-mon", "chardev=qmp,mode=control",
		// Not datagrams: when the peer is slow, qemu polls their socket in a busy loop.
		"-netdev", "stream,id=wire,addr.type=unix,addr.path=" + o.Wire + ",server=" + onOff(o.Listen),
		"-device", "virtio-net-pci,netdev=wire,romfile=,mac=" + o.MAC,
	}
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// run starts qemu in a process group of its own: a Ctrl-C at our terminal is
// for us. It is killed should we die without a word.
func (m *Machine) run(ctx context.Context) error {
	m.cmd = exec.CommandContext(ctx, "qemu-system-x86_64", m.args()...)
	m.cmd.Stdout, m.cmd.Stderr = &m.said, &m.said
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	m.cmd.WaitDelay = 5 * time.Second
	if err := m.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = m.cmd.Wait() // how it ended is seen in what it said
		close(m.done)
	}()
	return nil
}

// accept takes a connection, or gives up when qemu ends.
func (m *Machine) accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	go func() {
		<-m.done
		l.Close()
	}()
	c, err := l.Accept()
	if err == nil {
		return c, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("qemu ended: %s", m.lastWords())
}

// lastWords are what qemu said and the end of the kernel's console.
func (m *Machine) lastWords() string {
	var words []string
	select {
	case <-m.done:
		words = append(words, strings.TrimSpace(m.said.String()))
	default:
	}
	if text, err := os.ReadFile(m.log("console")); err == nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		words = append(words, lines[max(0, len(lines)-10):]...)
	}
	return strings.Join(words, "\n")
}

// Capture starts writing the frames on the wire to a capture file, until the
// returned function is called.
func (m *Machine) Capture(file string) (stop func() error, err error) {
	err = m.qmp.execute("object-add", map[string]any{"qom-type": "filter-dump", "id": "capture", "netdev": "wire", "file": file})
	return func() error { return m.qmp.execute("object-del", map[string]any{"id": "capture"}) }, err
}

// Stop ends the machine as pulling its plug does, and waits for it.
func (m *Machine) Stop() error {
	if m.qmp != nil {
		defer m.qmp.conn.Close()
		defer m.User.conn.Close()
		defer m.Daemon.conn.Close()
	}
	_ = m.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-m.done:
		return nil
	case <-time.After(5 * time.Second):
	}
	_ = m.cmd.Process.Kill()
	<-m.done
	return fmt.Errorf("machine %s did not stop at SIGTERM", m.opts.Name)
}
