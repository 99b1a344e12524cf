package nft_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/route/nft"
)

// pass is what the tests want forwarded.
func pass(insert bool) nft.Forward {
	return nft.Forward{Insert: insert, Networks: []netip.Prefix{networks[0].Network, networks[1].Network}}
}

// obstacles are what drops forwarded packets on hosts: the script that puts it
// there, how to show that our rule is in it, and whether it is for IPv6, too.
var obstacles = []struct {
	name, script, show string
	where              string
	v6                 bool
}{
	{"iptables-nft", "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP", "iptables-nft -S; ip6tables-nft -S",
		"table ip filter, chain FORWARD drops by policy", true},
	{"iptables-legacy", "iptables-legacy -P FORWARD DROP; ip6tables-legacy -P FORWARD DROP", "iptables-legacy -S; ip6tables-legacy -S",
		"iptables-legacy, chain FORWARD drops by policy", true},
	{"Docker's chains", `iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER
		iptables-nft -A DOCKER-USER -j RETURN; iptables-nft -A FORWARD -i docker0 -j ACCEPT`, "iptables-nft -S",
		"table ip filter, chain FORWARD drops by policy", false},
	{"firewalld's table", `nft -f - <<END
		table inet firewalld { chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
			ct state { established, related } accept
			log prefix "end" reject with icmpx admin-prohibited
		}; }
END`, "nft list chain inet firewalld filter_FORWARD", "table inet firewalld, chain filter_FORWARD has a rule that drops everything", true},
	{"a native table", `nft -f - <<END
		table ip6 six { chain f { type filter hook forward priority 5; policy drop; }; }
		table ip four { chain f { type filter hook forward priority 5; policy drop; }; }
END`, "nft list ruleset", "table ip four, chain f drops by policy", true},
}

// flows are the ways that must be open: from and to the network, both families.
type flow struct {
	name, from string
	at         *node
	to         *net.UDPConn
	v6         bool
}

func flows(pod, world *node) []flow {
	return []flow{
		{"pod to world", "10.244.1.5", pod, world.listen("192.0.2.9"), false},
		{"world to pod", "192.0.2.9", world, pod.listen("10.244.1.5"), false},
		{"pod to pod", "10.244.1.5", pod, world.listen("10.244.2.5"), false},
		{"pod to world, IPv6", "fd00:0:0:1::5", pod, world.listen("2001:db8::9"), true},
		{"world to pod, IPv6", "2001:db8::9", world, pod.listen("fd00:0:0:1::5"), true},
	}
}

func TestForward(t *testing.T) {
	for _, o := range obstacles {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			router, pod, world := pods(t)
			ways := flows(pod, world)
			check := func(open bool) {
				t.Helper()
				for _, f := range ways {
					if f.v6 && !o.v6 {
						continue
					}
					tries := 10
					if !open {
						tries = 2
					}
					if _, err := f.at.send(f.from, f.to, tries); (err == nil) != open {
						t.Errorf("%s open: %v (%v)", f.name, err == nil, err)
					}
				}
			}
			router.sh(o.script)
			before := router.sh(o.show)
			r := router.start()
			r.SetForward(pass(false))
			var told string
			until(t, soon, func() error {
				s := r.Status()
				if told = strings.Join(s.Problems(), "\n"); !strings.Contains(told, o.where) {
					return fmt.Errorf("problems do not say %q: %s", o.where, told)
				}
				return nil
			})
			if after := router.sh(o.show); after != before {
				t.Errorf("`check` changed something: %s", after)
			}
			check(false)

			r.SetForward(pass(true))
			until(t, soon, func() error { return passes(r) })
			check(true)
			if got := router.sh(o.show); !strings.Contains(got, nft.Mark) {
				t.Errorf("no marked rule: %s", got)
			}

			r.SetForward(pass(false))
			until(t, soon, func() error {
				if after := router.sh(o.show); after != before {
					return fmt.Errorf("not as before: %s", after)
				}
				return nil
			})
			for l := range strings.Lines(told) { // what it said to run helps
				_, command, _ := strings.Cut(l, "or run: ")
				router.sh(command)
			}
			r.Wake()
			until(t, soon, func() error { return passes(r) })
			check(true)
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			check(true) // an operator's rule is not ours to remove
		})
	}
}

