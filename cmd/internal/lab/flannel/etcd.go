package flannel

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"vtepd/cmd/internal/lab"
)

// etcdHost is etcd's place in the underlay.
const etcdHost = 100

// Where a network is in etcd, and where etcd is.
const (
	URL     = "http://192.0.2.100:2379"
	Prefix  = "/coreos.com/network"
	Subnets = Prefix + "/subnets/"
)

// patience is how long a program may take to be ready.
const patience = 30 * time.Second

// Etcd is Debian's etcd, one member, on a host of its own.
type Etcd struct {
	Host *lab.Host

	config string
	proc   *lab.Proc
	data   int // number of the data folder
}

func (e *Etcd) dir() string { return e.Host.File(fmt.Sprintf("etcd%d", e.data)) }

// Start starts it, with the network's configuration when it has no data yet,
// and waits until it answers.
func (e *Etcd) Start() (err error) {
	_, missing := os.Stat(e.dir())
	const peers = "http://127.0.0.1:2380"
	e.proc, err = e.Host.Start("etcd", "--data-dir", e.dir(), "--logger", "zap",
		"--listen-client-urls", URL, "--advertise-client-urls", URL,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers,
		"--heartbeat-interval", "50", "--election-timeout", "500")
	if err != nil {
		return err
	}
	if err := e.proc.WaitFor("serving client traffic", patience); err != nil {
		return err
	}
	if missing == nil || e.config == "" {
		return nil
	}
	_, err = e.Ctl("put", Prefix+"/config", e.config)
	return err
}

// Kill ends it at once. Its data stay for the next Start.
func (e *Etcd) Kill() error {
	if err := e.proc.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	if _, err := e.proc.ExitCode(patience); err != nil {
		return err
	}
	return nil
}

// Pause stops it in its tracks: its connections stay and nobody answers. Resume
// lets it go on.
func (e *Etcd) Pause() error { return e.proc.Signal(syscall.SIGSTOP) }

// Resume is the end of Pause.
func (e *Etcd) Resume() error { return e.proc.Signal(syscall.SIGCONT) }

// Wipe ends it and starts it without its data: a new cluster, with nothing but
// the network's configuration.
func (e *Etcd) Wipe() error {
	if err := e.Kill(); err != nil {
		return err
	}
	e.data++
	return e.Start()
}

// Ctl runs etcdctl.
func (e *Etcd) Ctl(args ...string) (string, error) {
	return e.Host.Run("env", append([]string{"ETCDCTL_API=3", "etcdctl", "--endpoints", URL}, args...)...)
}

// Leases are the keys below subnets/ with their values.
func (e *Etcd) Leases() (map[string]string, error) {
	text, err := e.Ctl("get", "--prefix", Subnets)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	leases := make(map[string]string)
	for i := 0; i+1 < len(lines); i += 2 {
		leases[strings.TrimPrefix(lines[i], Subnets)] = lines[i+1]
	}
	return leases, nil
}

// LeaseOf returns the key and the value of the node's lease.
func (e *Etcd) LeaseOf(n *Node) (key, value string, err error) {
	leases, err := e.Leases()
	if err != nil {
		return "", "", err
	}
	for key, value := range leases {
		if strings.Contains(value, `"`+n.V4.String()+`"`) || strings.Contains(value, `"`+n.V6.String()+`"`) {
			return key, value, nil
		}
	}
	return "", "", errors.New(n.Name + " has no lease")
}

// Put writes a lease, as a reservation: it has no time to live.
func (e *Etcd) Put(key, value string) error {
	_, err := e.Ctl("put", Subnets+key, value)
	return err
}

// Delete deletes a lease.
func (e *Etcd) Delete(key string) error {
	_, err := e.Ctl("del", Subnets+key)
	return err
}

// Compact makes etcd forget all but the newest revision.
func (e *Etcd) Compact() error {
	text, err := e.Ctl("get", "nothing", "-w", "fields")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if revision, ok := strings.CutPrefix(line, `"Revision" : `); ok {
			_, err := e.Ctl("compact", strings.TrimSpace(revision))
			return err
		}
	}
	return fmt.Errorf("no revision in %q", text)
}

// PID is etcd's process.
func (e *Etcd) PID() int { return e.proc.PID() }
