package flannel

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vtepd/encap/packet"
)

// written counts the grants that a time makes.
func (m *memStore) granting(b *bench, d time.Duration) int {
	b.wait(0)
	m.mu.Lock()
	before := m.grants
	m.mu.Unlock()
	b.wait(d)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.grants - before
}

// TestTwoNodesOneAddress: two daemons with one public address write the same
// key in turn. They do so once a minute, and say what is wrong.
func TestTwoNodesOneAddress(t *testing.T) {
	for name, mac := range map[string]packet.MAC{"the same MAC": {2, 0, 0, 0, 0, 0x99}, "another MAC": {2, 0, 0, 0, 0, 0x98}} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemStore(net16)
			a := start(t, m, nil)
			defer a.stop()
			b := start(t, m, func(o *Options) {
				o.Node = func(*Network) (Node, error) {
					return Node{PublicIP: netip.MustParseAddr("192.0.2.99"), MAC: mac}, nil
				}
			})
			defer b.stop()
			a.wantJoined("10.244.1.0-24")
			b.wantJoined("10.244.1.0-24")
			if n := m.granting(a, time.Hour); n < 10 || n > 200 {
				t.Errorf("%s: %d writes in an hour", name, n)
			}
			hint := 0
			for _, x := range []*bench{a, b} {
				hint += x.said("does another node have")
				if n := len(x.says); n > 200 {
					t.Errorf("%s: %d lines", name, n)
				}
			}
			if hint == 0 {
				t.Errorf("%s: nobody says why: %q", name, a.says)
			}
		})
	}
}

// TestDeletedAgainAndAgain: somebody deletes our key as soon as it is there.
func TestDeletedAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		b := start(t, m, nil)
		defer b.stop()
		for range 6000 {
			m.remove("10.244.1.0-24")
			b.wait(10 * time.Millisecond)
		}
		m.mu.Lock()
		grants := m.grants
		m.mu.Unlock()
		if grants > 20 || b.said("was deleted") > 20 {
			t.Errorf("acquired %d times in a minute, %d lines", grants, b.said("was deleted"))
		}
		b.wait(retryAcquire + time.Second)
		if r, left := m.get("10.244.1.0-24"); string(r.Value) != ownValue || left <= 0 || b.source.Status().Lease.Missing {
			t.Errorf("%s for %v", r.Value, left)
		}
	})
}

// TestShortGrant: a store that grants less than it is asked for is not written
// to without a pause, and the lease holds.
func TestShortGrant(t *testing.T) {
	for _, ttl := range []time.Duration{4 * time.Second, time.Minute, RenewMargin} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemStore(net16)
			m.most = ttl
			b := start(t, m, nil)
			defer b.stop()
			if n := m.granting(b, 10*ttl); n < 15 || n > 25 {
				t.Errorf("%v: written %d times in ten of it", ttl, n)
			}
			if st := b.source.Status(); st.Lost != 0 {
				t.Errorf("%v: lost %d times", ttl, st.Lost)
			}
		})
	}
}

// TestLogBounded: whoever writes to the store does not fill our log.
func TestLogBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemStore(net16)
		b := start(t, m, nil)
		defer b.stop()
		for i := range 6000 {
			m.put(fmt.Sprintf("10.244.%d.0-24", 2+i%50), []string{"junk", "{}", `{"PublicIP":"127.0.0.1"}`}[i/50%3], TTL)
			m.setConfig(fmt.Sprintf(`{"Network":"junk%d"}`, i))
			b.wait(10 * time.Millisecond)
		}
		if n := len(b.says); n > maxWords+2*60 {
			t.Errorf("%d lines in a minute", n)
		}
		m.setConfig(net16)
		b.wait(5 * time.Minute)
		m.put("10.244.200.0-24", "junk", TTL)
		b.wait(time.Second)
		last := strings.Join(b.says[len(b.says)-2:], "\n")
		if !strings.Contains(last, "lines like the last ones were left out") || !strings.Contains(last, "10.244.200.0-24 lease refused") {
			t.Errorf("last lines: %s", last)
		}
	})
}
