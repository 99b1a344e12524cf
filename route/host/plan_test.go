package host

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"vtepd/encap/packet"
	"vtepd/route"
)

// The world of the tables: eth0 (2) and eth1 (3) are plain, vx1 (10) and vx2
// (11) are devices of the segments 1 and 2, down0 (12) is down. 192.0.2.0/24 is
// on-link at eth0, 198.51.100.0/24 at eth1, the rest behind a router.
func world() *view {
	return &view{
		links: map[string]link{
			"eth0":  {index: 2, name: "eth0", up: true, addrs: addrs("192.0.2.1", "2001:db8::1")},
			"eth1":  {index: 3, name: "eth1", up: true},
			"vx1":   {index: 10, name: "vx1", up: true, addrs: addrs("10.244.1.0", "fd00:1::")},
			"vx2":   {index: 11, name: "vx2", up: true},
			"down0": {index: 12, name: "down0"},
		},
		foreign: []kernelRoute{
			foreign("192.0.2.0/24", unix.RTPROT_KERNEL, 0, hop{index: 2}),
			foreign("198.51.100.0/24", unix.RTPROT_KERNEL, 0, hop{index: 3}),
			foreign("2001:db8::/64", unix.RTPROT_KERNEL, 256, hop{index: 2}),
			foreign("0.0.0.0/0", unix.RTPROT_BOOT, 0, hop{via: netip.MustParseAddr("192.0.2.254"), index: 2}),
		},
		direct: func(a netip.Addr) (hop, string) {
			switch {
			case netip.MustParsePrefix("192.0.2.0/24").Contains(a), netip.MustParsePrefix("2001:db8::/64").Contains(a):
				return hop{via: a, index: 2}, ""
			case netip.MustParsePrefix("198.51.100.0/24").Contains(a):
				return hop{via: a, index: 3}, ""
			}
			return hop{}, "it is behind a router"
		},
		name: names,
	}
}

func names(i int) string {
	return map[int]string{2: "eth0", 3: "eth1", 10: "vx1", 11: "vx2", 12: "down0"}[i]
}

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func foreign(p string, protocol, metric int, hops ...hop) kernelRoute {
	r := newRoute(netip.MustParsePrefix(p), netip.Addr{}, hops...)
	r.protocol, r.metric = protocol, metric
	return r
}

// entry is an entry of segment vni.
func entry(vni uint32, prefix, via string, way route.Way) route.Entry {
	return route.PrefixEntry(vni, netip.MustParsePrefix(prefix),
		route.VTEP{Addr: netip.MustParseAddr(via), Port: 4789, VNI: vni}, packet.MAC{}, way)
}

