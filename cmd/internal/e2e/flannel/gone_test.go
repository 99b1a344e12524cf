package flannel

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"vtepd/cmd/internal/lab/flannel"
)

// A peer is a node that exists in the store only.
type peer struct {
	n      int // of its subnets
	v4, v6 netip.Addr
	mac    string
}

func newPeer(n *flannel.Network, number int, onLink bool) peer {
	p := peer{n: number, v4: n.Foreign(number), v6: n.Foreign6(number), mac: fmt.Sprintf("02:00:00:00:01:%02x", number)}
	if !onLink {
		p.v4, p.v6 = n.ForeignOffLink(number), n.ForeignOffLink6(number)
	}
	return p
}

func (p peer) key() string   { return fmt.Sprintf("10.244.%d.0-24&fd44:244:0:%[1]d::-64", p.n) }
func (p peer) value() string { return flannel.Value(p.v4, p.mac, p.v6, p.mac) }

// words are what a node that knows the peer must have somewhere.
func (p peer) words() []string {
	return []string{fmt.Sprintf("10.244.%d.0/24", p.n), fmt.Sprintf("fd44:244:0:%d::/64", p.n), p.v4.String(), p.v6.String(), p.mac}
}

func put(t testing.TB, n *flannel.Network, peers ...peer) {
	t.Helper()
	for _, p := range peers {
		must(t, n.Etcd.Put(p.key(), p.value()))
	}
}

func del(t testing.TB, n *flannel.Network, peers ...peer) {
	t.Helper()
	for _, p := range peers {
		must(t, n.Etcd.Delete(p.key()))
	}
}

// knows waits until the node has all of the peers.
func knows(t testing.TB, node *flannel.Node, peers ...peer) {
	t.Helper()
	eventually(t, "the node knows its peers", func() error {
		text := state(t, node)
		for _, p := range peers {
			if err := present(text, p.words()...); err != nil {
				return err
			}
		}
		return nil
	})
}

// forgot waits until the node has nothing of what the words say.
func forgot(t testing.TB, node *flannel.Node, words ...string) {
	t.Helper()
	eventually(t, "nothing of it remains", func() error { return absent(state(t, node), words...) })
}

// TestPeersGo: nothing remains of a peer whose lease went, while we ran, were
// killed, or could not see it; nor of the MAC and the address that a peer had
// before. flanneld leaves all of them (interop.md 3.1.6 a to c).
func TestPeersGo(t *testing.T) {
	t.Parallel()
	n := network(t, direct)
	a := node(t, n, "a")
	must(t, a.RunVtepd())
	asRecorded(t, n, a, "dual") // DirectRouting shows in the configuration only
	stays := newPeer(n, 40, false)
	put(t, n, stays)

	t.Run("while it runs", func(t *testing.T) {
		best := soon
		for i := range 3 { // a busy machine can be slow once
			near, far := newPeer(n, 50+i, true), newPeer(n, 60+i, false)
			put(t, n, near, far)
			knows(t, a, near, far, stays)
			del(t, n, near, far)
			began := time.Now()
			forgot(t, a, append(near.words(), far.words()...)...)
			best = min(best, time.Since(began))
		}
		t.Logf("nothing was there %v after the event", best)
		if best > time.Second {
			t.Errorf("it took %v at best", best)
		}
	})
	t.Run("while it is stopped", func(t *testing.T) {
		near, far := newPeer(n, 70, true), newPeer(n, 71, false)
		put(t, n, near, far)
		knows(t, a, near, far)
		for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			put(t, n, near, far)
			knows(t, a, near, far)
			end(t, a, how)
			del(t, n, near, far)
			must(t, a.RunVtepd())
			began := time.Now()
			forgot(t, a, append(near.words(), far.words()...)...)
			t.Logf("%v: gone %v after the start", how, time.Since(began))
			knows(t, a, stays)
		}
	})
	t.Run("another MAC and another address", func(t *testing.T) {
		p := newPeer(n, 80, false)
		put(t, n, p)
		knows(t, a, p)
		moved := newPeer(n, 81, false)
		moved.n = p.n
		put(t, n, moved)
		knows(t, a, moved, stays)
		forgot(t, a, p.mac, p.v4.String(), p.v6.String())
		home := newPeer(n, 82, true)
		home.n = p.n
		put(t, n, home)
		knows(t, a, home)
		forgot(t, a, moved.mac, moved.v4.String(), moved.v6.String())
	})
	t.Run("another MAC while it cannot look", func(t *testing.T) {
		p := newPeer(n, 90, false)
		put(t, n, p)
		knows(t, a, p)
		relists := leaseShow(t, a).Relists
		must(t, a.Vtepd.Signal(syscall.SIGSTOP))
		must(t, n.Etcd.Kill())
		must(t, n.Etcd.Start())
		moved := newPeer(n, 91, false)
		moved.n = p.n
		put(t, n, moved)
		del(t, n, stays)
		must(t, n.Etcd.Compact())
		must(t, a.Vtepd.Signal(syscall.SIGCONT))
		knows(t, a, moved)
		forgot(t, a, append(stays.words(), p.mac, p.v4.String(), p.v6.String())...)
		if l := leaseShow(t, a); l.Relists == relists {
			t.Error("the store was not read anew: the test did not test it")
		}
	})
}

// end ends a node's vtepd.
func end(t testing.TB, n *flannel.Node, how syscall.Signal) {
	t.Helper()
	must(t, n.Vtepd.Signal(how))
	_, err := n.Vtepd.ExitCode(10 * time.Second)
	must(t, err)
}
