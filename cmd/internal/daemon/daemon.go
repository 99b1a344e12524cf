package daemon

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/route"
	"vtepd/route/host"
	"vtepd/route/nft"
	"vtepd/route/static"
	"vtepd/vtep"
	"vtepd/vtep/underlay"
)

// Options are what a [Daemon] is made of besides its configuration.
type Options struct {
	// Load reads the configuration anew, for reloads. It is nil when there is
	// no file.
	Load func() (*config.Config, error)
	// File is the configuration's name, for status.
	File string
	Log  *zap.Logger
	// Level changes the level of Log.
	Level zap.AtomicLevel
	// Version is what `vtepctl version` prints.
	Version string
}

// SystemError is what the system refused: a port, a device, a privilege.
type SystemError struct{ Err error }

// Error implements error.
func (e *SystemError) Error() string { return e.Err.Error() }

// Unwrap returns what was refused.
func (e *SystemError) Unwrap() error { return e.Err }

// A Daemon forwards for the segments of a configuration. It implements
// [api.Backend].
type Daemon struct {
	opts    Options
	log     *zap.Logger
	started time.Time
	tier    tier
	pools   *underlay.Pools
	engine  *vtep.Engine
	table   *route.Table
	local   *route.Local
	monitor *monitor
	drops   *dropLog

	// hostChanged asks for a look at the host: its channel holds one request,
	// whoever comes later joins it.
	hostChanged   chan struct{}
	routesChanged chan struct{} // the same for the kernel's routes
	routes        *host.Host
	rules         *nft.Rules
	member        *member // of a Flannel network; nil for none

	mu        sync.Mutex                      // guards what follows; held for a whole change
	file      *config.Config                  // as it is written
	planes    map[route.Source]config.Segment // that control planes want
	cfg       *config.Config                  // file with planes
	segments  map[uint32]*segment
	listeners map[listenKey]*listener
	egresses  map[int]*egress // by interface index
	fast      *fastPath       // nil in the slower tiers
	legacy    [2]string       // tables of iptables-legacy at the last look
	found     findings        // of the last look; what would change them makes another
	node      node
}

// New makes a daemon and opens everything that cfg names. When it returns
// frames are forwarded. Errors of the host are a *[SystemError].
func New(cfg *config.Config, o Options) (*Daemon, error) {
	table := route.NewTable(route.Flannel, route.EVPN, route.Kube)
	d := &Daemon{opts: o, log: o.Log, started: time.Now(),
		table: table, local: route.NewLocal(table, maxStations), monitor: newMonitor(), pools: underlay.NewPools(),
		hostChanged: make(chan struct{}, 1), routesChanged: make(chan struct{}, 1),
		planes:    make(map[route.Source]config.Segment),
		segments:  make(map[uint32]*segment),
		listeners: make(map[listenKey]*listener),
		egresses:  make(map[int]*egress),
		node:      node{given: make(map[api.Source]PodSubnets)},
		file:      &config.Config{},
		cfg:       &config.Config{},
	}
	if cfg.Flannel != nil {
		var err error
		if d.member, err = newMember(d, cfg.Flannel); err != nil {
			return nil, err
		}
	}
	d.routes = host.New(host.Config{Report: d.routesReport})
	d.rules = nft.New(nft.Config{Report: d.rulesReport})
	workers := cfg.Datapath.Workers
	if workers == 0 {
		workers = defaultWorkers(runtime.NumCPU())
	}
	d.tier = chooseTier(cfg.Datapath.Tier)
	senders := make([]vtep.Sender, workers)
	for i := range senders {
		senders[i] = underlay.NewSender(underlay.SenderOptions{Segment: d.tier.segment, Worker: i})
	}
	d.engine = vtep.NewEngine(vtep.Config{Senders: senders, Spin: cfg.Datapath.Spin, DeviceFailed: d.deviceFailed})
	if err := d.engine.Start(); err != nil {
		return nil, &SystemError{Err: err}
	}
	d.openFastPath()
	d.drops = newDropLog(d)
	if err := d.change(cfg); err != nil {
		return nil, &SystemError{Err: errors.Join(err, d.Close())}
	}
	d.log.Info("forwarding", zap.String("tier", d.tier.name), zap.Int("workers", workers),
		zap.Int("segments", len(cfg.Segments)))
	return d, nil
}

// defaultWorkers is half as many as there are cores, the stack and the
// applications needing the other half, but two where there are two: flows then
// do not wait for one another (measured: ADR 0002).
func defaultWorkers(cores int) int { return max(cores/2, min(cores, 2)) }

// Run keeps the daemon in step with the host until ctx ends. It does not
// close it.
func (d *Daemon) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.engine.Run(ctx) })
	g.Go(func() error { return d.watchHost(ctx) })
	g.Go(func() error { return d.drops.run(ctx) })
	if d.fast != nil {
		g.Go(func() error { return d.fast.mirror.Run(ctx) })
	}
	g.Go(func() error { return d.keepRoutes(ctx) })
	g.Go(func() error { return d.runRoutes(ctx) })
	g.Go(func() error { return d.runRules(ctx) })
	g.Go(func() error { return d.keepTelling(ctx) })
	if d.member != nil {
		g.Go(func() error { return d.member.run(ctx) })
	}
	return g.Wait()
}

