package control

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"vtepd/cmd/internal/api"
)

// The limits of a server.
const (
	maxConns    = 128             // connections; more wait in the socket's backlog
	maxMonitors = 64              // of them monitors, so that others always get through
	maxHeader   = 16 << 10        // bytes of request line and headers
	headerTime  = 5 * time.Second // to send request line and headers
	bodyTime    = 10 * time.Second
	idleTime    = time.Minute
	writeTime   = 10 * time.Second // for the client to take the next piece of an answer
	stopTime    = time.Second      // for running requests to end when the daemon stops
)

// Options say where a [Server] listens.
type Options struct {
	// Path is the socket's.
	Path string
	// Group, when not empty, is the name of the group that owns the socket. If
	// it cannot be given to the group (no such group, no CAP_CHOWN), a warning is
	// logged and the server goes on.
	Group string
	// Log takes what goes wrong. It may not be nil.
	Log *zap.Logger
}

// A Server is a control socket. Listen and Serve are apart so that a daemon
// knows that it is the only one before it opens anything else.
type Server struct {
	socket *socket
	log    *zap.Logger
}

// Listen opens the control socket. The error is a [*SocketInUse] when a live
// process serves it.
func Listen(o Options) (*Server, error) {
	s, err := listen(o.Path)
	if err != nil {
		return nil, err
	}
	if o.Group != "" {
		if err := s.chgrp(o.Group); err != nil {
			o.Log.Warn("control socket not given to its group",
				zap.String("path", o.Path), zap.String("group", o.Group), zap.Error(err))
		}
	}
	return &Server{socket: s, log: o.Log}, nil
}

// Path returns where the socket is.
func (s *Server) Path() string { return s.socket.path }

// Serve answers requests until ctx is done, then lets running ones end for a
// second, tells monitors that the daemon stops, and removes the socket. It is
// called once, and returns nil when it was asked to stop.
func (s *Server) Serve(ctx context.Context, backend api.Backend) error {
	stdlog, err := zap.NewStdLogAt(s.log, zap.DebugLevel)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	// Requests end with base, not with ctx: they have stopTime to finish.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	h := newHandler(backend)
	server := s.httpServer(h, base, stdlog)
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(s.socket, maxConns)) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		h.stop()
		timeout, done := context.WithTimeout(base, stopTime)
		if server.Shutdown(timeout) != nil {
			cancel()
			_ = server.Close() // of connections; Serve says what matters
		}
		done()
		err = <-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return errors.Join(err, s.Close())
}

func (s *Server) httpServer(h http.Handler, base context.Context, stdlog *log.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          stdlog,
		BaseContext:       func(net.Listener) context.Context { return base },
	}
}

// Close gives the socket back. It is for a Server that does not come to Serve.
func (s *Server) Close() error { return s.socket.Close() }
