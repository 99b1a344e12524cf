// Package apitest has an [api.Backend] in memory, for tests of what stands in
// front of one.
package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
)

// Backend is a daemon with two segments, 42 on vx42 and 43 on vx43, that keeps
// what it is told. All methods may be called from any goroutine.
type Backend struct {
	// ReloadError, when not nil, is what Reload returns. It is set before the
	// Backend is used.
	ReloadError error
	// Blocked, when not nil, is what Reload waits for besides its context.
	Blocked chan struct{}

	mu       sync.Mutex
	calls    []string
	level    string
	entries  []api.FDBEntry
	remotes  []api.Remote
	neigh    []api.Neighbour
	routes   []api.Route
	watchers map[int]watcher
	watches  int
}

var _ api.Backend = (*Backend)(nil)

type watcher struct {
	kinds []api.Kind
	emit  func(api.Event)
}

// New returns a Backend with a few entries of every source.
func New() *Backend {
	entry := func(mac, ifname string, dst string, port uint16, vni uint32, state api.State, source api.Source) api.FDBEntry {
		return api.FDBEntry{MAC: must(packet.ParseMAC(mac)), Ifname: ifname, Segment: devices()[ifname],
			Dst: netip.MustParseAddr(dst), Port: port, VNI: vni, State: state, Source: source, Flags: []string{"self"}}
	}
	learned := entry("02:00:00:00:00:03", "vx42", "192.0.2.2", 4789, 42, api.Dynamic, api.Learned)
	learned.Age = 7
	return &Backend{
		level:    "info",
		watchers: make(map[int]watcher),
		routes:   routes(),
		entries: []api.FDBEntry{
			entry("00:00:00:00:00:00", "vx42", "192.0.2.2", 4789, 42, api.Permanent, api.Config),
			entry("00:00:00:00:00:00", "vx43", "2001:db8::2", 4790, 43, api.Permanent, api.Config),
			entry("02:00:00:00:00:02", "vx42", "192.0.2.2", 4789, 42, api.Static, api.Config),
			learned,
			entry("02:00:00:00:00:04", "vx43", "2001:db8::2", 4790, 7, api.Permanent, api.Operator),
		},
		remotes: []api.Remote{
			{IP: netip.MustParseAddr("192.0.2.2"), Port: 4789, VNI: 42, Ifname: "vx42", Segment: 42, Source: api.Config, Flood: true, MTU: 1450},
			{IP: netip.MustParseAddr("2001:db8::2"), Port: 4790, VNI: 43, Ifname: "vx43", Segment: 43, Source: api.Config,
				Flood: true, MTU: 1430, Problem: "network is unreachable"},
		},
		neigh: []api.Neighbour{{IP: netip.MustParseAddr("10.99.0.2"), MAC: packet.MAC{2, 0, 0, 0, 0, 2},
			Ifname: "vx42", Segment: 42, State: api.Permanent, Source: api.Config}},
	}
}

func devices() map[string]uint32 { return map[string]uint32{"vx42": 42, "vx43": 43} }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Calls returns what was asked for since the last Calls, each as the method's
// name and its arguments in JSON. What only looks is not in it.
func (b *Backend) Calls() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	return calls
}

// called notes a call. It holds b.mu.
func (b *Backend) called(name string, args any) {
	b.calls = append(b.calls, name+" "+string(must(json.Marshal(args))))
}

// Version implements [api.Backend].
func (b *Backend) Version() api.Version {
	return api.Version{Version: "v1.2.3", Go: "go1.26", PID: 4242}
}

// Status implements [api.Backend].
func (b *Backend) Status() api.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return api.Status{
		Version: "v1.2.3", PID: 4242, Uptime: 3723, Config: "/etc/vtepd/vtepd.yaml", LogLevel: b.level,
		Tier: "portable", Capabilities: []string{"udp_segment", "udp_gro"},
		WhyNotFaster: "/dev/net/tun takes no offloads", Workers: 2,
		Sockets: []api.Socket{
			{Addr: netip.MustParseAddrPort("0.0.0.0:4789"), Device: "eth0", Dropped: 3},
			{Addr: netip.MustParseAddrPort("[ff05::100]:4789"), Group: true},
		},
		Segments: b.Segments(), Node: new(b.Node()), Kernel: kernel(),
		Sources:  []api.SourceStatus{{Source: api.Flannel, Connected: true, Leases: 2, Refused: 1}},
		Problems: []string{"no route to 2001:db8::2"},
	}
}

func kernel() *api.Kernel {
	return &api.Kernel{Wanted: 3, Routes: 2, Restored: 1,
		Refused:   []string{"no route to 10.244.9.0/24 of segment 1 by 192.0.2.9: it is not on-link: the host reaches it by the router 192.0.2.254"},
		Conflicts: []string{"10.244.2.0/24: somebody's route is used instead of ours; to make way: ip route del 10.244.2.0/24 via 192.0.2.8 dev eth0 proto boot"},
		Settings:  []string{"net.ipv4.conf.flannel/1.forwarding = 1 (was 0)"},
		Rules:     []string{"masquerade"}, RulesRestored: 1,
		Forward: []api.Obstacle{{Where: "table ip filter, chain FORWARD", Why: "drops by policy", Passes: true, Inserted: true,
			Command: `iptables -I FORWARD -s 10.244.0.0/16 -m comment --comment "vtepd forward" -j ACCEPT`}}}
}

// Node implements [api.Backend].
func (b *Backend) Node() api.Node {
	return api.Node{Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:1::/64")},
		MTU: 1450, Source: api.Flannel, Conflist: "/etc/cni/net.d/10-vtepd.conflist"}
}

