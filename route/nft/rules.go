package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"vtepd/route/claim"
	"vtepd/route/path"
)

// Config says how Rules work. The zero value is fine.
type Config struct {
	// Tick is how often is looked without a reason; 0 is 5 s.
	Tick time.Duration
	// Report, if set, is told of what was done and of what became a problem or
	// ceased to be one. The goroutine of Run calls it.
	Report func(Report)
}

// A Report is what one look changed, in sentences.
type Report struct {
	Done             []string
	Problems, Solved []string
}

// A Status is what there was at the last look.
type Status struct {
	// Contributions are the names of those in the table.
	Contributions []string
	// Written counts how often the table was written, Restored how often
	// because somebody had changed or removed it.
	Written, Restored uint64
	// Forward is what was found in the way of forwarded packets.
	Forward []Finding
	// Errors are what the kernel refused.
	Errors []error
}

// Problems says in sentences what does not work.
func (s *Status) Problems() []string {
	var out []string
	for _, e := range s.Errors {
		out = append(out, e.Error())
	}
	for i := range s.Forward {
		if f := &s.Forward[i]; !f.Passes {
			out = append(out, f.String())
		}
	}
	return out
}

const (
	defaultTick = 5 * time.Second
	// claimName is what the table is claimed by.
	claimName = "nftables rules"
)

// wish is what is wanted. It is not changed once it is in force.
type wish struct {
	contributions map[string]Contribution
	forward       Forward
}

func (w *wish) empty() bool { return len(w.contributions) == 0 && w.forward.empty() }

// Rules keeps the rules of the network namespace that Run is called in. Its
// methods may be called from any goroutine.
type Rules struct {
	cfg  Config
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	wanted *wish
	status Status

	// What follows belongs to the goroutine of Run.
	claim    *claim.Claim
	written  *wish // what the table was made of
	print    string
	inserted map[place]string // prints of our chains in tables of others
	legacy   map[legacy]bool  // families where ours are in tables of iptables-legacy, as far as we know
	problems map[string]bool
	// rests says that nothing is wanted and nothing is left.
	rests bool
	// reading is how long the last look read rules.
	reading time.Duration
}

// New makes Rules that want nothing yet.
func New(c Config) *Rules {
	if c.Tick == 0 {
		c.Tick = defaultTick
	}
	return &Rules{cfg: c, wake: make(chan struct{}, 1), wanted: new(wish), inserted: make(map[place]string),
		legacy: make(map[legacy]bool), problems: make(map[string]bool)}
}

// Set replaces the contribution of a name; one without chains is none. It
// refuses what the kernel would refuse, and then changes nothing. It does not
// wait until the rules are in force; see Status.
func (r *Rules) Set(name string, c Contribution) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("rules of %s: %w", name, err)
	}
	r.change(func(w *wish) {
		w.contributions = maps.Clone(w.contributions)
		if len(c.Chains) == 0 {
			delete(w.contributions, name)
			return
		}
		if w.contributions == nil {
			w.contributions = make(map[string]Contribution)
		}
		w.contributions[name] = c
	})
	return nil
}

// SetForward says what must be let through by other chains, and what to do
// about those that do not.
func (r *Rules) SetForward(f Forward) { r.change(func(w *wish) { w.forward = f }) }

func (r *Rules) change(f func(*wish)) {
	r.mu.Lock()
	next := *r.wanted
	f(&next)
	r.wanted = &next
	r.mu.Unlock()
	r.Wake()
}

// Wake asks for a look. It never waits.
func (r *Rules) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // one is asked for already
	}
}

// Status returns what there was at the last look. The slices are not to be
// changed.
func (r *Rules) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// Run keeps the rules until ctx ends. Then it removes them, from the chains of
// others, too: what the kernel refuses then is the error, as is a kernel that
// does not tell of changes. It is called once.
func (r *Rules) Run(ctx context.Context) error {
	err := path.Keep(ctx, r.wake, r.cfg.Tick, func(bool) time.Duration {
		r.reading = 0
		r.look(ctx)
		return path.Rest(r.reading)
	})
	return errors.Join(err, r.close())
}

// look makes the kernel's rules what they should be, as far as that goes before
// ctx ends.
func (r *Rules) look(ctx context.Context) {
	r.mu.Lock()
	w, old := r.wanted, r.status
	r.mu.Unlock()
	s := Status{Written: old.Written, Restored: old.Restored}
	var rep Report
	r.keep(ctx, w, &s, &rep)
	if ctx.Err() != nil {
		return // what was cut short is no news
	}
	r.mu.Lock()
	r.status = s
	r.mu.Unlock()
	r.report(rep, &s)
}

func (r *Rules) keep(ctx context.Context, w *wish, s *Status, rep *Report) {
	if r.rests = r.rests && w.empty(); r.rests {
		return
	}
	if err := r.own(); err != nil {
		if held := new(claim.Held); w.empty() && errors.As(err, &held) {
			r.rests = true // the leftovers, if any, are that daemon's
			return
		}
		s.Errors = append(s.Errors, err)
		return
	}
	s.Contributions = slices.Sorted(maps.Keys(w.contributions))
	if err := r.keepTable(w, s, rep); err != nil {
		s.Errors = append(s.Errors, err)
	}
	r.keepForward(w.forward, s, rep)
	r.keepLegacy(ctx, w.forward, s, rep)
	if w.empty() && len(s.Errors) == 0 {
		r.rests = true
		r.release()
	}
}

// timed counts the time until it is called as reading.
func (r *Rules) timed() func() {
	began := time.Now()
	return func() { r.reading += time.Since(began) }
}

// own claims the rules of the network namespace.
func (r *Rules) own() error {
	if r.claim != nil {
		return nil
	}
	c, err := claim.Take(claimName)
	if err == nil {
		r.claim = c
	}
	return err
}

func (r *Rules) release() {
	r.claim.Release()
	r.claim = nil
}

// report tells what changed since the last look, if anything did.
func (r *Rules) report(rep Report, s *Status) {
	now := make(map[string]bool)
	for _, p := range s.Problems() {
		if now[p] = true; !r.problems[p] {
			rep.Problems = append(rep.Problems, p)
		}
	}
	for p := range r.problems {
		if !now[p] {
			rep.Solved = append(rep.Solved, p)
		}
	}
	r.problems = now
	slices.Sort(rep.Solved)
	if r.cfg.Report != nil && len(rep.Done)+len(rep.Problems)+len(rep.Solved) > 0 {
		r.cfg.Report(rep)
	}
}

// stopTime is what a stop has for the commands of iptables-legacy.
const stopTime = time.Second

// close removes what is ours.
func (r *Rules) close() error {
	if r.claim == nil {
		return nil
	}
	defer r.release()
	var s Status
	var rep Report
	err := r.keepTable(new(wish), &s, &rep)
	r.keepForward(Forward{}, &s, &rep)
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	for _, l := range legacies() {
		if r.legacy[l] { // else there is nothing to wait for its lock for
			s.noteLegacy(r.keepOne(ctx, l, &Forward{}, &s, &rep))
		}
	}
	return errors.Join(append(s.Errors, err)...)
}