// passes reports an error unless something is in the way and lets ours pass.
func passes(r *running) error {
	s := r.Status()
	if len(s.Forward) == 0 || len(s.Problems()) > 0 {
		return fmt.Errorf("findings %+v, problems %v", s.Forward, s.Problems())
	}
	return nil
}

// TestForwardIsKept has somebody else remove our rule, and the chain that it is
// in.
func TestForwardIsKept(t *testing.T) {
	for _, c := range []struct {
		name, drop, show string
		scripts          []string
	}{
		{"nftables", "iptables-nft -P FORWARD DROP", "iptables-nft -S", []string{
			"iptables-nft -F FORWARD",
			"iptables-nft -F VTEPD-FORWARD",
			"iptables-nft -A VTEPD-FORWARD -j DROP",
			"iptables-nft -I VTEPD-FORWARD -j DROP",
			"iptables-nft -F; iptables-nft -X",
			"nft flush ruleset; iptables-nft -P FORWARD DROP",
			`iptables-nft -I FORWARD -m comment --comment "vtepd forward" -j VTEPD-FORWARD`,
		}},
		{"iptables-legacy", "iptables-legacy -P FORWARD DROP", "iptables-legacy -S", []string{
			"iptables-legacy -F FORWARD",
			"iptables-legacy -F VTEPD-FORWARD",
			"iptables-legacy -I VTEPD-FORWARD -j DROP",
			"iptables-legacy -F; iptables-legacy -X",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.sh(c.drop)
			r := n.start()
			r.SetForward(pass(true))
			until(t, soon, func() error { return passes(r) })
			good := n.sh(c.show)
			for _, script := range c.scripts {
				n.sh(script)
				if c.name != "nftables" {
					r.Wake() // iptables-legacy tells nobody: the tick finds it
				}
				until(t, soon, func() error {
					if now := n.sh(c.show); now != good {
						return fmt.Errorf("after %s:\n%swant\n%s", script, now, good)
					}
					return nil
				})
			}
			// What was ours goes when nothing drops any more, and at a stop.
			n.sh(strings.ReplaceAll(c.drop, "DROP", "ACCEPT"))
			r.Wake()
			gone := func() error {
				if now := n.sh(c.show); strings.Contains(now, "VTEPD") {
					return errors.New(now)
				}
				return nil
			}
			until(t, soon, gone)
			n.sh(c.drop)
			r.Wake()
			until(t, soon, func() error { return passes(r) })
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			if err := gone(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestForwardLeftovers: what a killed run inserted is removed by one that does
// not insert.
func TestForwardLeftovers(t *testing.T) {
	n := newNode(t)
	n.sh(`for x in iptables-nft iptables-legacy; do $x -P FORWARD DROP; $x -N VTEPD-FORWARD
		$x -I FORWARD -m comment --comment "vtepd forward" -j VTEPD-FORWARD; $x -A VTEPD-FORWARD -j ACCEPT; done`)
	r := n.start()
	until(t, soon, func() error {
		if now := n.sh("iptables-nft -S; iptables-legacy -S"); strings.Contains(now, "VTEPD") {
			return errors.New(now)
		}
		return nil
	})
	if s := r.Status(); len(s.Forward) > 0 {
		t.Errorf("nothing is to be forwarded, and yet: %v", s.Forward)
	}
}

// TestForwardInTheWay tells what is in the way from what is not.
func TestForwardInTheWay(t *testing.T) {
	for _, c := range []struct {
		name, table string
		found       int
	}{
		{"nothing", "", 0},
		{"a policy to accept", "table ip f { chain f { type filter hook forward priority 0; policy accept; ip saddr 192.0.2.1 drop; }; }", 0},
		{"a policy to drop", "table inet f { chain f { type filter hook forward priority 0; policy drop; }; }", 1},
		{"accepted before", "table inet f { chain f { type filter hook forward priority 0; policy drop; counter accept; }; }", 0},
		{"rejected in the end", "table inet f { chain f { type filter hook forward priority 0; ip saddr 1.2.3.4 accept; counter reject; }; }", 1},
		{"rejected, but not all", "table inet f { chain f { type filter hook forward priority 0; meta l4proto tcp reject; }; }", 0},
		{"dropped, but not by this chain", "table inet f { chain f { type filter hook input priority 0; policy drop; }; }", 0},
		{"a condition that the package does not decode", "table inet f { chain f { type filter hook forward priority 0; rt ip nexthop 192.0.2.9 drop; }; }", 0},
		{"two of them", "table ip f { chain a { type filter hook forward priority 0; policy drop; }; chain b { type filter hook forward priority 5; drop; }; }", 2},
		{"a chain of bridges", "table bridge f { chain f { type filter hook forward priority 0; policy drop; }; }", 0},
		{"ours by name", "table ip vtepd { chain f { type filter hook forward priority 0; policy drop; }; }", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			if c.table != "" {
				n.sh("nft -f - <<'END'\n" + c.table + "\nEND")
			}
			r := n.start()
			r.SetForward(pass(false))
			var looked bool
			until(t, 2*soon, func() error {
				s := r.Status()
				if looked = looked || len(s.Forward) == c.found; !looked || len(s.Errors) > 0 {
					return fmt.Errorf("found %v, errors %v", s.Forward, s.Errors)
				}
				return nil
			})
			r.SetForward(pass(true))
			until(t, 2*soon, func() error {
				if got := strings.Count(n.sh("nft list ruleset"), "jump VTEPD-FORWARD"); got != c.found {
					return fmt.Errorf("%d rules inserted, want %d", got, c.found)
				}
				return nil
			})
		})
	}
}

// TestForwardByDevice has no network, as routed segments without Flannel.
func TestForwardByDevice(t *testing.T) {
	router, pod, world := pods(t)
	router.sh("iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP")
	r := router.start()
	r.SetForward(nft.Forward{Insert: true, Devices: []string{"cni0"}})
	until(t, soon, func() error { return passes(r) })
	for _, f := range flows(pod, world) {
		if _, err := f.at.send(f.from, f.to, 10); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// TestLegacyLocked: while another iptables runs, ours wait for its lock. A stop
// does not, where nothing of ours is there, and not for long where something is.
func TestLegacyLocked(t *testing.T) {
	for _, insert := range []bool{false, true} {
		t.Run(fmt.Sprintf("insert %v", insert), func(t *testing.T) {
			n := newNode(t)
			path := filepath.Join(t.TempDir(), "lock")
			t.Setenv("XTABLES_LOCKFILE", path)
			n.sh("iptables-legacy -P FORWARD DROP")
			r := n.start()
			r.SetForward(pass(insert))
			until(t, soon, func() error {
				if s := r.Status(); len(s.Forward) != 1 || s.Forward[0].Passes != insert {
					return fmt.Errorf("status %+v", s)
				}
				return nil
			})
			lock, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer lock.Close()
			if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
				t.Fatal(err)
			}
			r.Wake() // so that a look waits for it, too
			began := time.Now()
			err = r.halt()
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("a stop took %v", took)
			}
			if insert != (err != nil) || insert && !strings.Contains(err.Error(), "lock") {
				t.Errorf("a stop says %v", err)
			}
		})
	}
}

// TestLegacyWithoutItsTool: a table that cannot be read is said.
func TestLegacyWithoutItsTool(t *testing.T) {
	n := newNode(t)
	n.sh("iptables-legacy -P FORWARD DROP")
	path := os.Getenv("PATH")
	t.Setenv("PATH", "/nonexistent")
	r := n.start()
	r.SetForward(pass(false))
	until(t, soon, func() error {
		s := r.Status()
		if text := fmt.Sprint(s.Errors); !strings.Contains(text, "iptables-legacy has a filter table") || !strings.Contains(text, "not found") {
			return errors.New(text)
		}
		return nil
	})
	t.Setenv("PATH", path)
	r.Wake()
	until(t, soon, func() error {
		if s := r.Status(); len(s.Errors) > 0 || len(s.Forward) != 1 {
			return fmt.Errorf("status %+v", s)
		}
		return nil
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
