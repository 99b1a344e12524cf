package flannel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtepd/encap/packet"
	"vtepd/route"
)

// A bench is a source on a store in memory, in a bubble of time.
type bench struct {
	t      *testing.T
	store  *memStore
	source *Source
	table  *route.Table
	stop   func()

	mu      sync.Mutex
	joined  []string
	says    []string
	applied int
	nodeErr error
}

func start(t *testing.T, store *memStore, change func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, store: store, table: route.NewTable()}
	o := Options{
		Store: store,
		Node: func(*Network) (Node, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			return Node{PublicIP: netip.MustParseAddr("192.0.2.99"), PublicIPv6: netip.MustParseAddr("2001:db8::99"), MAC: packet.MAC{2, 0, 0, 0, 0, 0x99}}, b.nodeErr
		},
		Joined: func(j Joined) { b.note(&b.joined, j.Subnet.Key()) },
		Say:    func(e Event) { b.note(&b.says, strings.TrimSpace(e.Key+" "+e.Text)) },
		Apply: func(batch route.Batch) {
			b.note(nil, "")
			b.table.Apply(batch)
		},
		Pick: func(int) int { return 0 },
	}
	if change != nil {
		change(&o)
	}
	b.source = NewSource(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { b.source.Run(ctx); close(done) }()
	b.stop = func() { cancel(); <-done }
	b.wait(0)
	return b
}

func (b *bench) note(list *[]string, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if list == nil {
		b.applied++
		return
	}
	*list = append(*list, text)
}

// wait lets time pass, and then what is to happen.
func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// said counts what was said with that text in it.
func (b *bench) said(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, s := range b.says {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}

func (b *bench) wantJoined(keys ...string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.joined, keys) {
		b.t.Errorf("joined as %v, want %v; said %q", b.joined, keys, b.says)
	}
}

func (b *bench) wantForce(want string) {
	b.t.Helper()
	if got := inForce(b.t, b.table); got != want {
		b.t.Errorf("in force\n%s\nwant\n%s", got, want)
	}
}

const (
	ownValue  = `{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}}`
	peerForce = "10.244.7.0/24 via 192.0.2.7 02:00:00:00:00:07"
)

func peerValue() string { return vxlanValue("192.0.2.7", "02:00:00:00:00:07") }

func TestAcquireAndRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		m.put("10.244.1.0-24", peerValue(), TTL)
		b := start(t, m, nil)
		b.wantJoined("10.244.2.0-24")
		r, left := m.get("10.244.2.0-24")
		if string(r.Value) != ownValue || left != TTL {
			t.Errorf("%s for %v", r.Value, left)
		}
		b.wantForce("10.244.1.0/24 via 192.0.2.7 02:00:00:00:00:07")
		m.put("10.244.1.0-24", peerValue(), 30*24*time.Hour)
		b.wait(TTL - RenewMargin - time.Second)
		if again, _ := m.get("10.244.2.0-24"); again.Modified != r.Modified {
			t.Error("renewed too early")
		}
		b.wait(time.Second)
		again, left := m.get("10.244.2.0-24")
		if again.Modified == r.Modified || again.Created != r.Created || left != TTL {
			t.Errorf("not renewed: %+v %v", again, left)
		}
		b.wait(3 * TTL)
		if st := b.source.Status(); st.Renewals != 4 || st.Relists != 0 || !st.Connected || st.Lost != 0 || st.Lease.Key != "10.244.2.0-24" || st.Peers != 1 {
			t.Errorf("%+v", st)
		}
		b.stop()
		if _, left := m.get("10.244.2.0-24"); left <= 0 {
			t.Error("the lease did not stay after a clean stop")
		}
	})
}

