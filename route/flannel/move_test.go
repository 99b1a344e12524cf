package flannel

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtepd/encap/packet"
)

// A place is where a node is, which changes.
type place struct {
	mu   sync.Mutex
	addr string
	err  error
}

func (p *place) node(*Network) (Node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Node{PublicIP: netip.MustParseAddr(p.addr), MAC: packet.MAC{2, 0, 0, 0, 0, 0x99}}, p.err
}

func (p *place) set(addr string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.addr, p.err = addr, err
}

// TestNodeMoves: this node gets another address while it runs. Its lease says
// so as soon as that can be, under the same key.
func TestNodeMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, p := newMemStore(net16), &place{addr: "192.0.2.99"}
		m.put("10.244.7.0-24", peerValue(), 100*TTL)
		b := start(t, m, func(o *Options) { o.Node = p.node })
		defer b.stop()
		const key = "10.244.1.0-24"
		value := func(addr string) string { return strings.ReplaceAll(ownValue, "192.0.2.99", addr) }
		want := func(what, addr string) {
			t.Helper()
			if r, left := m.get(key); string(r.Value) != value(addr) || left <= 0 {
				t.Errorf("%s: %s for %v, want %s", what, r.Value, left, addr)
			}
		}
		was, _ := m.get(key)
		b.source.NodeChanged()
		b.wait(0)
		if now, _ := m.get(key); now.Modified != was.Modified {
			t.Error("written though nothing changed")
		}
		p.set("192.0.2.98", nil)
		b.source.NodeChanged()
		b.wait(0)
		want("moved", "192.0.2.98")
		if r, left := m.get(key); r.Created != was.Created || left != TTL {
			t.Errorf("%+v for %v", r, left)
		}
		b.wantJoined(key, key)
		b.wantForce(peerForce)

		p.set("192.0.2.97", errors.New("no address"))
		b.source.NodeChanged()
		b.wait(0)
		want("no answer", "192.0.2.98")
		if st := b.source.Status(); !strings.Contains(st.LeaseProblem, "no address") {
			t.Errorf("%+v", st)
		}
		m.setDown(true)
		p.set("192.0.2.97", nil)
		b.wait(time.Hour)
		if st := b.source.Status(); !strings.Contains(st.LeaseProblem, "refused") {
			t.Errorf("%+v", st)
		}
		m.setDown(false)
		b.wait(10 * time.Second)
		want("the store is there again", "192.0.2.97")
		if st := b.source.Status(); st.LeaseProblem != "" || st.Lease.Value != value("192.0.2.97") {
			t.Errorf("%+v", st)
		}

		m.setDown(true)
		p.set("192.0.2.96", nil)
		b.source.NodeChanged()
		b.wait(time.Minute)
		p.set("192.0.2.97", nil)
		m.setDown(false)
		b.wait(time.Minute)
		want("moved back meanwhile", "192.0.2.97")
		if st := b.source.Status(); st.LeaseProblem != "" {
			t.Errorf("%+v", st)
		}

		p.set("192.0.2.7", nil) // that of the other node: its lease is a strange one now
		m.remove(key)
		b.source.NodeChanged()
		b.wait(10 * time.Second)
		want("deleted meanwhile", "192.0.2.7")
		b.wantForce("")
		b.wait(2 * TTL)
		want("renewed", "192.0.2.7")
		b.wantJoined(key, key, key, key)
	})
}
