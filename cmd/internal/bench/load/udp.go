package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/lab"
)

// DatagramSize is the payload in bytes of the flood and of the requests.
const DatagramSize = 64

// waitTime is how long a receive waits, so that a receiver can end.
const waitTime = 100 * time.Millisecond

// socketPair opens a UDP socket on each host: the second at addr, each connected
// to the other. Both block.
func socketPair(a, b *lab.Host, addr string) (fdA, fdB int, err error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return -1, -1, err
	}
	to := &unix.SockaddrInet4{Addr: ip.As4()}
	if fdB, err = socket(b, func(fd int) error {
		if err := unix.Bind(fd, to); err != nil {
			return err
		}
		at, err := unix.Getsockname(fd)
		if in4, ok := at.(*unix.SockaddrInet4); ok {
			to.Port = in4.Port
		}
		return err
	}); err != nil {
		return -1, -1, err
	}
	fdA, err = socket(a, func(fd int) error { return unix.Connect(fd, to) })
	if err != nil {
		return -1, -1, errors.Join(err, unix.Close(fdB))
	}
	from, err := unix.Getsockname(fdA)
	if err == nil {
		err = unix.Connect(fdB, from)
	}
	if err != nil {
		return -1, -1, errors.Join(err, unix.Close(fdA), unix.Close(fdB))
	}
	return fdA, fdB, nil
}

// socket opens a UDP socket in a host and prepares it.
func socket(h *lab.Host, prepare func(fd int) error) (fd int, err error) {
	err = h.Do(func() error {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		wait := unix.NsecToTimeval(waitTime.Nanoseconds())
		err := errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
			prepare(fd))
		if err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// A FloodResult is what a flood of small datagrams came to.
type FloodResult struct {
	Sent, Received float64 // a second
}

// Flood sends datagrams of 64 bytes of one flow from a to addr at b, as fast as
// one thread can with plain sendmmsg, and counts what b's application receives
// in the time after the warm-up.
func Flood(a, b *lab.Host, addr string, warm, d time.Duration) (FloodResult, error) {
	enoughThreads()
	from, to, err := socketPair(a, b, addr)
	if err != nil {
		return FloodResult{}, err
	}
	var sent, received atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, 2)
	loop := func(i int, total *atomic.Int64, f func() (int, error)) {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for !stop.Load() {
				n, err := f()
				if err != nil {
					errs[i] = err
					return
				}
				total.Add(int64(n))
			}
		})
	}
	in, out := newMessages(2*DatagramSize), newMessages(DatagramSize)
	loop(0, &received, func() (int, error) { return in.receive(to, DatagramSize) })
	loop(1, &sent, func() (int, error) { return out.send(from) })
	time.Sleep(warm)
	start, sent0, received0 := time.Now(), sent.Load(), received.Load()
	time.Sleep(d)
	seconds, sent1, received1 := time.Since(start).Seconds(), sent.Load(), received.Load()
	stop.Store(true)
	wg.Wait()
	err = errors.Join(errs[0], errs[1], unix.Close(from), unix.Close(to))
	r := FloodResult{float64(sent1-sent0) / seconds, float64(received1-received0) / seconds}
	if err == nil && r.Received == 0 {
		err = fmt.Errorf("of %.0f datagrams a second none arrived", r.Sent)
	}
	return r, err
}