func TestAcquireWhichSubnet(t *testing.T) {
	tests := []struct {
		name, config string
		put          map[string]string
		reserved     bool
		before       string
		want         string
		gone         string
	}{
		{name: "the first free", config: net16, want: "10.244.1.0-24"},
		{name: "our lease", config: net16, put: map[string]string{"10.244.9.0-24": vxlanValue("192.0.2.99", "02:00:00:00:00:01")}, want: "10.244.9.0-24"},
		{name: "our lease before the hint", config: net16, put: map[string]string{"10.244.9.0-24": ownValue}, before: "10.244.8.0-24", want: "10.244.9.0-24"},
		{name: "our reservation", config: net16, put: map[string]string{"10.244.9.0-24": `{"PublicIP":"192.0.2.99"}`}, reserved: true, want: "10.244.9.0-24"},
		{name: "the hint", config: net16, before: "10.244.8.0-24", want: "10.244.8.0-24"},
		{name: "the hint is taken", config: net16, put: map[string]string{"10.244.8.0-24": peerValue()}, before: "10.244.8.0-24", want: "10.244.1.0-24"},
		{name: "the hint is taken by junk", config: net16, put: map[string]string{"10.244.8.0-24": "junk"}, before: "10.244.8.0-24", want: "10.244.1.0-24"},
		{name: "junk that covers the network", config: net16, put: map[string]string{"10.244.0.0-16": "junk", "0.0.0.0-1": peerValue(), "10.0.0.0-8": peerValue()}, want: "10.244.1.0-24"},
		{name: "junk that covers the first", config: net16, put: map[string]string{"10.244.1.0-24": "junk"}, want: "10.244.2.0-24"},
		{name: "our lease of an old network", config: net16, put: map[string]string{"10.9.9.0-24": ownValue}, want: "10.244.1.0-24", gone: "10.9.9.0-24"},
		{name: "dual stack", config: `{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"` + vxlan, want: "10.244.1.0-24&fd00:0:0:1::-64"},
		{name: "IPv6 only", config: `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"` + vxlan, want: "0.0.0.0-0&fd00:0:0:1::-64",
			put: map[string]string{"0.0.0.0-0&fd00:0:0:2::-64": `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::7","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"02:00:00:00:00:07"}}`}},
		{name: "host-gw", config: `{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}`, want: "10.244.1.0-24"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			m := newMemStore(tt.config)
			for key, value := range tt.put {
				ttl := TTL
				if tt.reserved {
					ttl = 0
				}
				m.put(key, value, ttl)
			}
			b := start(t, m, func(o *Options) {
				if tt.before != "" {
					o.Before = subnet(t, tt.before)
				}
			})
			defer b.stop()
			b.wantJoined(tt.want)
			r, _ := m.get(tt.want)
			if r.Reserved != tt.reserved {
				t.Errorf("%s: reserved %v", tt.name, r.Reserved)
			}
			if tt.gone != "" && slices.Contains(m.keys(), tt.gone) {
				t.Errorf("%s: %s is still there", tt.name, tt.gone)
			}
			if tt.reserved {
				b.wait(3 * TTL)
				if again, _ := m.get(tt.want); !again.Reserved || again.Modified != r.Modified {
					t.Errorf("%s: the reservation became %+v", tt.name, again)
				}
			}
		})
	}
}

func TestValuesOfOurLease(t *testing.T) {
	const data = `{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}`
	for config, want := range map[string]string{
		net16: ownValue,
		`{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"` + vxlan: `{"PublicIP":"192.0.2.99","PublicIPv6":"2001:db8::99","BackendType":"vxlan","BackendData":` + data + `,"BackendV6Data":` + data + `}`,
		`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"` + vxlan:        `{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::99","BackendType":"vxlan","BackendV6Data":` + data + `}`,
		`{"Network":"10.244.0.0/16","Backend":{"Type":"host-gw"}}`:                       `{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"host-gw"}`,
	} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemStore(config)
			b := start(t, m, nil)
			defer b.stop()
			if r, _ := m.get(m.keys()[0]); string(r.Value) != want {
				t.Errorf("%s\ngot  %s\nwant %s", config, r.Value, want)
			}
		})
	}
}

// TestRace: who is second on a subnet takes another one.
func TestRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		n := 0
		m.onCreate = func() {
			if n++; n <= 3 {
				m.put(fmt.Sprintf("10.244.%d.0-24", n), vxlanValue(fmt.Sprintf("192.0.2.%d", n), "02:00:00:00:00:07"), TTL)
			}
		}
		b := start(t, m, nil)
		defer b.stop()
		b.wantJoined("10.244.4.0-24")
		if st := b.source.Status(); st.Races != 3 || st.Peers != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// TestTwoNodes: two sources at once on the last free subnets never share one.
func TestTwoNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(`{"Network":"10.0.0.0/28"` + vxlan)
		m.put("10.0.0.4-30", peerValue(), TTL)
		other := func(o *Options) {
			o.Node = func(*Network) (Node, error) {
				return Node{PublicIP: netip.MustParseAddr("192.0.2.98"), MAC: packet.MAC{2, 0, 0, 0, 0, 0x98}}, nil
			}
		}
		a, b := start(t, m, nil), start(t, m, other)
		third := start(t, m, func(o *Options) {
			o.Node = func(*Network) (Node, error) {
				return Node{PublicIP: netip.MustParseAddr("192.0.2.97"), MAC: packet.MAC{2, 0, 0, 0, 0, 0x97}}, nil
			}
		})
		a.wantJoined("10.0.0.8-30")
		b.wantJoined("10.0.0.12-30")
		third.wantJoined()
		if st := third.source.Status(); st.Lease != nil || !strings.Contains(st.LeaseProblem, "every subnet") || third.said("every subnet") != 1 {
			t.Errorf("%+v", st)
		}
		b.stop()
		m.remove("10.0.0.4-30")
		third.wait(retryAcquire + time.Second)
		third.wantJoined("10.0.0.4-30")
		a.stop()
		third.stop()
	})
}

func TestOurLeaseDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		m.put("10.244.7.0-24", peerValue(), 100*TTL)
		b := start(t, m, nil)
		defer b.stop()
		m.remove("10.244.1.0-24")
		b.wait(0)
		if r, left := m.get("10.244.1.0-24"); string(r.Value) != ownValue || left != TTL {
			t.Errorf("%s %v", r.Value, left)
		}
		b.wantJoined("10.244.1.0-24")
		b.wantForce(peerForce)
		if st := b.source.Status(); st.Lost != 1 || b.said("our lease was deleted") != 1 || st.Lease.Missing {
			t.Errorf("%+v %q", st, b.says)
		}
		b.wait(2 * TTL) // and it is renewed as before
		if _, left := m.get("10.244.1.0-24"); left <= 0 {
			t.Error("gone")
		}
	})
}

// TestOurLeaseChanged: somebody writes other things to our key. It is written
// again, at most once a minute.
func TestOurLeaseChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		b := start(t, m, nil)
		defer b.stop()
		for i := range 3 {
			m.put("10.244.1.0-24", peerValue(), TTL)
			b.wait(0)
			if r, _ := m.get("10.244.1.0-24"); (i == 0) != (string(r.Value) == ownValue) {
				t.Errorf("%d: %s", i, r.Value)
			}
		}
		b.wait(retryRestore)
		if r, left := m.get("10.244.1.0-24"); string(r.Value) != ownValue || left <= 0 {
			t.Errorf("%s %v", r.Value, left)
		}
		b.wantJoined("10.244.1.0-24")
		b.wantForce("")
		if st := b.source.Status(); st.Refused[OwnChanged] != 2 || st.Lease.Foreign || b.said("is written again") != 2 {
			t.Errorf("%+v %q", st, b.says)
		}
	})
}

// TestReservationMade: an operator makes a reservation of our lease.
func TestReservationMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		b := start(t, m, nil)
		defer b.stop()
		m.put("10.244.1.0-24", ownValue, 0)
		b.wait(3 * TTL)
		if r, _ := m.get("10.244.1.0-24"); !r.Reserved || !b.source.Status().Lease.Reserved {
			t.Errorf("%+v", r)
		}
	})
}

