package host

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vtepd/route/claim"
	"vtepd/route/path"
)

// Config says how a Host works. The zero value is fine.
type Config struct {
	// Tick is how often is looked without a reason; 0 is 5 s.
	Tick time.Duration
	// Report, if set, is told of what was done and of what became a problem or
	// ceased to be one. The goroutine of Run calls it.
	Report func(Report)
}

// A Report is what one look changed.
type Report struct {
	Added, Removed, Corrected int
	// Settings are kernel settings that were changed, as sysctl(8) has them.
	Settings []string
	// Problems are new, Solved ended. They are sentences.
	Problems, Solved []string
}

// A Status is what there was at the last look.
type Status struct {
	// Wanted is how many prefixes are to have a route, Owned how many routes of
	// ours the kernel has as they should be.
	Wanted, Owned int
	Refused       []Refusal
	Conflicts     []Conflict
	// Settings are the kernel settings that were changed, oldest first, with
	// what they were. They stay at a stop.
	Settings []string
	// Looks counts them; Restored is how many routes somebody had removed or
	// changed, since the start.
	Looks, Restored uint64
	// Errors are what the kernel refused.
	Errors []error
}

// Problems says in sentences what does not work.
func (s *Status) Problems() []string {
	var out []string
	for _, e := range s.Errors {
		out = append(out, e.Error())
	}
	for _, r := range s.Refused {
		out = append(out, r.String())
	}
	for _, c := range s.Conflicts {
		if c.Used {
			out = append(out, c.String())
		}
	}
	return out
}

const (
	defaultTick = 5 * time.Second
	// claimName is what our routes are claimed by.
	claimName = "kernel routes"
)

// A Host keeps the routes of the network namespace that Run is called in. Its
// methods may be called from any goroutine; for Close see there.
type Host struct {
	cfg  Config
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	wanted *Wanted
	status Status

	// What follows belongs to the goroutine of Run, and then of Close.
	claim    *claim.Claim
	settings settings
	seed     maphash.Seed
	direct   map[netip.Addr]onLink // answers of the kernel
	world    uint64                // that they are true in
	wrote    map[netip.Prefix]kernelRoute
	problems map[string]bool
	// rests says that nothing is wanted and nothing is left.
	rests bool
	// busy is how long the last look read and compared tables.
	busy time.Duration
}

type onLink struct {
	hop hop
	why string
}

// New makes a Host that wants nothing yet.
func New(c Config) *Host {
	if c.Tick == 0 {
		c.Tick = defaultTick
	}
	return &Host{cfg: c, wake: make(chan struct{}, 1), wanted: new(Wanted), settings: settings{root: "/proc/sys/net"},
		seed: maphash.MakeSeed(), direct: make(map[netip.Addr]onLink), wrote: make(map[netip.Prefix]kernelRoute),
		problems: make(map[string]bool)}
}

// Set says anew what is wanted. It does not wait until that is so; see Status.
func (h *Host) Set(w Wanted) {
	h.mu.Lock()
	h.wanted = &w
	h.mu.Unlock()
	h.Wake()
}

// Wake asks for a look. It never waits.
func (h *Host) Wake() {
	select {
	case h.wake <- struct{}{}:
	default: // one is asked for already
	}
}

// Status returns what there was at the last look. The slices are not to be
// changed.
func (h *Host) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}

// Run keeps the routes until ctx ends. They stay then until [Host.Close]. A
// kernel that does not tell of changes is an error. It is called once.
func (h *Host) Run(ctx context.Context) error {
	return path.Keep(ctx, h.wake, h.cfg.Tick, func(ticked bool) time.Duration {
		if ticked {
			clear(h.direct) // whatever the digest of the world does not see
		}
		h.look(ctx)
		return path.Rest(h.busy)
	})
}

// Close removes the routes: what the kernel refuses is the error. The settings
// stay, and so do the routes of another daemon, which has the claim. It is called
// when Run has returned, in the same network namespace. Whoever also closes the
// devices that the routes lead to does so before: with a device its routes go
// all at once, and else one by one.
func (h *Host) Close() error {
	if h.claim == nil {
		return nil
	}
	defer h.release()
	k, err := openKernel(h.seed)
	if err != nil {
		return err
	}
	defer k.close()
	var errs []error
	for i := range k.own {
		if err := k.do(&change{del: &k.own[i]}); err != nil {
			errs = append(errs, fmt.Errorf("route %s not removed: %w", k.own[i].text(k.name), err))
		}
	}
	return errors.Join(errs...)
}

// look makes the kernel's state what it should be, as far as that goes before
// ctx ends.
func (h *Host) look(ctx context.Context) {
	h.mu.Lock()
	w, old := h.wanted, h.status
	h.mu.Unlock()
	s := Status{Looks: old.Looks + 1, Restored: old.Restored}
	rep := h.keep(ctx, w, &s)
	s.Settings = slices.Clone(h.settings.did)
	h.mu.Lock()
	h.status = s
	h.mu.Unlock()
	h.report(rep, &s)
}