func TestDecide(t *testing.T) {
	e := func(es ...route.Entry) []route.Entry { return es }
	for _, c := range []struct {
		name    string
		entries []route.Entry
		routes  string // as ip-route(8) would have them, ; between them
		refused string // what a refusal must say
	}{
		{"a tunnelled prefix enters the device, from the device's address",
			e(entry(1, "10.244.2.0/24", "203.0.113.2", route.Tunnel)),
			"10.244.2.0/24 dev vx1 scope link src 10.244.1.0", ""},
		{"over IPv6 routes have no scope", e(entry(1, "fd00:2::/64", "192.0.2.2", route.Tunnel)),
			"fd00:2::/64 dev vx1 src fd00:1::", ""},
		{"a device without an address: the kernel chooses", e(entry(2, "10.244.2.0/24", "203.0.113.2", route.Tunnel)),
			"10.244.2.0/24 dev vx2 scope link", ""},
		{"on-link goes direct", e(entry(1, "10.244.2.0/24", "192.0.2.2", route.OnLink)),
			"10.244.2.0/24 via 192.0.2.2 dev eth0", ""},
		{"off-link is tunnelled", e(entry(1, "10.244.2.0/24", "203.0.113.2", route.OnLink)),
			"10.244.2.0/24 dev vx1 scope link src 10.244.1.0", ""},
		{"on-link at another interface than the segment's is tunnelled", e(entry(1, "10.244.2.0/24", "198.51.100.2", route.OnLink)),
			"10.244.2.0/24 dev vx1 scope link src 10.244.1.0", ""},
		{"a segment without an interface takes any", e(entry(2, "10.244.2.0/24", "198.51.100.2", route.OnLink)),
			"10.244.2.0/24 via 198.51.100.2 dev eth1", ""},
		{"host-gw", e(entry(1, "10.244.2.0/24", "192.0.2.2", route.HostOnly)), "10.244.2.0/24 via 192.0.2.2 dev eth0", ""},
		{"host-gw off-link is refused, not tunnelled", e(entry(1, "10.244.2.0/24", "203.0.113.2", route.HostOnly)), "",
			"10.244.2.0/24 of segment 1 by 203.0.113.2: it is behind a router"},
		{"host-gw at the wrong interface", e(entry(1, "10.244.2.0/24", "198.51.100.2", route.HostOnly)), "", "on-link at eth1, not at eth0"},
		{"host-gw over IPv6", e(entry(1, "fd00:2::/64", "2001:db8::2", route.HostOnly)), "fd00:2::/64 via 2001:db8::2 dev eth0", ""},
		{"host-gw across families", e(entry(1, "fd00:2::/64", "192.0.2.2", route.HostOnly)), "", "same family"},
		{"several direct VTEPs share a prefix",
			e(entry(1, "10.244.2.0/24", "192.0.2.3", route.OnLink), entry(1, "10.244.2.0/24", "192.0.2.2", route.OnLink)),
			"10.244.2.0/24 via 192.0.2.2 dev eth0 via 192.0.2.3 dev eth0", ""},
		{"one of them off-link: the device takes all",
			e(entry(1, "10.244.2.0/24", "192.0.2.3", route.OnLink), entry(1, "10.244.2.0/24", "203.0.113.2", route.OnLink)),
			"10.244.2.0/24 dev vx1 scope link src 10.244.1.0", ""},
		{"one of them host-gw and off-link: it is left out",
			e(entry(1, "10.244.2.0/24", "192.0.2.3", route.HostOnly), entry(1, "10.244.2.0/24", "203.0.113.2", route.HostOnly)),
			"10.244.2.0/24 via 192.0.2.3 dev eth0", "by 203.0.113.2"},
		{"a prefix of two segments", e(entry(2, "10.244.2.0/24", "192.0.2.2", route.Tunnel), entry(1, "10.244.2.0/24", "192.0.2.2", route.Tunnel)),
			"10.244.2.0/24 dev vx1 scope link src 10.244.1.0", "of segment 2: segment 1 has the same prefix"},
		{"an unknown segment", e(entry(9, "10.244.2.0/24", "192.0.2.2", route.Tunnel)), "", "no such segment"},
		{"an unknown segment beside a known one", e(entry(0, "10.244.2.0/24", "192.0.2.2", route.Tunnel), entry(1, "10.244.2.0/24", "192.0.2.2", route.Tunnel)),
			"10.244.2.0/24 dev vx1 scope link src 10.244.1.0", "of segment 0: there is no such segment"},
		{"the device is down", e(entry(3, "10.244.2.0/24", "192.0.2.2", route.Tunnel)), "", "down0 is down"},
		{"the device is not there", e(entry(4, "10.244.2.0/24", "192.0.2.2", route.Tunnel)), "", "none0 is not there"},
		{"a prefix that swallows its VTEP", e(entry(1, "203.0.113.0/24", "203.0.113.2", route.Tunnel)), "", "contains the VTEP 203.0.113.2"},
		{"a prefix that swallows another VTEP of the segment",
			e(entry(1, "203.0.113.0/24", "192.0.2.2", route.OnLink), entry(1, "10.244.3.0/24", "203.0.113.2", route.Tunnel)),
			"10.244.3.0/24 dev vx1 scope link src 10.244.1.0", "contains the VTEP 203.0.113.2"},
		{"another segment's VTEP may be inside", e(entry(1, "203.0.113.0/24", "192.0.2.2", route.Tunnel), entry(2, "10.244.3.0/24", "203.0.113.2", route.Tunnel)),
			"10.244.3.0/24 dev vx2 scope link; 203.0.113.0/24 dev vx1 scope link src 10.244.1.0", ""},
		{"half of the underlay", e(entry(1, "192.0.2.0/25", "192.0.2.2", route.OnLink)), "", "contains the VTEP 192.0.2.2"},
		{"everything, behind a VTEP that is on-link", e(entry(1, "0.0.0.0/0", "192.0.2.2", route.Tunnel)),
			"0.0.0.0/0 dev vx1 scope link src 10.244.1.0", ""},
		{"entries of other kinds are not for us", e(route.MACEntry(1, packet.MAC{2}, route.VTEP{}, route.Static)), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &Wanted{Prefixes: c.entries, Segments: []Segment{{1, "vx1", "eth0"}, {2, "vx2", ""}, {3, "down0", ""}, {4, "none0", ""}}}
			d := decide(w, world())
			if got := routesText(d.routes); got != c.routes {
				t.Errorf("routes %q, want %q", got, c.routes)
			}
			var refused []string
			for _, r := range d.refused {
				refused = append(refused, r.String())
			}
			if got := strings.Join(refused, "; "); !strings.Contains(got, c.refused) || (got != "") != (c.refused != "") {
				t.Errorf("refused %q, want something with %q", got, c.refused)
			}
		})
	}
}

