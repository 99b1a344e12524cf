package ipam

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	bootName = ".boot"
	maxBoot  = 64 // bytes of a boot's id
)

// Boot tells the store in which boot of the machine it is used. When that is
// another one than before, every address of the network is given back: no
// container outlives the machine. They are returned.
//
// Not every runtime asks for garbage collection, and addresses that nobody can
// release would fill the subnet after a few reboots.
func (l *Locked) Boot(id string) ([]netip.Addr, error) {
	if id == "" || len(id) > maxBoot {
		return nil, errors.New("no id of the machine's boot")
	}
	path := filepath.Join(l.dir, bootName)
	before, err := readSmall(path, maxBoot)
	if err == nil && before == id {
		return nil, nil
	}
	var freed []netip.Addr
	if err == nil { // else it is the first time, or a stranger's file that says nothing
		if freed, err = l.Keep(func(Held) bool { return false }); err != nil {
			return freed, err
		}
	}
	return freed, l.replace(path, id, true)
}

// readSmall reads a file that has at most limit bytes. Anything but a regular
// file is an error.
func readSmall(path string, limit int) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New(path + " is not a regular file")
	}
	data := make([]byte, limit+1)
	n, err := f.Read(data)
	if err := ignoreEOF(err); err != nil {
		return "", err
	}
	if n > limit {
		return "", errors.New(path + " is too long")
	}
	return string(data[:n]), nil
}
