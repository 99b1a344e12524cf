package control

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"vtepd/cmd/internal/api/apitest"
)

// A pipes is a listener without a socket, for servers in a synctest bubble,
// where time passes when everybody waits.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// inBubble runs test with a connection to a server that has the limits of the
// control socket's. A connection has no buffer: who does not read stops the
// other side at once.
func inBubble(t *testing.T, b *apitest.Backend, test func(t *testing.T, conn net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		server := (&Server{log: zap.NewNop()}).httpServer(newHandler(b), context.Background(), log.New(io.Discard, "", 0))
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		ours, theirs := net.Pipe()
		l.conns <- theirs
		test(t, ours)
		ours.Close()
		server.Close()
		<-served
	})
}

// say sends without waiting for the other side to read.
func say(conn net.Conn, text string) {
	go func() { _, _ = io.WriteString(conn, text) }()
}

// closedAfter reads until the other side closes and returns how long that took
// and what came.
func closedAfter(conn net.Conn) (time.Duration, string) {
	began := time.Now()
	b, _ := io.ReadAll(conn)
	return time.Since(began), string(b)
}

func TestSlowBody(t *testing.T) {
	b := apitest.New()
	inBubble(t, b, func(t *testing.T, conn net.Conn) {
		say(conn, "POST /v1/log HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"level\"")
		took, text := closedAfter(conn)
		if took != bodyTime || !strings.HasPrefix(text, "HTTP/1.1 400 ") || !strings.Contains(text, "timeout") {
			t.Errorf("after %v: %q", took, text)
		}
	})
	if calls := b.Calls(); calls != nil {
		t.Errorf("the Backend was asked for %v", calls)
	}
}

// A body that trickles does not gain time by it.
func TestTricklingBody(t *testing.T) {
	inBubble(t, apitest.New(), func(t *testing.T, conn net.Conn) {
		say(conn, "POST /v1/log HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n{")
		var trickle sync.WaitGroup
		trickle.Go(func() {
			for err := error(nil); err == nil; _, err = io.WriteString(conn, " ") {
				time.Sleep(time.Second)
			}
		})
		took, text := closedAfter(conn)
		trickle.Wait()
		if took < bodyTime || took > bodyTime+2*time.Second || !strings.HasPrefix(text, "HTTP/1.1 400 ") {
			t.Errorf("after %v: %q", took, text)
		}
	})
}

func TestSlowHeader(t *testing.T) {
	inBubble(t, apitest.New(), func(t *testing.T, conn net.Conn) {
		say(conn, "GET /v1/version HTTP/1.1\r\nHost:")
		if took, text := closedAfter(conn); took != headerTime {
			t.Errorf("after %v: %q", took, text)
		}
	})
}

func TestIdleConnection(t *testing.T) {
	inBubble(t, apitest.New(), func(t *testing.T, conn net.Conn) {
		say(conn, "GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n")
		if took, text := closedAfter(conn); took != idleTime || !strings.HasPrefix(text, "HTTP/1.1 200 ") {
			t.Errorf("after %v: %q", took, text)
		}
	})
}

func TestOversizedHeader(t *testing.T) {
	inBubble(t, apitest.New(), func(t *testing.T, conn net.Conn) {
		say(conn, "GET /v1/version HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n")
		if _, text := closedAfter(conn); !strings.HasPrefix(text, "HTTP/1.1 431 ") {
			t.Errorf("%q", text)
		}
	})
}

// A client that asks for the whole FDB and does not take it gets rid of nobody
// but itself.
func TestSlowReaderOfList(t *testing.T) {
	b := apitest.New()
	b.Fill(10_000)
	inBubble(t, b, func(t *testing.T, conn net.Conn) {
		say(conn, "GET /v1/fdb HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeTime + time.Second)
		synctest.Wait()
		if _, err := conn.Write([]byte("x")); err == nil {
			t.Error("the connection is still open")
		}
	})
}

// A reload may take long; the connection's deadlines do not end it.
func TestSlowReload(t *testing.T) {
	b := apitest.New()
	inBubble(t, b, func(t *testing.T, conn net.Conn) {
		b.Blocked = make(chan struct{})
		time.AfterFunc(2*time.Minute, func() { close(b.Blocked) })
		say(conn, "POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		if took, text := closedAfter(conn); took != 2*time.Minute || !strings.Contains(text, `{"changed":2}`) {
			t.Errorf("after %v: %q", took, text)
		}
	})
}

// monitorOver asks for a monitor on conn and reads the header of the answer.
func monitorOver(t *testing.T, conn net.Conn) *bufio.Reader {
	t.Helper()
	say(conn, "GET /v1/monitor HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReaderSize(conn, 16)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			return r
		}
	}
}

// A monitor that stops reading is dropped after writeTime, and whoever emits
// never waits for it.
func TestSlowMonitorIsDropped(t *testing.T) {
	b := apitest.New()
	inBubble(t, b, func(t *testing.T, conn net.Conn) {
		monitorOver(t, conn)
		synctest.Wait()
		if n := b.Watchers(); n != 1 {
			t.Fatalf("%d watch", n)
		}
		began := time.Now()
		for range 10 * monitorQueue {
			b.Emit(event())
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("emitting waited %v", took)
		}
		time.Sleep(writeTime + time.Second)
		synctest.Wait()
		if n := b.Watchers(); n != 0 {
			t.Errorf("%d still watch", n)
		}
		for range 10 * monitorQueue {
			b.Emit(event())
		}
	})
}

// A monitor that reads, however seldom something happens, stays.
func TestQuietMonitorStays(t *testing.T) {
	b := apitest.New()
	inBubble(t, b, func(t *testing.T, conn net.Conn) {
		r := monitorOver(t, conn)
		for range 3 {
			time.Sleep(24 * time.Hour)
			b.Emit(event())
			var text string
			for !strings.Contains(text, `"kind":"fdb"`) {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				text += line
			}
		}
	})
}
