package cni

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"vtepd/route/ipam"
)

// lockTime is how long a command waits for others at the address store.
// Runtimes give up after minutes.
const lockTime = 60 * time.Second

// errFull is our code for a subnet without a free address; those from 100 on
// are a plugin's own (SPEC.md, section "Error").
const errFull = 100

// Main answers the command in the environment and returns when that was done;
// errors it prints as the specification wants them, and exits with 1.
func Main(build string) {
	skel.PluginMainFuncs(Funcs(), version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), "CNI plugin vtep-cni "+build)
}

// Funcs are the commands.
func Funcs() skel.CNIFuncs {
	return skel.CNIFuncs{
		Add:    command(add),
		Del:    command(del),
		Check:  command(check),
		GC:     command(func(c *conf, _ *skel.CmdArgs) error { return gc(c) }),
		Status: command(func(c *conf, _ *skel.CmdArgs) error { return c.status(context.Background()) }),
	}
}

func command(f func(*conf, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		c, err := parseConf(args.StdinData)
		if err != nil {
			return err
		}
		return f(c, args)
	}
}

// lock opens the network's store and locks it.
func (c *conf) lock() (*ipam.Locked, error) {
	s, err := ipam.Open(c.DataDir, c.Name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockTime)
	defer cancel()
	l, err := s.Lock(ctx)
	if err != nil {
		return nil, storeError(err)
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil { // where there is none, GC and DEL free all the same
		if _, err := l.Boot(strings.TrimSpace(string(id))); err != nil {
			return nil, errors.Join(storeError(err), l.Unlock())
		}
	}
	return l, nil
}

// storeError gives an error of the store its code.
func storeError(err error) error {
	var full *ipam.FullError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &full):
		return types.NewError(errFull, "no free address", err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return types.NewError(types.ErrTryAgainLater, "the address store is busy", err.Error())
	default:
		return types.NewError(types.ErrIOFailure, "address store", err.Error())
	}
}

func ownerOf(args *skel.CmdArgs) ipam.Owner {
	return ipam.Owner{ContainerID: args.ContainerID, IfName: args.IfName}
}

// add answers ADD. What it made before an error it takes away again.
func add(c *conf, args *skel.CmdArgs) error {
	n, err := c.network(context.Background())
	if err != nil {
		return err
	}
	got, err := c.reserve(n, ownerOf(args))
	if err != nil {
		return err
	}
	result, err := attach(c, n, args, got)
	if err == nil {
		return types.PrintResult(result, c.Version)
	}
	return errors.Join(err, c.release(ownerOf(args)))
}

// reserve takes addresses for an attachment and, where the network masquerades,
// has the rules in place before anything is sent from them.
func (c *conf) reserve(n *network, o ipam.Owner) (_ []ipam.Allocation, err error) {
	l, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Unlock()) }()
	got, err := l.Allocate(o, n.pools)
	if err != nil {
		return nil, storeError(err)
	}
	if c.IsGateway {
		if err := moveGateways(l, c.Bridge, n.pools); err != nil {
			_, undo := l.Release(o)
			return nil, errors.Join(err, undo)
		}
	}
	if c.IPMasq {
		if err := c.masquerade(l, n.pools); err != nil {
			_, undo := l.Release(o)
			return nil, errors.Join(fmt.Errorf("ipMasq: %w", err), undo)
		}
	}
	return got, nil
}

// release takes away what an attachment has on the host: its veth, then its
// addresses, and with the last of the network its masquerade.
func (c *conf) release(o ipam.Owner) error {
	if err := deleteHostLink(c.Name, o); err != nil {
		return err // the addresses are in use still
	}
	l, err := c.lock()
	if err != nil {
		return err
	}
	_, err = l.Release(o)
	return errors.Join(storeError(err), c.forget(l), l.Unlock())
}

// forget removes the network's masquerade when nobody is left in it.
func (c *conf) forget(l *ipam.Locked) error {
	held, err := l.Held()
	if err != nil || len(held) > 0 {
		return storeError(err)
	}
	return removeMasquerade(c.Name)
}

// del answers DEL, which succeeds whatever is left to take away. The container's
// end of the veth goes with the host's; nothing else in its namespace is ours.
func del(c *conf, args *skel.CmdArgs) error { return c.release(ownerOf(args)) }

// gc answers GC: it takes away what belongs to none of the valid attachments.
func gc(c *conf) error {
	valid := map[ipam.Owner]bool{}
	links := map[string]bool{}
	for _, a := range c.Valid {
		o := ipam.Owner{ContainerID: a.ContainerID, IfName: a.IfName}
		valid[o], links[hostLink(c.Name, o)] = true, true
	}
	l, err := c.lock()
	if err != nil {
		return err
	}
	// A runtime does not ask for GC while it asks for ADD (SPEC.md, section
	// "GC"): whoever is not valid now is nobody.
	err = deleteStrayLinks(c.Name, links)
	if err == nil {
		_, err = l.Keep(func(h ipam.Held) bool { return h.Bad == nil && valid[h.Owner] })
		err = storeError(err)
	}
	return errors.Join(err, c.forget(l), l.Unlock())
}
