package path

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
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
			unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_TC}, false},
		{unix.NETLINK_NETFILTER, []uint{nfnlgrpNftables}, true},
		{unix.NETLINK_XFRM, []uint{xfrmnlgrpPolicy}, true},
	}
}

// A Watcher hears what changes on the host.
type Watcher struct {
	files []*os.File
	// Ignored is a route protocol, as that of routes which the caller itself
	// writes: its routes are no news. 0 is none.
	Ignored int
}

// Subscribe begins to listen in the network namespace of the calling thread:
// what changes from now on is told by Run, which is to be called then, or Close.
func Subscribe() (*Watcher, error) {
	w := new(Watcher)
	for _, t := range topics() {
		f, err := subscribe(t.family, t.groups)
		if err != nil && t.optional {
			continue
		}
		if err != nil {
			w.Close()
			return nil, err
		}
		w.files = append(w.files, f)
	}
	return w, nil
}

// Close ends listening without Run.
func (w *Watcher) Close() {
	for _, f := range w.files {
		f.Close()
	}
}

// Run calls changed whenever links, addresses, routes, routing rules, traffic
// control, nftables rules or IPsec policies of the host changed, or events were lost, until ctx
// ends. What changed is to be looked up: only that is reliable, since netlink
// loses events under load (ENOBUFS). Several goroutines may call changed at the
// same time.
func (w *Watcher) Run(ctx context.Context, changed func()) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range w.files {
		g.Go(func() error { return w.follow(ctx, f, changed) })
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
func (w *Watcher) follow(ctx context.Context, f *os.File, changed func()) error {
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) })
	defer stop()
	buf := make([]byte, 1<<16)
	for {
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && w.ignores(buf[:n]):
			continue
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

// ignores reports whether all that b tells of are routes of the protocol that
// is ignored.
func (w *Watcher) ignores(b []byte) bool {
	if w.Ignored == 0 {
		return false
	}
	msgs, err := syscall.ParseNetlinkMessage(b)
	if err != nil || len(msgs) == 0 {
		return false
	}
	for _, m := range msgs {
		isRoute := m.Header.Type == unix.RTM_NEWROUTE || m.Header.Type == unix.RTM_DELROUTE
		// struct rtmsg has the protocol in its sixth byte (linux/rtnetlink.h).
		if !isRoute || len(m.Data) < unix.SizeofRtMsg || int(m.Data[5]) != w.Ignored {
			return false
		}
	}
	return true
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
