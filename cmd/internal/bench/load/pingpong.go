package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/lab"
)

// A PingPongResult is how long requests took until the response was there.
type PingPongResult struct {
	P50, P99 time.Duration
	Lost     int // requests without a response
}

// PingPong sends a request of 64 bytes from a to addr at b, which sends it
// back, and the next one when it is there, for the time after the warm-up. The
// scheduler puts both ends where it likes, as it does with any program.
func PingPong(a, b *lab.Host, addr string, warm, d time.Duration) (PingPongResult, error) {
	enoughThreads()
	client, server, err := socketPair(a, b, addr)
	if err != nil {
		return PingPongResult{}, err
	}
	var stop atomic.Bool
	echoed := make(chan error, 1)
	go func() { echoed <- echo(server, &stop) }()
	r, err := ask(client, warm, d)
	stop.Store(true)
	return r, errors.Join(err, <-echoed, unix.Close(client), unix.Close(server))
}

// echo sends back what it receives.
func echo(fd int, stop *atomic.Bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, 2*DatagramSize)
	for !stop.Load() {
		n, err := transfer(unix.SYS_READ, fd, buf)
		if fleeting(err) {
			continue
		}
		if err == nil {
			_, err = transfer(unix.SYS_WRITE, fd, buf[:n])
		}
		if err != nil && !fleeting(err) {
			return err
		}
	}
	return nil
}

// ask sends requests and times their responses.
func ask(fd int, warm, d time.Duration) (PingPongResult, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var r PingPongResult
	request, response := make([]byte, DatagramSize), make([]byte, 2*DatagramSize)
	times := make([]time.Duration, 0, 1<<17)
	begin := time.Now()
	for serial := uint64(0); time.Since(begin) < warm+d; serial++ {
		binary.BigEndian.PutUint64(request, serial)
		sent := time.Now()
		if _, err := transfer(unix.SYS_WRITE, fd, request); err != nil && !fleeting(err) {
			return r, err
		}
		ok, err := await(fd, response, serial)
		if err != nil {
			return r, err
		}
		switch {
		case sent.Sub(begin) < warm:
		case ok:
			times = append(times, time.Since(sent))
		default:
			r.Lost++
		}
	}
	if len(times) == 0 {
		return r, fmt.Errorf("none of %d requests was answered", r.Lost)
	}
	slices.Sort(times)
	r.P50, r.P99 = times[len(times)/2], times[len(times)*99/100]
	return r, nil
}

// await waits for the response with a serial number, and reports false when
// the time of a receive is up without it.
func await(fd int, buf []byte, serial uint64) (bool, error) {
	for {
		n, err := transfer(unix.SYS_READ, fd, buf)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if n == DatagramSize && binary.BigEndian.Uint64(buf) == serial {
			return true, nil
		}
	}
}
