// Vmtest is what `make vm-test` runs: two virtual machines with a kernel of
// Debian's run vtepd as a user would, over a wire between them, and the same
// with the kernel's vxlan device in one of the two.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"vtepd/cmd/internal/vmtest/initramfs"
)

// config is the command line.
type config struct {
	bin, out, deb, accel, scenario string
	timeout                        time.Duration
}

func main() {
	// The machines are started by this thread and die with it.
	runtime.LockOSThread()
	var c config
	flag.StringVar(&c.bin, "bin", "bin", "`folder` of vtepd and vtepctl")
	flag.StringVar(&c.out, "out", "out/vm", "`folder` for captures and logs")
	flag.StringVar(&c.deb, "kernel", "", "Debian package `file` with a kernel, instead of the present cloud kernel")
	flag.StringVar(&c.accel, "accel", "auto", "`kvm or tcg`, a list to be tried in order, or auto")
	flag.StringVar(&c.scenario, "scenario", "", "play only the scenario of this `name`, such as vtepd-kernel")
	flag.DurationVar(&c.timeout, "timeout", 8*time.Minute, "how long everything may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	begin := time.Now()
	if err := c.run(ctx); err != nil {
		fmt.Printf("\nvm-test: failed after %.0f s: %v\n", time.Since(begin).Seconds(), err)
		os.Exit(1)
	}
	fmt.Printf("\nvm-test: success in %.0f s; captures and console logs are in %s\n", time.Since(begin).Seconds(), c.out)
}

func step(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

// run makes what the machines boot and plays both scenarios.
func (c *config) run(ctx context.Context) (err error) {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the machines have amd64 processors, vtepd was built for %s", runtime.GOARCH)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("it took longer than %v", c.timeout))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
	}()
	chosen, err := choose(c.scenario)
	if err != nil {
		return err
	}
	kernel, initrd, err := c.image(ctx)
	if err != nil {
		return err
	}
	for _, s := range chosen {
		step("scenario: %s", s.title)
		if err := c.play(ctx, s, kernel, initrd); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
	}
	return nil
}

// image gets the kernel and writes the file system.
func (c *config) image(ctx context.Context) (*initramfs.Kernel, string, error) {
	step("a kernel and a file system for the machines")
	deb := c.deb
	if deb == "" {
		var err error
		if deb, err = initramfs.Download(ctx, filepath.Join(c.out, "kernel")); err != nil {
			return nil, "", err
		}
	}
	kernel, err := initramfs.Unpack(ctx, deb, filepath.Join(c.out, "kernel", "unpacked"))
	if err != nil {
		return nil, "", err
	}
	initrd := filepath.Join(c.out, "initramfs.cpio")
	err = initramfs.Write(initrd, kernel, initramfs.Content{
		Modules: []string{"virtio_pci", "virtio_net", "tun", "vxlan"},
		Static:  []string{filepath.Join(c.bin, "vtepd"), filepath.Join(c.bin, "vtepctl")},
		// A shell too: Debian's busybox prefers its own ip and ping in its shell.
		Host: []string{"sh", "ip", "ping", "iperf3"},
	})
	if err != nil {
		return nil, "", err
	}
	info, err := os.Stat(initrd)
	if err != nil {
		return nil, "", err
	}
	fmt.Printf("kernel from %s, not installed\ninitramfs of %d MB: vtepd, vtepctl, busybox, and this host's sh, ip, ping and iperf3\n", kernel.Package, info.Size()>>20)
	return kernel, initrd, nil
}

// accelerators are what the machines are tried with, in order.
func (c *config) accelerators() []string {
	if c.accel != "auto" {
		return strings.Split(c.accel, ",")
	}
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		f.Close()
		if text, err := os.ReadFile("/proc/cpuinfo"); err == nil && virtualizes(string(text)) {
			return []string{"kvm", "tcg"}
		}
	}
	return []string{"tcg"}
}

// virtualizes reports whether the processor, by /proc/cpuinfo, can run an
// ordinary kernel in a machine. A /dev/kvm without that wants a kernel made
// for it.
func virtualizes(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		if name, flags, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "flags" {
			fields := " " + strings.TrimSpace(flags) + " "
			return strings.Contains(fields, " vmx ") || strings.Contains(fields, " svm ")
		}
	}
	return false
}
