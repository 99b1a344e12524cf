package ipam

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Store is the folder of one network below the folder of all of them. No two
// networks of one data folder hold the same address.
type Store struct {
	dataDir string
	dir     string
	network string
}

const (
	lockName   = ".lock" // in the data folder; no network's name begins with a dot
	tempPrefix = ".tmp-"
	lastPrefix = ".last-"
)

// Open returns the store of a network. It makes no folder: [Store.Lock] does.
func Open(dataDir, network string) (*Store, error) {
	const most = 200 // leaves room for what is made of the name
	if !nameForm().MatchString(network) || len(network) > most {
		return nil, fmt.Errorf("network name %.80q is not letters, digits, '_', '.' and '-', at most %d", network, most)
	}
	if !filepath.IsAbs(dataDir) {
		return nil, fmt.Errorf("data folder %q does not begin with a slash", dataDir)
	}
	return &Store{dataDir: filepath.Clean(dataDir), dir: filepath.Join(dataDir, network), network: network}, nil
}

// Dir is the folder with the network's address files.
func (s *Store) Dir() string { return s.dir }

// A Locked store may be read and changed: nobody else does until Unlock. One
// goroutine uses it.
type Locked struct {
	*Store
	lock *os.File
}

// Lock waits until no other process has the data folder locked, or ctx ends.
// It makes the folders that are missing, and sweeps what a crash left.
func (s *Store) Lock(ctx context.Context) (*Locked, error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.dataDir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	l := &Locked{s, f}
	if err := l.sweep(); err != nil {
		return nil, errors.Join(err, l.Unlock())
	}
	return l, nil
}

// flock takes the lock of f. The kernel gives it back when the process ends,
// however it ends. It is asked for again and again, since a wait in the kernel
// would outlast ctx.
func flock(ctx context.Context, f *os.File) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 16*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another process has the address store locked: %w", context.Cause(ctx))
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// Unlock lets others at the store.
func (l *Locked) Unlock() error { return l.lock.Close() }

// sweep removes files of writers that died before their file had its name.
// Whoever holds the lock knows that none of them lives.
func (l *Locked) sweep() error {
	return l.names(func(name string) error {
		if strings.HasPrefix(name, tempPrefix) {
			_, err := remove(filepath.Join(l.dir, name))
			return err
		}
		return nil
	})
}

// names calls f with the name of each file of the network, a few in memory at
// a time.
func (l *Locked) names(f func(string) error) error {
	dir, err := os.Open(l.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
		if len(names) == 0 || err != nil {
			return ignoreEOF(err)
		}
	}
}

// A Held is an address that is taken.
type Held struct {
	Addr  netip.Addr
	Owner Owner
	// Bad says what is wrong with a file that names no owner: a crash of the
	// machine cut it short, or a stranger put it there. Its address is not
	// handed out.
	Bad error
}

// Held lists the network's taken addresses.
func (l *Locked) Held() ([]Held, error) {
	var all []Held
	err := l.names(func(name string) error {
		a, err := netip.ParseAddr(name)
		if err != nil || fileName(a) != name {
			return nil // not an address file, or not by the only name an address has
		}
		h := Held{Addr: a}
		h.Owner, h.Bad = readOwner(filepath.Join(l.dir, name))
		all = append(all, h)
		return nil
	})
	return all, err
}

// fileName is the one name of the file of an address.
func fileName(a netip.Addr) string { return a.Unmap().WithZone("").String() }

// readOwner reads an address file. What lies there may be anything: it is
// neither followed nor waited for, nor read beyond the length an entry has.
func readOwner(path string) (Owner, error) {
	text, err := readSmall(path, maxEntry)
	if err != nil {
		return Owner{}, err
	}
	o, err := parseOwner(text)
	if err != nil {
		return Owner{}, fmt.Errorf("%s %w", path, err)
	}
	return o, nil
}

// remove removes a file and reports whether it is gone. A folder with something
// in it is a stranger's and stays.
func remove(path string) (gone bool, err error) {
	switch err := os.Remove(path); {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return true, nil
	case errors.Is(err, unix.ENOTEMPTY):
		return false, nil
	default:
		return false, err
	}
}