func routesText(m map[netip.Prefix]kernelRoute) string {
	var out []string
	for _, r := range m {
		s := r.prefix.String()
		for _, h := range r.hops {
			if h.via.IsValid() {
				s += " via " + h.via.String()
			}
			s += " dev " + names(h.index)
		}
		if r.scope == unix.RT_SCOPE_LINK {
			s += " scope link"
		}
		if r.src.IsValid() {
			s += " src " + r.src.String()
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestPlan(t *testing.T) {
	const p = "10.244.2.0/24"
	good := newRoute(netip.MustParsePrefix(p), netip.Addr{}, hop{index: 10})
	with := func(f func(*kernelRoute)) kernelRoute {
		r := good
		f(&r)
		return r
	}
	elsewhere := with(func(r *kernelRoute) { r.prefix = netip.MustParsePrefix("10.244.9.0/24") })
	for _, c := range []struct {
		name         string
		own, foreign []kernelRoute
		want         string
	}{
		{"nothing is there", nil, nil, "+" + p},
		{"all is well", []kernelRoute{good}, nil, ""},
		{"a leftover goes", []kernelRoute{good, elsewhere}, nil, "-10.244.9.0/24"},
		{"another next hop", []kernelRoute{with(func(r *kernelRoute) { r.hops = []hop{{index: 2}} })}, nil, "=" + p},
		{"another source", []kernelRoute{with(func(r *kernelRoute) { r.src = netip.MustParseAddr("10.0.0.1") })}, nil, "=" + p},
		{"an MTU that somebody added", []kernelRoute{with(func(r *kernelRoute) { r.odd = true })}, nil, "=" + p},
		{"a black hole", []kernelRoute{with(func(r *kernelRoute) { r.kind = unix.RTN_BLACKHOLE })}, nil, "=" + p},
		{"another metric is another place", []kernelRoute{with(func(r *kernelRoute) { r.metric = 7 })}, nil, "-" + p + " +" + p},
		{"another table, too", []kernelRoute{with(func(r *kernelRoute) { r.table = 100 })}, nil, "-" + p + " +" + p},
		{"twice there", []kernelRoute{good, with(func(r *kernelRoute) { r.hops = []hop{{index: 2}} })}, nil, "-" + p},
		{"twice there, the wrong one first", []kernelRoute{with(func(r *kernelRoute) { r.hops = []hop{{index: 2}} }), good}, nil, "-" + p},
		{"somebody's is better", []kernelRoute{good}, []kernelRoute{foreign(p, unix.RTPROT_BOOT, 0, hop{index: 2})},
			"!" + p + ": somebody's route is used instead of ours; to make way: ip route del " + p + " dev eth0 proto boot"},
		{"somebody's is worse", nil, []kernelRoute{foreign(p, unix.RTPROT_STATIC, 5000, hop{via: netip.MustParseAddr("192.0.2.9"), index: 2})},
			"+" + p + " !" + p + ": ours is used instead of somebody's route: " + p + " via 192.0.2.9 dev eth0 proto static metric 5000"},
		{"somebody's is where ours should be", nil, []kernelRoute{foreign(p, 186, Metric, hop{index: 2})},
			"!" + p + ": somebody's route is where ours should be; to make way: ip route del " + p + " dev eth0 proto 186 metric 4789"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := makePlan(map[netip.Prefix]kernelRoute{good.prefix: good}, c.own, c.foreign, names)
			if s := planText(got); s != c.want {
				t.Errorf("plan %q, want %q", s, c.want)
			}
		})
	}
}

// planText writes - for what goes, + for what comes, = for what is replaced in
// one step, ! for conflicts.
func planText(p plan) string {
	var out []string
	for _, c := range p.changes {
		switch {
		case c.add == nil:
			out = append(out, "-"+c.del.prefix.String())
		case c.del == nil:
			out = append(out, "+"+c.add.prefix.String())
		default:
			out = append(out, "="+c.add.prefix.String())
		}
	}
	for _, c := range p.conflicts {
		out = append(out, "!"+c.String())
	}
	return strings.Join(out, " ")
}

// TestPlanConverges plays plans to a model of the kernel: whatever is there,
// one plan makes our routes what is wanted, leaves those of others alone, and
// the next has nothing to do.
func TestPlanConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wanted := make(map[netip.Prefix]kernelRoute)
		for _, r := range rapid.SliceOfN(drawRoute(true), 0, 6).Draw(t, "wanted") {
			wanted[r.prefix] = r
		}
		own := rapid.SliceOfN(drawRoute(false), 0, 10).Draw(t, "own")
		var others []kernelRoute
		for _, r := range rapid.SliceOfN(drawRoute(false), 0, 6).Draw(t, "foreign") {
			r.protocol = unix.RTPROT_STATIC
			if r.table == unix.RT_TABLE_MAIN {
				others = append(others, r)
			}
		}
		p := makePlan(wanted, own, others, names)
		own = play(t, p.changes, slices.Clone(own), others)
		for _, r := range own {
			if w, ok := wanted[r.prefix]; !ok || !r.equal(&w) {
				t.Fatalf("left over: %+v", r)
			}
		}
		for prefix, w := range wanted {
			n := 0
			for _, r := range own {
				if r.prefix == prefix {
					n++
				}
			}
			blocked := slices.ContainsFunc(others, func(o kernelRoute) bool { return o.place() == w.place() })
			if n > 1 || n == 0 && !blocked {
				t.Fatalf("%d routes to %v, blocked: %v", n, prefix, blocked)
			}
		}
		if again := makePlan(wanted, own, others, names); len(again.changes) > 0 {
			t.Fatalf("a second plan: %s", planText(again))
		}
	})
}

