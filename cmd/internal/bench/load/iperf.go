// Package load puts load on an overlay between two hosts and measures what
// arrives: TCP by iperf3, small datagrams and request/response by its own
// senders and receivers, and what it costs in processor time and memory. It
// does not know what overlay it is.
package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"vtepd/cmd/internal/lab"
)

// Congestion is the TCP congestion control of every measurement. The system's
// default may be another one, which would decide more than the overlay does.
const Congestion = "cubic"

// A TCPServer is an iperf3 server that stays for many measurements. One
// goroutine uses it.
type TCPServer struct {
	host *lab.Host
	addr string
	proc *lab.Proc
}

// NewTCPServer starts an iperf3 server at addr of a host.
func NewTCPServer(h *lab.Host, addr string) (*TCPServer, error) {
	s := &TCPServer{host: h, addr: addr}
	return s, s.start()
}

func (s *TCPServer) start() error {
	proc, err := s.host.Start("iperf3", "-s", "--forceflush", "-B", s.addr)
	if err != nil {
		return err
	}
	s.proc = proc
	return proc.WaitFor("Server listening", 5*time.Second)
}

// A TCPResult is what one run of iperf3 measured.
type TCPResult struct {
	Bytes   float64 // received, in both directions together
	Seconds float64
}

// BitsPerSecond is the rate at which bytes were received.
func (r TCPResult) BitsPerSecond() float64 { return r.Bytes * 8 / r.Seconds }

// Run sends TCP from a host to the server for some seconds. After a failure
// the server is started anew, since it may still wait for the old client.
func (s *TCPServer) Run(from *lab.Host, seconds int, args ...string) (TCPResult, error) {
	all := append([]string{fmt.Sprint(seconds + 8), "iperf3", "-J", "-C", Congestion, "--connect-timeout", "3000",
		"-t", fmt.Sprint(seconds), "-c", s.addr}, args...)
	out, err := from.Run("timeout", all...)
	var r TCPResult
	if err == nil {
		r, err = parseIperf(out)
	}
	if err == nil {
		return r, nil
	}
	return r, errors.Join(err, s.proc.Stop(), s.start())
}

// iperfReport is the part of iperf3's report that is used.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Received   *iperfSum `json:"sum_received"`
		Back       *iperfSum `json:"sum_received_bidir_reverse"` // with --bidir
		Congestion string    `json:"sender_tcp_congestion"`
	} `json:"end"`
}

type iperfSum struct {
	Seconds float64 `json:"seconds"`
	Bytes   float64 `json:"bytes"`
}

// parseIperf reads iperf3's report. One that was not made with the named
// congestion control is an error.
func parseIperf(text string) (TCPResult, error) {
	_, body, found := strings.Cut(text, "{") // warnings may stand before it
	var r iperfReport
	if !found {
		return TCPResult{}, fmt.Errorf("iperf3 says %q", text)
	}
	if err := json.NewDecoder(strings.NewReader("{" + body)).Decode(&r); err != nil {
		return TCPResult{}, fmt.Errorf("iperf3's report: %w", err)
	}
	switch {
	case r.Error != "":
		return TCPResult{}, fmt.Errorf("iperf3: %s", r.Error)
	case r.End.Received == nil || r.End.Received.Seconds <= 0:
		return TCPResult{}, errors.New("iperf3's report has no sum_received")
	case r.End.Congestion != "" && r.End.Congestion != Congestion:
		return TCPResult{}, fmt.Errorf("iperf3 used %s, not %s", r.End.Congestion, Congestion)
	}
	out := TCPResult{Bytes: r.End.Received.Bytes, Seconds: r.End.Received.Seconds}
	if back := r.End.Back; back != nil {
		out.Bytes += back.Bytes
	}
	if out.Bytes <= 0 {
		return out, errors.New("iperf3 received nothing")
	}
	return out, nil
}
