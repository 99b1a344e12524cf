package ipam

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// An Allocation is an address with the pool it is from.
type Allocation struct {
	Addr netip.Addr
	Pool Pool
}

// A FullError says that every address of a subnet is taken.
type FullError struct {
	Subnet netip.Prefix
	// Size is how many addresses the subnet hands out.
	Size int
	// Dir is where the addresses' files are.
	Dir string
}

// Error implements error.
func (e *FullError) Error() string {
	return fmt.Sprintf("subnet %v is full: all %d addresses are taken (a file each in %s)", e.Subnet, e.Size, e.Dir)
}

// A HeldError says that the owner has an address already.
type HeldError struct{ Held Held }

// Error implements error.
func (e *HeldError) Error() string {
	return fmt.Sprintf("%v holds %v already; it is released by DEL", e.Held.Owner, e.Held.Addr)
}

// Allocate gives an owner one address of each family that pools have, of the
// first pool of the family that has room, in the order of pools. It gives all
// of them or none. An owner that has addresses of the network is refused by a
// [*HeldError]; a family without room by the [*FullError]s of its pools.
func (l *Locked) Allocate(o Owner, pools []Pool) ([]Allocation, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	held, err := l.Held()
	if err != nil {
		return nil, err
	}
	for _, h := range held {
		if h.Bad == nil && h.Owner == o {
			return nil, &HeldError{h}
		}
	}
	others, err := l.networks()
	if err != nil {
		return nil, err
	}
	// One file is written and gets the names of all its addresses.
	temp, err := l.writeTemp(o.encode(), true)
	if err != nil {
		return nil, err
	}
	got, err := l.allocate(temp, pools, others)
	_, _ = remove(temp) // else the next one sweeps it
	if err == nil {
		return got, nil
	}
	for _, g := range got {
		_, failed := remove(filepath.Join(l.dir, fileName(g.Addr)))
		err = errors.Join(err, failed)
	}
	return nil, err
}

// allocate gives the file temp the name of an address of each family. Those it
// gave before an error are returned with it.
func (l *Locked) allocate(temp string, pools []Pool, others []string) ([]Allocation, error) {
	var got []Allocation
	for _, family := range families(pools) {
		a, err := l.fromFirst(temp, family, others)
		if err != nil {
			return got, err
		}
		got = append(got, a)
	}
	return got, l.syncDir()
}

// families sorts pools by family, that of the first pool first.
func families(pools []Pool) [][]Pool {
	if len(pools) == 0 {
		return [][]Pool{nil}
	}
	var first, second []Pool
	for _, p := range pools {
		if p.Is4() == pools[0].Is4() {
			first = append(first, p)
		} else {
			second = append(second, p)
		}
	}
	if len(second) == 0 {
		return [][]Pool{first}
	}
	return [][]Pool{first, second}
}

// fromFirst takes an address of the first pool with room.
func (l *Locked) fromFirst(temp string, pools []Pool, others []string) (Allocation, error) {
	var errs []error
	for _, p := range pools {
		a, err := l.from(temp, p, others)
		if err == nil {
			return Allocation{a, p}, nil
		}
		var full *FullError
		if errs = append(errs, err); !errors.As(err, &full) {
			break
		}
	}
	if len(errs) == 0 {
		return Allocation{}, errors.New("there is no subnet to take an address of")
	}
	return Allocation{}, errors.Join(errs...)
}

// from takes the next free address after the last one taken, so that an address
// that was given back rests for as long as possible: neighbours and flows may
// still know who had it. Every address that is passed over has a file, so a
// large subnet takes no longer to look through than a small one.
func (l *Locked) from(temp string, p Pool, others []string) (netip.Addr, error) {
	start := p.next(l.last(p))
	for a, n := start, 1; ; n++ {
		taken, err := l.taken(a, others)
		if err == nil && !taken {
			taken, err = l.claim(temp, a)
		}
		if err != nil {
			return netip.Addr{}, err
		}
		if !taken {
			l.setLast(p, a)
			return a, nil
		}
		if a = p.next(a); a == start {
			return netip.Addr{}, &FullError{Subnet: p.subnet, Size: n, Dir: l.dir}
		}
	}
}

// taken reports whether a network holds an address. Whatever has that name
// takes it.
func (l *Locked) taken(a netip.Addr, networks []string) (bool, error) {
	for _, n := range networks {
		_, err := os.Lstat(filepath.Join(l.dataDir, n, fileName(a)))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			return false, err
		}
	}
	return false, nil
}

// networks are the folders of all networks, this one first.
func (l *Locked) networks() ([]string, error) {
	entries, err := os.ReadDir(l.dataDir)
	if err != nil {
		return nil, err
	}
	all := []string{l.network}
	for _, e := range entries {
		if e.IsDir() && e.Name() != l.network && nameForm().MatchString(e.Name()) {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

// claim gives the file temp the name of an address: the address file appears
// whole, with its content on disk, or not at all.
func (l *Locked) claim(temp string, a netip.Addr) (taken bool, err error) {
	err = os.Link(temp, filepath.Join(l.dir, fileName(a)))
	if errors.Is(err, fs.ErrExist) {
		return true, nil
	}
	return false, err
}

// writeTemp writes a file under a name that [Locked.sweep] knows.
func (l *Locked) writeTemp(data []byte, sync bool) (string, error) {
	f, err := os.CreateTemp(l.dir, tempPrefix)
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_, failed := remove(f.Name())
		return "", errors.Join(err, failed)
	}
	return f.Name(), nil
}

// lastFile remembers the last address taken from a pool.
func (l *Locked) lastFile(p Pool) string {
	return filepath.Join(l.dir, lastPrefix+strings.ReplaceAll(p.subnet.String(), "/", "-"))
}

// last is the last address taken from a pool, the zero one if that is not
// known: it only says where to begin.
func (l *Locked) last(p Pool) netip.Addr {
	const longest = 46 // bytes of an address
	text, err := readSmall(l.lastFile(p), longest)
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(text))
	if err != nil {
		return netip.Addr{}
	}
	return a
}

// setLast remembers a. When that fails the order of addresses suffers, and
// nothing else.
func (l *Locked) setLast(p Pool, a netip.Addr) {
	_ = l.replace(l.lastFile(p), a.String()+"\n", false)
}

// Release gives back what an owner holds and returns it. Nothing held is no
// error.
func (l *Locked) Release(o Owner) ([]netip.Addr, error) {
	return l.Keep(func(h Held) bool { return h.Bad != nil || h.Owner != o })
}

// Keep gives back every address of the network that keep does not want, and
// returns them.
func (l *Locked) Keep(keep func(Held) bool) ([]netip.Addr, error) {
	held, err := l.Held()
	if err != nil {
		return nil, err
	}
	var freed []netip.Addr
	var errs []error
	for _, h := range held {
		if keep(h) {
			continue
		}
		gone, err := remove(filepath.Join(l.dir, fileName(h.Addr)))
		errs = append(errs, err)
		if gone {
			freed = append(freed, h.Addr)
		}
	}
	if len(freed) > 0 {
		errs = append(errs, l.syncDir())
	}
	return freed, errors.Join(errs...)
}

// syncDir puts the names of the network's files on disk.
func (l *Locked) syncDir() error {
	d, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