// TestSubnetTaken: our lease went away while we could not see it, and another
// node acquired the subnet.
func TestSubnetTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		b := start(t, m, nil)
		defer b.stop()
		m.mu.Lock()
		m.del("10.244.1.0-24")
		m.set("10.244.1.0-24", peerValue(), 100*TTL)
		m.mu.Unlock()
		b.wait(time.Second)
		b.wantJoined("10.244.1.0-24", "10.244.2.0-24")
		b.wantForce("10.244.1.0/24 via 192.0.2.7 02:00:00:00:00:07")
		if r, _ := m.get("10.244.1.0-24"); string(r.Value) != peerValue() {
			t.Errorf("%s", r.Value)
		}
	})
}

// TestOutage: hours without a store change nothing, also when our lease ends
// meanwhile.
func TestOutage(t *testing.T) {
	for _, long := range []time.Duration{time.Hour, 3 * TTL} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemStore(net16)
			m.put("10.244.7.0-24", peerValue(), 100*TTL)
			b := start(t, m, nil)
			defer b.stop()
			m.setDown(true)
			b.wait(long)
			b.wantForce(peerForce)
			if st := b.source.Status(); st.Connected || st.LastError == "" || b.said("cannot be followed") != 1 {
				t.Errorf("%+v %q", st, b.says)
			}
			m.setDown(false)
			m.remove("10.244.7.0-24")
			m.put("10.244.8.0-24", peerValue(), TTL)
			b.wait(10 * time.Second)
			b.wantForce("10.244.8.0/24 via 192.0.2.7 02:00:00:00:00:07")
			b.wantJoined("10.244.1.0-24")
			if r, _ := m.get("10.244.1.0-24"); string(r.Value) != ownValue || !b.source.Status().Connected || b.said("answers again") != 1 {
				t.Errorf("%+v %q", r, b.says)
			}
		})
	}
}

// TestDownAtStart: no store, no network, no address yet; each comes later.
func TestDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore("")
		m.setDown(true)
		b := start(t, m, nil)
		defer b.stop()
		b.mu.Lock()
		b.nodeErr = errors.New("no default route")
		b.mu.Unlock()
		b.wait(time.Hour)
		m.setDown(false)
		b.wait(time.Minute)
		if st := b.source.Status(); st.Network != nil || !strings.Contains(st.ConfigProblem, "vtepd subnet init") || b.said("subnet init") != 1 || b.applied != 0 {
			t.Errorf("%+v %q", st, b.says)
		}
		m.setConfig(`{"Network":"10.244.0.0/16"}`)
		b.wait(time.Minute)
		if st := b.source.Status(); st.Network != nil || !strings.Contains(st.ConfigProblem, "udp") {
			t.Errorf("%+v", st)
		}
		m.setConfig(net16)
		b.wait(time.Minute)
		if st := b.source.Status(); st.Network == nil || st.ConfigProblem != "" || b.said("no default route") != 1 || !strings.Contains(st.LeaseProblem, "no default route") {
			t.Errorf("%+v %q", st, b.says)
		}
		b.mu.Lock()
		b.nodeErr = nil
		b.mu.Unlock()
		b.wait(retryAcquire + time.Second)
		b.wantJoined("10.244.1.0-24")
		if st := b.source.Status(); st.LeaseProblem != "" {
			t.Errorf("%+v", st)
		}
	})
}

func TestCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		b := start(t, m, nil)
		defer b.stop()
		m.setDown(true)
		m.put("10.244.7.0-24", peerValue(), TTL)
		m.compact()
		m.setDown(false)
		b.wait(5 * time.Second)
		b.wantForce(peerForce)
		if st := b.source.Status(); st.Relists == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestLostDeletion: a deletion that the store does not tell of is found by the
// number of leases, and nothing is read anew where nothing was lost.
func TestLostDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		m.put("10.244.7.0-24", peerValue(), TTL)
		m.put("junk", "", TTL)
		m.put("10.244.9.0-24", vxlanValue("192.0.2.8", "02:00:00:00:00:08"), TTL)
		b := start(t, m, nil)
		defer b.stop()
		m.put("10.244.8.0-24", vxlanValue("192.0.2.9", "02:00:00:00:00:09"), TTL)
		m.remove("10.244.9.0-24")
		b.wait(time.Hour)
		if st := b.source.Status(); st.Relists != 0 {
			t.Errorf("read anew %d times", st.Relists)
		}
		m.lose("10.244.8.0-24")
		b.wait(2*checkEvery + time.Second)
		b.wantForce(peerForce)
		b.wait(time.Hour)
		if st := b.source.Status(); st.Relists != 1 {
			t.Errorf("read anew %d times", st.Relists)
		}
	})
}

