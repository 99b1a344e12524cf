package conflist

import (
	"bytes"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// program is the package that a vtep-cni is built of.
const program = "vtepd/cmd/vtep-cni"

// Beside returns where the plugin is that was installed with the running
// program: in the same folder.
func Beside() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(self), Plugin)
}

// putPlugin copies the plugin into the folder of plugins, unless it is there,
// and reports whether it did. An older one of ours is replaced.
func (o *Options) putPlugin() (bool, error) {
	target := filepath.Join(o.BinDir, Plugin)
	have, err := os.ReadFile(target)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	there := err == nil
	if there && !isPlugin(target) {
		return false, fmt.Errorf("%s is not vtepd's and is left alone; move it away, or set cni: {enable: false}", target)
	}
	want, err := os.ReadFile(o.Program)
	switch {
	case errors.Is(err, fs.ErrNotExist) && there:
		return false, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%s is missing, and beside vtepd there is none to copy (%s); install it there", target, o.Program)
	case err != nil:
		return false, err
	case !isPlugin(o.Program):
		return false, fmt.Errorf("%s is not the vtep-cni of a vtepd and is not copied to %s", o.Program, target)
	case there && bytes.Equal(have, want) && executable(target):
		return false, nil
	}
	return true, replace(target, want, 0o755)
}

// isPlugin reports whether a program was built of our package, which Go notes
// in it.
func isPlugin(path string) bool {
	info, err := buildinfo.ReadFile(path)
	return err == nil && info.Path == program
}
