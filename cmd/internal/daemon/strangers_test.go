package daemon

import (
	"net/netip"
	"testing"

	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// TestStrangersTakeTurns has many VTEPs come at once that nobody named: a look
// asks about some, the next ones about the rest, and whoever was named does not
// wait.
func TestStrangersTakeTurns(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d, _ := start(t, "underlay: {local: 127.0.0.1}\nsegments: [{vni: 42, remotes: [127.0.0.2], accept: any}]\n", nil)
		defer func() { must(t, d.Close()) }()
		s, named := d.segments[42], netip.MustParseAddr("127.0.0.2")
		learn := func(from, n int) {
			must(t, s.engine.Change(func(c *vtep.Change) error {
				for i := from; i < from+n; i++ {
					v := vtep.VTEP{Addr: netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), Port: 4789, VNI: 42}
					mac := packet.MAC{2, 1, 0, 0, byte(i >> 8), byte(i)}
					if err := c.PutMAC(mac, fdb.Dynamic, fdb.Operator, d.engine.Now(), v); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		wantPaths := func(when string, want int) {
			t.Helper()
			if _, ok := s.paths[named]; !ok || len(s.paths) != want || s.waiting != len(s.engine.Remotes())-want {
				t.Errorf("%s: %d paths and %d waiting, want %d paths with the named one", when, len(s.paths), s.waiting, want)
			}
		}
		wantPaths("alone", 1)
		learn(0, 2*maxStrangers+10)
		d.followNews()
		wantPaths("first look", 1+maxStrangers)
		d.followNews()
		wantPaths("second look", 1+2*maxStrangers)
		d.followNews()
		wantPaths("third look", 1+2*maxStrangers+10)
		learn(5000, 1)
		asked, err := d.newsLook()
		must(t, err)
		defer asked.Close()
		d.follow(s, asked)
		wantPaths("one more", 1+2*maxStrangers+11)
		if left := maxStrangers - asked.strangers; left != 1 {
			t.Errorf("asked about %d strangers for one that is new", left)
		}
		if !d.followHost() {
			t.Fatal("the host cannot be followed")
		}
		wantPaths("after the host changed", 1+maxStrangers)
	})
}