// Segments implements [api.Backend].
func (b *Backend) Segments() []api.SegmentStatus {
	return []api.SegmentStatus{
		{VNI: 42, Mode: api.ModeBridge, Device: "vx42", MAC: packet.MAC{2, 0, 0, 0, 0, 1}, MTU: 1450,
			Local: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
			Port:  4789, Learning: true, Ageing: 300, MaxMACs: 10000, Accept: "known", Suppress: true,
			Interface: "eth0", Bridge: "br0", Remotes: 1, Entries: 3, Tier: "portable"},
		{VNI: 43, Mode: api.ModeBridge, Device: "vx43", MAC: packet.MAC{2, 0, 0, 0, 0, 9}, MTU: 1430, Port: 4790,
			Group: netip.MustParseAddr("ff05::100"), MaxMACs: 5, Accept: "10.0.0.0/8,any", Remotes: 1, Entries: 2,
			Tier: "slow", Reason: "udp_csum is false", Problems: []string{"no local IPv6 address"}},
	}
}

// Leases implements [api.Backend].
func (b *Backend) Leases() []api.Lease {
	vni := uint32(1)
	return []api.Lease{{
		Source: api.Flannel, Connected: true, Since: time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC), Revision: 17,
		LastError: "etcd at http://192.0.2.10:2379 does not answer",
		Key:       "10.244.7.0-24",
		Value:     `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}`,
		Subnets:   []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}, Expires: time.Date(2026, 11, 27, 4, 0, 0, 0, time.UTC),
		Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, Backend: "vxlan", Device: "flannel.1", VNI: &vni, Port: 8472,
		MTU: 1450, Interface: "eth0", SubnetFile: "/run/flannel/subnet.env",
		Peers: 2, RefusedNow: 1, Refused: api.Tally{"vtep_mac": 1}, Refusals: []string{"10.244.9.0-24: its VtepMAC 01:00:00:00:00:01 is no station's"},
		Renewals: 3, Races: 1, Relists: 2, Problems: []string{"the network's configuration was changed; restart vtepd to follow, as flanneld must be"},
	}}
}

// Counters implements [api.Backend].
func (b *Backend) Counters(s api.Selector) (api.Counters, error) {
	if err := known(s); err != nil {
		return api.Counters{}, err
	}
	// A few reasons only, so that tests need not follow package drop.
	drops := func(source uint64) api.Drops {
		return api.Drops{Rx: api.Tally{"source_not_accepted": source, "truncated": 0}, Tx: api.Tally{"oversize": 0}}
	}
	all := []api.SegmentCounters{
		{VNI: 42, Device: "vx42", Rx: api.Traffic{Frames: 12, Bytes: 1234}, Tx: api.Traffic{Frames: 5, Bytes: 500},
			Drops: drops(3), Consumed: api.Tally{"suppressed": 2},
			FDB: api.FDBCounters{Entries: 3, Learned: 4, Moved: 1, Aged: 2},
			Remotes: []api.RemoteCounters{{IP: netip.MustParseAddr("192.0.2.2"), Port: 4789, VNI: 42,
				Rx: api.Traffic{Frames: 12, Bytes: 1234}, Tx: api.Traffic{Frames: 5, Bytes: 500},
				Errors: api.Tally{"enobufs": 1, "eperm": 0}}}},
		{VNI: 43, Device: "vx43", Drops: drops(0), Consumed: api.Tally{"suppressed": 0}},
	}
	all = slices.DeleteFunc(all, func(c api.SegmentCounters) bool { return !s.Matches(c.Device, c.VNI) })
	host := api.Drops{Rx: api.Tally{"invalid_header": 9, "vni_not_found": 0}}
	return api.Counters{Segments: all, Drops: host, Events: api.Tally{"checksum_completed": 0}}, nil
}

// Reload implements [api.Backend].
func (b *Backend) Reload(ctx context.Context) (api.Result, error) {
	b.mu.Lock()
	b.called("Reload", nil)
	b.mu.Unlock()
	if b.Blocked != nil {
		select {
		case <-b.Blocked:
		case <-ctx.Done():
			return api.Result{}, ctx.Err()
		}
	}
	if b.ReloadError != nil {
		return api.Result{}, b.ReloadError
	}
	return api.Result{Changed: 2}, nil
}

// SetLogLevel implements [api.Backend].
func (b *Backend) SetLogLevel(level string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("SetLogLevel", level)
	b.level = level
	return nil
}

// Watch implements [api.Backend].
func (b *Backend) Watch(kinds []api.Kind, emit func(api.Event)) (func(), error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("Watch", kinds)
	id := b.watches
	b.watches++
	b.watchers[id] = watcher{kinds, emit}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, id)
	}, nil
}

// Watchers returns how many watch.
func (b *Backend) Watchers() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.watchers)
}

// Emit gives an event to those who watch its kind. Its time is set.
func (b *Backend) Emit(e api.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.emit(e)
}

func (b *Backend) emit(e api.Event) {
	e.Time = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, w := range b.watchers {
		if slices.Contains(w.kinds, e.Kind) {
			w.emit(e)
		}
	}
}

func known(s api.Selector) error {
	for name, vni := range devices() {
		if s.Matches(name, vni) {
			return nil
		}
	}
	return api.NotFoundf("no segment is %v", s)
}

// one returns the segment that a change is about.
func one(s api.Selector) (name string, vni uint32, err error) {
	if s.IsZero() {
		return "", 0, api.Usagef("there are several segments (vx42, vx43): say which with dev or segment")
	}
	for name, vni := range devices() {
		if s.Matches(name, vni) {
			return name, vni, nil
		}
	}
	return "", 0, fmt.Errorf("change: %w", api.NotFoundf("no segment is %v", s))
}
