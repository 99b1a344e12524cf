// Package etcdtest runs the real etcd for tests: members on loopback ports
// with their data in a folder of the test, killed and removed at its end.
package etcdtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Options say what cluster is wanted.
type Options struct {
	Members int       // 0 for one
	TLS     *Identity // nil for plain connections
	Args    []string  // further flags of etcd
}

// A Cluster is etcd. Its methods end the test when they fail.
type Cluster struct {
	t       testing.TB
	o       Options
	dir     string
	members []*member
}

type member struct {
	name, client, peer string // addresses
	cmd                *exec.Cmd
	out                bytes.Buffer
}

// startLimit is how long a cluster may take to answer.
const startLimit = 20 * time.Second

// Start starts a cluster and waits until it answers.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, o: o, dir: t.TempDir()}
	for i := range max(o.Members, 1) {
		c.members = append(c.members, &member{name: fmt.Sprintf("m%d", i), client: freePort(t), peer: freePort(t)})
	}
	t.Cleanup(func() {
		for i := range c.members {
			c.Kill(i)
		}
	})
	for i := range c.members {
		c.Run(i)
	}
	c.WaitHealthy()
	return c
}

// freePort is an address of loopback that nobody listens at.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Endpoints are the client URLs of all members.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, c.scheme()+m.client)
	}
	return out
}

func (c *Cluster) scheme() string {
	if c.o.TLS != nil {
		return "https://"
	}
	return "http://"
}

// Run starts member i, which goes on with the data that it has.
func (c *Cluster) Run(i int) {
	c.t.Helper()
	m := c.members[i]
	var initial []string
	for _, o := range c.members {
		initial = append(initial, o.name+"=http://"+o.peer)
	}
	args := []string{
		"--name", m.name, "--data-dir", filepath.Join(c.dir, m.name),
		"--listen-client-urls", c.scheme() + m.client, "--advertise-client-urls", c.scheme() + m.client,
		"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
		"--initial-cluster", strings.Join(initial, ","), "--logger", "zap",
		"--heartbeat-interval", "50", "--election-timeout", "500",
	}
	if c.o.TLS != nil {
		args = append(args, "--cert-file", c.o.TLS.Cert, "--key-file", c.o.TLS.Key, "--trusted-ca-file", c.o.TLS.CA, "--client-cert-auth")
	}
	m.cmd = exec.Command("etcd", append(args, c.o.Args...)...)
	m.cmd.Stdout, m.cmd.Stderr = &m.out, &m.out
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		c.t.Fatalf("etcd (Debian package etcd-server): %v", err)
	}
}

// Kill ends member i at once. Its data stay.
func (c *Cluster) Kill(i int) {
	m := c.members[i]
	if m.cmd == nil || m.cmd.Process == nil {
		return
	}
	_ = m.cmd.Process.Kill() // gone already
	_ = m.cmd.Wait()         // killed
	m.cmd = nil
}

// Pause stops member i in its tracks; Resume lets it go on.
func (c *Cluster) Pause(i int) { c.signal(i, syscall.SIGSTOP) }

// Resume lets a paused member go on.
func (c *Cluster) Resume(i int) { c.signal(i, syscall.SIGCONT) }

func (c *Cluster) signal(i int, s os.Signal) {
	c.t.Helper()
	if err := c.members[i].cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// Wipe ends all members and starts them without their data.
func (c *Cluster) Wipe() {
	c.t.Helper()
	for i, m := range c.members {
		c.Kill(i)
		if err := os.RemoveAll(filepath.Join(c.dir, m.name)); err != nil {
			c.t.Fatal(err)
		}
	}
	for i := range c.members {
		c.Run(i)
	}
	c.WaitHealthy()
}

// WaitHealthy waits until the cluster answers questions.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	client, err := clientv3.New(c.config())
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = client.Close() }() // it was only to look
	var last error
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
		_, last = client.Get(ctx, "health")
		cancel()
		if last == nil || strings.Contains(last.Error(), "user name is empty") {
			return
		}
	}
	c.t.Fatalf("etcd does not answer: %v\n%s", last, c.members[0].out.String())
}

func (c *Cluster) config() clientv3.Config {
	conf := clientv3.Config{Endpoints: c.Endpoints(), Logger: zap.NewNop()}
	if c.o.TLS != nil {
		conf.TLS = c.o.TLS.Config
	}
	return conf
}

// Ctl runs etcdctl with the cluster's endpoints and returns what it prints.
func (c *Cluster) Ctl(args ...string) string {
	c.t.Helper()
	all := []string{"--endpoints", strings.Join(c.Endpoints(), ",")}
	if c.o.TLS != nil {
		all = append(all, "--cacert", c.o.TLS.CA, "--cert", c.o.TLS.Cert, "--key", c.o.TLS.Key)
	}
	cmd := exec.Command("etcdctl", append(all, args...)...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
