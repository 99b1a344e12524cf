package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
)

// A live connection stays open while things happen around it. What is said
// into it is echoed.
type live struct {
	c          net.Conn
	asked, got int // lines
}

// newLive opens a connection from one host to an address of another.
func newLive(t *testing.T, from, to *lab.Host, addr string) *live {
	t.Helper()
	var l net.Listener
	must(t, to.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}))
	defer l.Close()
	v := new(live)
	must(t, from.Do(func() (err error) {
		v.c, err = net.DialTimeout("tcp", l.Addr().String(), patience)
		return err
	}))
	c, err := l.Accept()
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		v.c.Close()
		c.Close()
		<-done
	})
	go func() {
		defer close(done)
		_, _ = io.Copy(c, c) // it ends with the test
	}()
	v.lives(t)
	return v
}

// ask says a number and waits for the echo of all that were said.
func (v *live) ask(limit time.Duration) error {
	v.asked++
	if _, err := fmt.Fprintf(v.c, "%8d", v.asked); err != nil {
		return err
	}
	return v.hear(limit)
}

func (v *live) hear(limit time.Duration) error {
	if err := v.c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	b := make([]byte, 8)
	for v.got < v.asked {
		if _, err := io.ReadFull(v.c, b); err != nil {
			return err
		}
		if v.got++; string(b) != fmt.Sprintf("%8d", v.got) {
			return fmt.Errorf("echo %d is %q", v.got, b)
		}
	}
	return nil
}

// lives checks that the connection works, or works again: TCP waits longer
// with each attempt.
func (v *live) lives(t *testing.T) {
	t.Helper()
	must(t, v.ask(2*patience))
}

// blocked checks that nothing of the connection gets through.
func (v *live) blocked(t *testing.T) {
	t.Helper()
	if err := v.ask(300 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection gets past it: %v", err)
	}
}

// chat opens a connection on which both ends speak at once, as soon as they
// may: what follows the handshake must not overtake it.
func chat(t *testing.T, from, to *lab.Host, addr string) {
	t.Helper()
	var l net.Listener
	must(t, to.Do(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "0"))
		return err
	}))
	defer l.Close()
	var wg sync.WaitGroup
	speak := func(c net.Conn, err error) {
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, 30000)); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 30000)); err != nil {
			t.Error(err)
		}
	}
	wg.Go(func() { speak(l.Accept()) })
	must(t, from.Do(func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		wg.Go(func() { speak(c, err) })
		return err
	}))
	wg.Wait()
}
