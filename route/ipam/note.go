package ipam

import (
	"net/netip"
	"os"
	"path/filepath"
)

const (
	notePrefix = ".note-"
	maxNote    = 16 << 10
)

// Note returns what [Locked.SetNote] remembered under a name for the network,
// empty if there is nothing or a stranger's file. It is lost with the folder.
func (l *Locked) Note(name string) string {
	text, err := readSmall(filepath.Join(l.dir, notePrefix+name), maxNote)
	if err != nil {
		return ""
	}
	return text
}

// SetNote remembers a text for the network. A name is a word.
func (l *Locked) SetNote(name, text string) error {
	return l.replace(filepath.Join(l.dir, notePrefix+name), text, true)
}

// replace gives a file new content, whole or not at all.
func (l *Locked) replace(path, text string, sync bool) error {
	temp, err := l.writeTemp([]byte(text), sync)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_, _ = remove(temp) // else the next one sweeps it
		return err
	}
	return nil
}

// InUse reports whether any network holds an address of a subnet.
func (l *Locked) InUse(subnet netip.Prefix) (bool, error) {
	networks, err := l.networks()
	if err != nil {
		return false, err
	}
	used := false
	for _, n := range networks {
		other := &Locked{Store: &Store{dataDir: l.dataDir, dir: filepath.Join(l.dataDir, n), network: n}}
		if err := other.names(func(name string) error {
			a, err := netip.ParseAddr(name)
			used = used || err == nil && subnet.Contains(a)
			return nil
		}); err != nil {
			return false, err
		}
	}
	return used, nil
}
