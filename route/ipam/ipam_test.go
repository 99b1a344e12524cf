package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pools(t testing.TB, subnets ...string) []Pool {
	t.Helper()
	var list []netip.Prefix
	for _, s := range subnets {
		list = append(list, netip.MustParsePrefix(s))
	}
	p, err := ParsePools(list)
	must(t, err)
	return p
}

// locked opens and locks the store of a network until the test ends.
func locked(t testing.TB, dataDir, network string) *Locked {
	t.Helper()
	s, err := Open(dataDir, network)
	must(t, err)
	l, err := s.Lock(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = l.Unlock() }) // some tests do it earlier
	return l
}

func owner(n int) Owner { return Owner{fmt.Sprintf("c%d", n), "eth0"} }

// take gives owner n an address and returns it as text.
func take(t testing.TB, l *Locked, n int, p []Pool) string {
	t.Helper()
	got, err := l.Allocate(owner(n), p)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, a := range got {
		if !a.Pool.Hands(a.Addr) {
			t.Errorf("%v is not %v's to give", a.Addr, a.Pool.Subnet())
		}
		all = append(all, a.Addr.String())
	}
	return strings.Join(all, " ")
}

func TestPool(t *testing.T) {
	for _, test := range []struct{ subnet, gateway, first, last string }{
		{"10.244.1.0/24", "10.244.1.1", "10.244.1.2", "10.244.1.254"},
		{"10.244.1.1/24", "10.244.1.1", "10.244.1.2", "10.244.1.254"}, // as subnet.env writes it
		{"10.0.0.0/30", "10.0.0.1", "10.0.0.2", "10.0.0.2"},
		{"10.0.0.0/8", "10.0.0.1", "10.0.0.2", "10.255.255.254"},
		{"255.255.254.0/23", "255.255.254.1", "255.255.254.2", "255.255.255.254"},
		{"fd00::/64", "fd00::1", "fd00::2", "fd00::ffff:ffff:ffff:ffff"},
		{"fd00::4/126", "fd00::5", "fd00::6", "fd00::7"},
		{"ffff::/16", "", "", ""},
	} {
		p, err := NewPool(netip.MustParsePrefix(test.subnet))
		if test.gateway == "" {
			if err == nil {
				t.Errorf("%s: is no subnet of stations, and was taken", test.subnet)
			}
			continue
		}
		must(t, err)
		last := netip.MustParseAddr(test.last)
		if p.Gateway().String() != test.gateway || p.first().String() != test.first || !p.Hands(last) || p.next(last) != p.first() || p.Hands(last.Next()) {
			t.Errorf("%s: gateway %v, first %v, after the last %v", test.subnet, p.Gateway(), p.first(), p.next(last))
		}
	}
	for _, bad := range []string{"10.0.0.0/31", "10.0.0.1/32", "fd00::/127", "fd00::/128", "0.0.0.0/0", "::/0", "224.0.0.0/24",
		"127.0.0.0/8", "fe80::/64", "::ffff:10.0.0.0/120"} {
		if _, err := NewPool(netip.MustParsePrefix(bad)); err == nil || !strings.Contains(err.Error(), "subnet") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := ParsePools([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16")}); err == nil {
		t.Error("subnets that overlap were taken")
	}
	if _, err := NewPool(netip.Prefix{}); err == nil {
		t.Error("no subnet was taken for one")
	}
}

// TestAddressesRest: an address that was given back is the last to be used
// again.
func TestAddressesRest(t *testing.T) {
	l := locked(t, t.TempDir(), "net")
	p := pools(t, "10.0.0.0/29") // .2 to .6
	for i, want := range []string{"10.0.0.2", "10.0.0.3", "10.0.0.4"} {
		if got := take(t, l, i, p); got != want {
			t.Errorf("address %d is %s, want %s", i, got, want)
		}
	}
	freed, err := l.Release(owner(0))
	must(t, err)
	if len(freed) != 1 || freed[0].String() != "10.0.0.2" {
		t.Errorf("released %v", freed)
	}
	for i, want := range []string{"10.0.0.5", "10.0.0.6", "10.0.0.2"} {
		if got := take(t, l, 10+i, p); got != want {
			t.Errorf("address %d is %s, want %s", i, got, want)
		}
	}
}

func TestFull(t *testing.T) {
	dir := t.TempDir()
	l := locked(t, dir, "net")
	p := pools(t, "10.0.0.0/29", "fd00::/125", "10.0.1.0/30")
	for i := range 6 { // the second subnet of a family is used when the first is full
		take(t, l, i, p)
	}
	want := "subnet 10.0.0.0/29 is full: all 5 addresses are taken (a file each in " + dir + "/net)\n" +
		"subnet 10.0.1.0/30 is full: all 1 addresses are taken (a file each in " + dir + "/net)"
	if got := take(t, l, 6, p); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := take(t, l, 7, pools(t, "fd00:1::/125", "10.0.0.0/29")); !strings.Contains(got, "10.0.0.0/29 is full") {
		t.Errorf("got %s", got)
	}
	held, err := l.Held()
	must(t, err)
	if len(held) != 12 {
		t.Errorf("%d addresses are held after a refusal, want 12", len(held))
	}
	var full *FullError
	if _, err := l.Allocate(owner(9), p); !errors.As(err, &full) || full.Size != 5 {
		t.Errorf("%v", err)
	}
	if _, err := l.Allocate(owner(9), nil); err == nil {
		t.Error("an address of no subnet")
	}
}

// TestNetworksShareNothing: two networks of one node that use its subnet do not
// give out the same address.
func TestNetworksShareNothing(t *testing.T) {
	dir := t.TempDir()
	p := pools(t, "10.0.0.0/29")
	seen := map[string]bool{}
	for i := range 5 {
		l := locked(t, dir, []string{"red", "blue"}[i%2])
		a := take(t, l, i, p)
		must(t, l.Unlock())
		if seen[a] {
			t.Errorf("%s twice", a)
		}
		seen[a] = true
	}
	l := locked(t, dir, "red")
	if got := take(t, l, 9, p); !strings.Contains(got, "full") {
		t.Errorf("got %s", got)
	}
}

func TestOwnerHasOne(t *testing.T) {
	l := locked(t, t.TempDir(), "net")
	p := pools(t, "10.0.0.0/24", "fd00::/64")
	if got := take(t, l, 1, p); got != "10.0.0.2 fd00::2" {
		t.Errorf("got %s", got)
	}
	if got := take(t, l, 1, p); got != "c1 eth0 holds 10.0.0.2 already; it is released by DEL" && got != "c1 eth0 holds fd00::2 already; it is released by DEL" {
		t.Errorf("got %s", got)
	}
	if _, err := l.Allocate(Owner{"c1", "eth1"}, p); err != nil {
		t.Errorf("a second interface: %v", err)
	}
	freed, err := l.Release(owner(1))
	must(t, err)
	if again, err := l.Release(owner(1)); len(freed) != 2 || len(again) != 0 || err != nil {
		t.Errorf("released %v, then %v, %v", freed, again, err)
	}
	b, err := os.ReadFile(filepath.Join(l.Dir(), "10.0.0.3"))
	must(t, err)
	if string(b) != "c1\neth1\n" {
		t.Errorf("the file holds %q", b)
	}
}

func TestBadNames(t *testing.T) {
	for _, network := range []string{"", ".", "..", "a/b", "../x", ".lock", "a\x00", "-a", strings.Repeat("a", 201)} {
		if _, err := Open("/nowhere", network); err == nil {
			t.Errorf("network %q was taken", network)
		}
	}
	if _, err := Open("relative", "net"); err == nil {
		t.Error("a relative data folder was taken")
	}
	l := locked(t, t.TempDir(), "net")
	for _, o := range []Owner{{"", "eth0"}, {"../x", "eth0"}, {"a\nb", "eth0"}, {"a", ""}, {"a", "e/0"}, {"a", "e\n0"}, {"a", strings.Repeat("e", 16)},
		{strings.Repeat("a", 1100), "eth0"}} {
		if _, err := l.Allocate(o, pools(t, "10.0.0.0/24")); err == nil {
			t.Errorf("owner %q was taken", o)
		}
	}
}

// TestLockWaits: a store that somebody else has is waited for as long as the
// context says.
func TestLockWaits(t *testing.T) {
	dir := t.TempDir()
	l := locked(t, dir, "net")
	s, err := Open(dir, "other")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(ctx); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
	must(t, l.Unlock())
	l2, err := s.Lock(t.Context())
	must(t, err)
	must(t, l2.Unlock())
}

// TestStrangersInTheStore: whatever lies in the folder, no address is given
// twice, nothing is followed or waited for, and only address files go.
func TestStrangersInTheStore(t *testing.T) {
	l := locked(t, t.TempDir(), "net")
	in := func(name string) string { return filepath.Join(l.Dir(), name) }
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("c0\neth0\n"), 0o600))
	must(t, os.WriteFile(in("10.0.0.2"), nil, 0o600)) // cut short by a crash of the machine
	must(t, os.WriteFile(in("10.0.0.3"), []byte("c0\neth0"), 0o600))
	must(t, os.Symlink(victim, in("10.0.0.4")))
	must(t, os.Symlink("10.0.0.5", in("10.0.0.5"))) // to itself
	must(t, unix.Mkfifo(in("10.0.0.6"), 0o600))
	must(t, os.MkdirAll(in("10.0.0.7/full"), 0o700))
	must(t, os.Mkdir(in("10.0.0.8"), 0o700))
	must(t, os.WriteFile(in("10.0.0.9"), make([]byte, 1<<20), 0o600))
	must(t, os.WriteFile(in("10.0.0.10"), []byte("../../x\neth0\n"), 0o600))
	for _, name := range []string{"README", "010.0.0.11", "10.0.0.11.bak", "::ffff:10.0.0.11", "FD00::2", "fd00::2%eth0"} {
		must(t, os.WriteFile(in(name), []byte("c0\neth0\n"), 0o600))
	}
	must(t, os.Mkdir(in(lastPrefix+"10.0.0.0-28"), 0o700))
	p := pools(t, "10.0.0.0/28")
	for i, want := range []string{"10.0.0.11", "10.0.0.12"} {
		if got := take(t, l, i, p); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	held, err := l.Held()
	must(t, err)
	bad := 0
	for _, h := range held {
		if h.Bad != nil {
			bad++
		}
	}
	if bad != 9 || len(held) != 11 {
		t.Errorf("%d of %d are bad: %v", bad, len(held), held)
	}
	freed, err := l.Keep(func(h Held) bool { return h.Bad == nil })
	must(t, err)
	if len(freed) != 8 {
		t.Errorf("freed %v", freed)
	}
	if _, err := os.Stat(in("10.0.0.7/full")); err != nil {
		t.Error("a stranger's folder is gone")
	}
	if _, err := os.Stat(victim); err != nil {
		t.Error("a link was followed")
	}
	for _, name := range []string{"README", "FD00::2"} {
		if _, err := os.Stat(in(name)); err != nil {
			t.Errorf("%s is gone", name)
		}
	}
}

// TestCrashLeavesTempFiles: what a writer left that died is swept by the next.
func TestCrashLeavesTempFiles(t *testing.T) {
	dir := t.TempDir()
	l := locked(t, dir, "net")
	for i := range 300 {
		must(t, os.WriteFile(filepath.Join(l.Dir(), fmt.Sprintf("%s%d", tempPrefix, i)), []byte("c"), 0o600))
	}
	must(t, l.Unlock())
	l = locked(t, dir, "net")
	if got := take(t, l, 1, pools(t, "10.0.0.0/24")); got != "10.0.0.2" {
		t.Errorf("got %s", got)
	}
	entries, err := os.ReadDir(l.Dir())
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if !slices.Equal(names, []string{".last-10.0.0.0-24", "10.0.0.2"}) {
		t.Errorf("the folder has %v", names)
	}
}

// TestLargeSubnetIsNotSearched: an IPv6 subnet with a full stretch costs as
// many looks as the stretch is long.
func TestLargeSubnetIsNotSearched(t *testing.T) {
	l := locked(t, t.TempDir(), "net")
	p := pools(t, "fd00::/64")
	a := p[0].first()
	for range 500 {
		must(t, os.WriteFile(filepath.Join(l.Dir(), a.String()), []byte("x\ny\n"), 0o600))
		a = a.Next()
	}
	if got := take(t, l, 1, p); got != a.String() {
		t.Errorf("got %s, want %v", got, a)
	}
}

func TestNotes(t *testing.T) {
	dir := t.TempDir()
	l := locked(t, dir, "net")
	if got := l.Note("x"); got != "" {
		t.Errorf("a note of nobody: %q", got)
	}
	must(t, l.SetNote("x", "one"))
	must(t, l.SetNote("x", "two"))
	if got := l.Note("x"); got != "two" {
		t.Errorf("the note is %q", got)
	}
	take(t, l, 1, pools(t, "10.0.0.0/24"))
	must(t, l.Unlock())
	l = locked(t, dir, "other")
	for subnet, want := range map[string]bool{"10.0.0.0/24": true, "10.0.1.0/24": false, "fd00::/64": false} {
		if used, err := l.InUse(netip.MustParsePrefix(subnet)); err != nil || used != want {
			t.Errorf("%s is in use: %v, %v", subnet, used, err)
		}
	}
}

// TestBoot: a store that is used in another boot of the machine is an empty one;
// one whose boot is not known stays as it is.
func TestBoot(t *testing.T) {
	l := locked(t, t.TempDir(), "net")
	p := pools(t, "10.0.0.0/24")
	boot := func(id string, want ...string) {
		t.Helper()
		freed, err := l.Boot(id)
		must(t, err)
		if fmt.Sprint(freed) != fmt.Sprint(want) {
			t.Errorf("boot %s frees %v, want %v", id, freed, want)
		}
	}
	take(t, l, 1, p)
	boot("one") // it may be that of the address
	boot("one")
	take(t, l, 2, p)
	boot("two", "10.0.0.2", "10.0.0.3")
	if got := take(t, l, 3, p); got != "10.0.0.4" {
		t.Errorf("the order begins anew: %s", got)
	}
	boot("two")
	must(t, os.WriteFile(filepath.Join(l.Dir(), bootName), make([]byte, 1000), 0o600))
	boot("two")
	boot("three", "10.0.0.4")
	for _, id := range []string{"", strings.Repeat("x", 65)} {
		if _, err := l.Boot(id); err == nil {
			t.Errorf("%q was taken for the id of a boot", id)
		}
	}
}

// FuzzParseOwner: what is read is what would be written, or refused.
func FuzzParseOwner(f *testing.F) {
	for _, s := range []string{"", "c1\neth0\n", "c1\neth0", "c1\r\neth0", "\n\n", "../x\neth0\n", "c1\ne/0\n", "c1\neth0\n\n", "\xff\n\xff\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseOwner(string(data))
		if err == nil && (string(o.encode()) != string(data) || o.check() != nil) {
			t.Errorf("%q is read as %q", data, o)
		}
	})
}