func drawRoute(ours bool) *rapid.Generator[kernelRoute] {
	return rapid.Custom(func(t *rapid.T) kernelRoute {
		prefix := rapid.SampledFrom([]string{"10.244.1.0/24", "10.244.2.0/24", "10.244.0.0/16", "fd00:1::/64"}).Draw(t, "prefix")
		r := newRoute(netip.MustParsePrefix(prefix), netip.Addr{}, hop{index: rapid.IntRange(2, 4).Draw(t, "index")})
		if !ours {
			r.metric = rapid.SampledFrom([]int{0, Metric}).Draw(t, "metric")
			r.table = rapid.SampledFrom([]int{unix.RT_TABLE_MAIN, 100}).Draw(t, "table")
			r.odd = rapid.Bool().Draw(t, "odd")
		}
		return r
	})
}

// play does what the kernel would: it refuses what is not there, a second route
// in a place (NLM_F_EXCL), and a replacement where somebody else's route might
// be what is replaced.
func play(t *rapid.T, changes []change, own, others []kernelRoute) []kernelRoute {
	at := func(r *kernelRoute) int {
		return slices.IndexFunc(own, func(o kernelRoute) bool { return o.equal(r) })
	}
	for _, c := range changes {
		if c.del != nil {
			i := at(c.del)
			if i < 0 {
				t.Fatalf("%v is not there", c.del)
			}
			own = slices.Delete(own, i, i+1)
		}
		if c.add == nil {
			continue
		}
		taken := func(o kernelRoute) bool { return o.place() == c.add.place() }
		if slices.ContainsFunc(others, taken) || c.del == nil && slices.ContainsFunc(own, taken) {
			t.Fatalf("%v is taken", c.add)
		}
		if c.del != nil && c.del.place() != c.add.place() {
			t.Fatalf("%v does not replace %v", c.add, c.del)
		}
		own = append(own, *c.add)
	}
	return own
}

func BenchmarkPlan(b *testing.B) {
	w := &Wanted{Segments: []Segment{{1, "vx1", "eth0"}}}
	for i := range 5000 {
		w.Prefixes = append(w.Prefixes, entry(1, fmt.Sprintf("10.%d.%d.0/24", i/256, i%256), fmt.Sprintf("203.0.%d.%d", i/250, 1+i%250), route.OnLink))
	}
	v := world()
	var own []kernelRoute
	for _, r := range decide(w, v).routes {
		own = append(own, r)
	}
	for b.Loop() {
		d := decide(w, v)
		if p := makePlan(d.routes, own, v.foreign, names); len(p.changes) > 0 {
			b.Fatal(planText(p))
		}
	}
}
