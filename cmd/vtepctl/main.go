// Command vtepctl shows and changes what a running vtepd does.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"vtepd/cmd/internal/build"
	"vtepd/cmd/internal/ctl"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(ctl.Run(ctx, os.Args[1:], os.Stdout, os.Stderr, build.String()))
}
