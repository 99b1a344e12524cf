// Package conflist tells the container runtimes of this node to use vtep-cni:
// it writes their network configuration and sees to the plugin's program, each
// whole or not at all, and touches no file that is somebody else's.
package conflist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The names under which runtimes and users find us.
const (
	Name    = "10-vtepd.conflist"
	Network = "vtepd"
	Plugin  = "vtep-cni"
)

// Options say what is written where.
type Options struct {
	ConfDir string
	BinDir  string
	Version string // of the CNI specification
	Control string // the daemon's socket; written where it is not DefaultControl
	// DefaultControl is the socket that the plugin asks by itself.
	DefaultControl string
	// Program is the plugin that belongs to this daemon; it need not be there.
	Program string
}

// Path is the file that Write writes.
func (o *Options) Path() string { return filepath.Join(o.ConfDir, Name) }

// Write puts the plugin into its folder and then the network configuration into
// its own, and reports whether it changed anything. What stands there already
// as it should is not written again.
func Write(o Options) (changed bool, err error) {
	put, err := o.putPlugin()
	if err != nil {
		return false, err
	}
	content, err := o.content()
	if err != nil {
		return put, err
	}
	old, err := os.ReadFile(o.Path())
	switch {
	case err == nil && bytes.Equal(old, content):
		return put, nil
	case err == nil && !ours(old):
		return put, fmt.Errorf("%s is not vtepd's and is left alone; move it away, or set cni: {enable: false}", o.Path())
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return put, err
	}
	return true, replace(o.Path(), content, 0o644)
}

type list struct {
	Version string   `json:"cniVersion"`
	Name    string   `json:"name"`
	Plugins []plugin `json:"plugins"`
}

type plugin struct {
	Type         string          `json:"type"`
	Control      string          `json:"control,omitempty"`
	Capabilities map[string]bool `json:"capabilities,omitempty"`
}

// content is the network configuration. The stock plugins for published ports
// and rates follow ours where they are installed: a list that names a plugin
// which is missing lets no container start.
func (o *Options) content() ([]byte, error) {
	first := plugin{Type: Plugin}
	if o.Control != o.DefaultControl {
		first.Control = o.Control
	}
	l := list{Version: o.Version, Name: Network, Plugins: []plugin{first}}
	for _, stock := range []struct{ name, capability string }{{"portmap", "portMappings"}, {"bandwidth", "bandwidth"}} {
		if executable(filepath.Join(o.BinDir, stock.name)) {
			l.Plugins = append(l.Plugins, plugin{Type: stock.name, Capabilities: map[string]bool{stock.capability: true}})
		}
	}
	b, err := json.MarshalIndent(l, "", "  ")
	return append(b, '\n'), err
}

// ours reports whether a file is one that a vtepd wrote, of this version or
// another.
func ours(data []byte) bool {
	var l list
	return json.Unmarshal(data, &l) == nil && l.Name == Network && len(l.Plugins) > 0 && l.Plugins[0].Type == Plugin
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// replace writes a file so that a reader, also one after a crash, sees the old
// content or the new.
func replace(path string, content []byte, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// Not a name that a runtime reads: they take *.conf, *.conflist and *.json.
	f, err := os.CreateTemp(filepath.Dir(path), ".vtepd-tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error above says what is wrong
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