// TestWiped: the store is empty all at once. Ours is written again, what was in
// force stays until a listing says otherwise, the network is kept.
func TestWiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		m.put("10.244.7.0-24", peerValue(), TTL)
		b := start(t, m, nil)
		defer b.stop()
		m.wipe()
		m.put("10.244.8.0-24", peerValue(), TTL)
		b.wait(checkEvery + time.Second)
		if r, _ := m.get("10.244.1.0-24"); string(r.Value) != ownValue {
			t.Errorf("%+v", r)
		}
		b.wantForce("10.244.8.0/24 via 192.0.2.7 02:00:00:00:00:07")
		b.wantJoined("10.244.1.0-24")
		if st := b.source.Status(); st.Network == nil || st.ConfigProblem == "" || b.said("stays in force") == 0 {
			t.Errorf("%+v %q", st, b.says)
		}
		m.setConfig(net16)
		b.wait(time.Second)
		if st := b.source.Status(); st.ConfigProblem != "" {
			t.Errorf("%+v", st)
		}
		m.setConfig(`{"Network":"10.9.0.0/16"` + vxlan)
		b.wait(time.Second)
		if st := b.source.Status(); !strings.Contains(st.ConfigProblem, "restart vtepd") || b.said("restart vtepd") != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// TestHostileStore: junk is refused by a line and a counter, and nothing else
// is disturbed.
func TestHostileStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		m.put("10.244.7.0-24", peerValue(), TTL)
		b := start(t, m, nil)
		defer b.stop()
		junk := map[string]string{
			"10.244.20.0-24": "not json", "10.244.21.0-24": `{"PublicIP":{}}`, "\x00\n\x1b[31m": "{}", "10.244.7.0-25": peerValue(),
			"10.244.1.128-25": peerValue(), "10.9.0.0-24": peerValue(), "10.244.22.0-24": vxlanValue("192.0.2.8", "01:00:00:00:00:08"),
			"10.244.23.0-24": vxlanValue("192.0.2.99", "02:00:00:00:00:08"), "10.244.24.0-24": `{"PublicIP":"192.0.2.8","BackendType":"wireguard"}`,
			"10.244.25.0-24": strings.Repeat(" ", MaxValue+1),
		}
		for key, value := range junk {
			m.put(key, value, TTL)
		}
		b.wait(time.Second)
		b.wantForce(peerForce)
		b.wantJoined("10.244.1.0-24")
		if n := b.said("lease refused"); n != len(junk) {
			t.Errorf("%d lines for %d leases: %q", n, len(junk), b.says)
		}
		total := uint64(0)
		st := b.source.Status()
		for _, n := range st.Refused {
			total += n
		}
		if int(total) != len(junk) || len(st.Refusals) != len(junk) || st.Peers != 1 || strings.ContainsAny(strings.Join(st.Refusals, ""), "\n\x1b") {
			t.Errorf("%+v", st)
		}
		m.compact()
		m.wipe() // all of it anew: the same lines are not said again
		m.setConfig(net16)
		m.put("10.244.7.0-24", peerValue(), TTL)
		for key, value := range junk {
			m.put(key, value, TTL)
		}
		b.wait(10 * time.Second)
		if n := b.said("lease refused"); n != len(junk) {
			t.Errorf("%d lines after a new listing", n)
		}
	})
}

// TestFlood: of very many refusals some are told.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		for i := range 500 {
			m.put(fmt.Sprintf("junk%d", i), "", TTL)
		}
		b := start(t, m, nil)
		defer b.stop()
		if b.said("lease refused") != maxLines || b.said("480 more leases") != 1 || b.source.Status().Refused[BadKey] != 500 || len(b.source.Status().Refusals) != maxRefusals {
			t.Errorf("%+v", b.source.Status())
		}
	})
}
