package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"os/user"
	"runtime/debug"
	"syscall"
	"unsafe"

	"github.com/mdlayher/sdnotify"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"vtepd/cmd/internal/build"
	"vtepd/cmd/internal/control"
	"vtepd/config"
)

// A Source says where the configuration came from.
type Source struct {
	File string // empty when it came from flags
	Load func() (*config.Config, error)
}

// Main runs a daemon with its control socket until SIGTERM or SIGINT, reloads
// at SIGHUP, and tells systemd how it is. It logs to w.
func Main(cfg *config.Config, src Source, w io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log, level, err := newLogger(cfg.Log, w)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced
	for _, warning := range cfg.Warnings() {
		log.Warn(warning.Text, zap.String("at", warning.Path))
	}
	opts := Options{Log: log, Level: level, Version: build.String(), File: src.File}
	if src.File != "" {
		opts.Load = src.Load
	}
	// The socket first: it tells whether we are the only one here.
	server, err := control.Listen(control.Options{Path: cfg.Control.Path, Group: socketGroup(), Log: log.Named("control")})
	if err != nil {
		return &SystemError{Err: err}
	}
	d, err := New(cfg, opts)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	err = serve(ctx, d, server, log)
	log.Info("stopping")
	return errors.Join(err, d.Close())
}

// groupName is the group whose members may use the control socket, if the host
// has it.
const groupName = "vtepd"

func socketGroup() string {
	if _, err := user.LookupGroup(groupName); err != nil {
		return ""
	}
	return groupName
}

// serve runs the daemon's tasks until ctx ends or one of them fails.
func serve(ctx context.Context, d *Daemon, server *control.Server, log *zap.Logger) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.Run(ctx) })
	g.Go(func() error { return server.Serve(ctx, d) })
	g.Go(func() error { return reloadOnHangup(ctx, d) })
	// Parsing programs and configuration leaves megabytes that are never used
	// again.
	debug.FreeOSMemory()
	notify(log, sdnotify.Ready)
	err := g.Wait()
	notify(log, sdnotify.Stopping)
	return err
}

// reloadOnHangup reloads at SIGHUP. A refused reload is logged by Reload; the
// daemon goes on.
func reloadOnHangup(ctx context.Context, d *Daemon) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			notify(d.log, sdnotify.Reloading, monotonic())
			_, _ = d.Reload(ctx) // said in the log
			notify(d.log, sdnotify.Ready)
		}
	}
}

// monotonic is what systemd wants to know of a reload's start
// (sd_notify(3), MONOTONIC_USEC).
func monotonic() string {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		return "MONOTONIC_USEC=0"
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/1000)
}

// notify tells systemd, if there is one.
func notify(log *zap.Logger, states ...string) {
	n, err := sdnotify.New()
	if errors.Is(err, os.ErrNotExist) {
		return // not started by systemd
	}
	if err == nil {
		err = errors.Join(n.Notify(states...), n.Close())
	}
	if err != nil {
		log.Warn("systemd not told", zap.Error(err))
	}
}

// newLogger makes the logger that the configuration describes.
func newLogger(c config.Log, w io.Writer) (*zap.Logger, zap.AtomicLevel, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, level, fmt.Errorf("log.level: %w", err)
	}
	var enc zapcore.Encoder
	if c.Format == "json" {
		ec := zap.NewProductionEncoderConfig()
		ec.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		enc = zapcore.NewJSONEncoder(ec)
	} else {
		ec := zap.NewDevelopmentEncoderConfig()
		ec.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		ec.EncodeLevel = zapcore.CapitalLevelEncoder
		enc = zapcore.NewConsoleEncoder(ec)
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), level)), level, nil
}
