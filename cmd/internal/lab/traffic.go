package lab

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netns"
)

// Do calls f on a thread in the host's namespace. Sockets that f opens belong
// to the host for good.
func (h *Host) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is never given back: it ends with the goroutine.
		runtime.LockOSThread()
		ns, err := netns.GetFromName(h.Name)
		if err != nil {
			done <- fmt.Errorf("host %s: %w", h.Name, err)
			return
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("host %s: %w", h.Name, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// Ping pings until count answers in a row came, or fails within limit. It
// returns ping's output.
func (h *Host) Ping(dst string, args ...string) (string, error) {
	return h.Run("ping", append(append([]string{"-n", "-c", "2", "-i", "0.1", "-W", "1"}, args...), dst)...)
}

// PingUntil pings once and again until there is an answer.
func (h *Host) PingUntil(dst string, limit time.Duration, args ...string) error {
	return Until(limit, func() error {
		_, err := h.Run("ping", append(append([]string{"-n", "-c", "1", "-W", "0.3"}, args...), dst)...)
		return err
	})
}

// TCP sends bytes of random data to a server at addr in another host, which
// must get the very same.
func (h *Host) TCP(server *Host, addr string, bytes int64) error {
	var l net.Listener
	if err := server.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}); err != nil {
		return err
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- err.Error()
			return
		}
		defer c.Close()
		sum := sha256.New()
		n, err := io.Copy(sum, c)
		got <- fmt.Sprintf("%x of %d bytes, error %v", sum.Sum(nil), n, err)
	}()
	var c net.Conn
	if err := h.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), 5*time.Second)
		return err
	}); err != nil {
		return err
	}
	defer c.Close()
	want, err := send(c, bytes)
	if err != nil {
		return err
	}
	select {
	case g := <-got:
		if g != want {
			return fmt.Errorf("sent %s, got %s", want, g)
		}
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("the server did not see the end of the data")
	}
}

// send sends random bytes and returns what the other end must report.
func send(c net.Conn, bytes int64) (string, error) {
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return "", err
	}
	block := make([]byte, 1<<20)
	if _, err := rand.Read(block); err != nil {
		return "", err
	}
	sum := sha256.New()
	for left := bytes; left > 0; left -= int64(len(block)) {
		block = block[:min(left, int64(len(block)))]
		block[0]++ // no two blocks are equal
		if _, err := io.MultiWriter(sum, c).Write(block); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x of %d bytes, error <nil>", sum.Sum(nil), bytes), c.Close()
}

// Iperf runs iperf3 to a server at addr in another host and returns its report
// as JSON.
func (h *Host) Iperf(server *Host, addr string, args ...string) (*Report, error) {
	s, err := server.Start("iperf3", "-s", "-1", "-B", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Stop() }()
	if err := server.listening(":1451 ", 5*time.Second); err != nil { // 5201; it does not flush what it says
		return nil, fmt.Errorf("iperf3 -s: %w\n%s", err, s.Output())
	}
	out, err := h.command("iperf3", append([]string{"-J", "-c", addr}, args...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("iperf3: %w\n%s", err, out)
	}
	var r Report
	return &r, json.Unmarshal(out, &r)
}

// listening waits until somebody in the host listens on a TCP port, given as
// /proc/net/tcp writes it.
func (h *Host) listening(port string, limit time.Duration) error {
	return Until(limit, func() error {
		text, err := h.Run("cat", "/proc/net/tcp", "/proc/net/tcp6")
		if err != nil {
			return err
		}
		for _, line := range strings.Split(text, "\n") {
			if strings.Contains(line, port) && strings.Contains(line, " 0A ") {
				return nil
			}
		}
		return errors.New("it does not listen")
	})
}

// A Report is what iperf3 says at its end.
type Report struct {
	End struct {
		Sent struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			Retransmits   int     `json:"retransmits"`
		} `json:"sum_sent"`
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		Sum struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			Packets       int     `json:"packets"`
			Lost          int     `json:"lost_packets"`
			Seconds       float64 `json:"seconds"`
		} `json:"sum"`
	} `json:"end"`
}

// Capture starts tcpdump on an interface, writing to file, and waits until it
// captures.
func (h *Host) Capture(dev, file string, args ...string) (*Proc, error) {
	p, err := h.Start("tcpdump", append([]string{"-U", "-n", "-i", dev, "-w", file, "-Z", "root"}, args...)...)
	if err != nil {
		return nil, err
	}
	return p, p.WaitFor("listening on", 5*time.Second)
}

// Tshark reads a capture file and returns tshark's lines. UDP checksums are
// verified.
func Tshark(file string, args ...string) ([]string, error) {
	args = append([]string{"-n", "-r", file, "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"}, args...)
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("tshark: %w\n%s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("tshark: %w", err)
	}
	text := strings.TrimSpace(string(out))
	if text == "" {
		return nil, nil
	}
	return strings.Split(text, "\n"), nil
}
