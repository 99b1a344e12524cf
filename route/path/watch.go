package path

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// settle is how long changes are gathered: one `ip` command makes several.
const settle = 100 * time.Millisecond

// nfnlgrpNftables is NFNLGRP_NFTABLES (include/uapi/linux/netfilter/nfnetlink.h),
// xfrmnlgrpPolicy XFRMNLGRP_POLICY (include/uapi/linux/xfrm.h).
const (
	nfnlgrpNftables = 7
	xfrmnlgrpPolicy = 4
)

// A topic is what one netlink socket tells of. A kernel may lack those that
// are optional.
type topic struct {
	family   int
	groups   []uint
	optional bool
}

func topics() []topic {
	return []topic{
		{unix.NETLINK_ROUTE, []uint{unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE}, false},
		{unix.NETLINK_NETFILTER, []uint{nfnlgrpNftables}, true},
		{unix.NETLINK_XFRM, []uint{xfrmnlgrpPolicy}, true},
	}
}

// Watch calls changed whenever links, addresses, routes, routing rules, nftables
// rules or IPsec policies of the host changed, or events were lost, until ctx
// ends. What changed is to be looked up: only that is reliable, since netlink
// loses events under load (ENOBUFS). Several goroutines may call changed at the same time.
func Watch(ctx context.Context, changed func()) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range topics() {
		f, err := subscribe(w.family, w.groups)
		if err != nil && w.optional {
			continue
		}
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		g.Go(func() error { return follow(ctx, f, changed) })
	}
	return g.Wait()
}

// subscribe opens a socket that gets the events of some groups.
func subscribe(family int, groups []uint) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, family)
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	mask := uint32(0)
	for _, g := range groups {
		mask |= 1 << (g - 1)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: mask}); err != nil {
		return nil, errors.Join(fmt.Errorf("netlink events: %w", err), f.Close())
	}
	return f, nil
}

// follow reads events until ctx ends. It closes f.
func follow(ctx context.Context, f *os.File, changed func()) error {
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) })
	defer stop()
	buf := make([]byte, 1<<16)
	for {
		_, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("netlink events: %w", err)
		}
		drain(f, buf)
		if ctx.Err() != nil {
			return nil
		}
		changed()
	}
}

// drain reads what comes within the time to settle.
func drain(f *os.File, buf []byte) {
	end := time.Now().Add(settle)
	if f.SetReadDeadline(end) != nil {
		return
	}
	for {
		if _, err := f.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			break
		}
	}
	_ = f.SetReadDeadline(time.Time{}) // it was set a moment ago
}