// Close stops forwarding and gives back devices, sockets and the kernel's routes.
// It is called when Run has returned.
func (d *Daemon) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	errs := []error{d.engine.Close()}
	for _, l := range d.listeners {
		errs = append(errs, l.close())
	}
	segments := slices.Collect(maps.Values(d.segments))
	// In this order: most routes and hooks go with a device.
	errs = append(errs, closeDevices(segments), d.routes.Close())
	if d.fast != nil {
		errs = append(errs, d.fast.close())
	}
	for _, s := range segments {
		errs = append(errs, s.dialer.Close())
	}
	errs = append(errs, d.closeEgresses())
	d.listeners, d.segments = map[listenKey]*listener{}, map[uint32]*segment{}
	return errors.Join(errs...)
}

// Reload implements [api.Backend]: it reads the configuration anew and puts it
// in force, or changes nothing and says why.
func (d *Daemon) Reload(context.Context) (api.Result, error) {
	if d.opts.Load == nil {
		return api.Result{}, api.Refusedf("there is no configuration file to reload: vtepd was started with flags")
	}
	next, err := d.opts.Load()
	var problems *config.Problems
	if errors.As(err, &problems) {
		e := api.Refusedf("reload refused, nothing changed")
		for _, p := range problems.List {
			e.Problems = append(e.Problems, p.String())
		}
		err = e
	}
	var diff config.Change
	if err == nil {
		diff = config.Diff(d.configuration(), next)
		err = d.change(next)
	}
	if err != nil {
		d.log.Error("reload refused, nothing changed", zap.Error(err))
		return api.Result{}, err
	}
	r := api.Result{Changed: len(diff.Added) + len(diff.Removed) + len(diff.Changed)}
	if len(diff.Restart) > 0 {
		r.Note = "only a restart changes " + join(diff.Restart)
		d.log.Warn("some changes take a restart", zap.Strings("keys", diff.Restart))
	}
	d.log.Info("reloaded", zap.Int("segments", len(next.Segments)), zap.Int("added", len(diff.Added)),
		zap.Int("removed", len(diff.Removed)), zap.Int("changed", len(diff.Changed)))
	return r, nil
}

func (d *Daemon) configuration() *config.Config {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file
}

// change puts next in force, or nothing of it.
func (d *Daemon) change(next *config.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.put(next)
}

// put is change for those who hold d.mu.
func (d *Daemon) put(file *config.Config) error {
	next, err := d.withPlanes(file)
	if err != nil {
		return err
	}
	diff := config.Diff(d.cfg, next)
	p, err := d.prepare(next)
	if err != nil {
		return err
	}
	defer p.look.Close()
	old := d.segments
	if err := p.commit(func() {
		for _, r := range diff.Removed {
			// What operators put into it goes with it, and what the old file
			// says: that may be of another mode. What control planes say of it
			// holds: it may come back.
			d.carryOut(d.table.RemoveVNI(route.Operator, r.VNI))
			d.carryOut(d.table.RemoveVNI(route.Config, r.VNI))
		}
		for vni, s := range d.segments {
			if was := old[vni]; was == nil || was.engine != s.engine {
				d.give(s)
			}
		}
		d.apply(static.Snapshot(staticInput(next)))
	}); err != nil {
		p.abandon()
		return err
	}
	d.file = file
	for vni, s := range d.segments {
		if was := old[vni]; was == nil || was.engine != s.engine {
			s.engine.FDB().SetNotify(d.notifier(s))
		}
		d.follow(s, p.look)
	}
	d.closeIdle()
	p.bringUp()
	for i := range diff.Changed {
		d.reconfigureDevice(&diff.Changed[i])
	}
	d.publish()
	d.followCNI(&diff)
	d.wakeRoutes()
	if diff.Flannel && d.member != nil {
		d.member.nudge() // subnet.env says who masquerades
	}
	if diff.Log && d.opts.Level.String() != next.Log.Level {
		d.closing("log level", d.opts.Level.UnmarshalText([]byte(next.Log.Level)))
	}
	return nil
}

// staticInput is what route/static needs of a configuration.
func staticInput(c *config.Config) []static.Segment {
	out := make([]static.Segment, 0, len(c.Segments))
	for i := range c.Segments {
		s := &c.Segments[i]
		in := static.Segment{VNI: s.VNI}
		for _, r := range s.Remotes {
			in.Remotes = append(in.Remotes, destination(r))
		}
		if s.Group.IsValid() {
			in.Remotes = append(in.Remotes, route.VTEP{Addr: s.Group, Port: s.Port, VNI: s.VNI})
		}
		for _, e := range s.Static {
			in.MACs = append(in.MACs, static.MAC{MAC: e.MAC, VTEP: destination(e.Dst)})
		}
		for _, n := range s.Neighbours {
			in.Neighbours = append(in.Neighbours, static.Neighbour{IP: n.IP, MAC: n.MAC})
		}
		for _, p := range s.Prefixes {
			in.Prefixes = append(in.Prefixes, static.Prefix{Prefix: p.Prefix, VTEP: destination(p.Via), Router: p.MAC})
		}
		out = append(out, in)
	}
	return out
}

func destination(d config.Destination) route.VTEP {
	return route.VTEP{Addr: d.IP, Port: d.Port, VNI: d.VNI}
}
