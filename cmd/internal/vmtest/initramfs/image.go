// Package initramfs makes what a virtual machine boots: a kernel out of a
// Debian package that is not installed, and an initial RAM file system with
// busybox, the programs under test, programs of this host with their shared
// libraries, and the kernel modules they need.
package initramfs

import (
	"bufio"
	_ "embed" // for the scripts
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Content is what goes into a file system. What follows is added to it:
// busybox with all its commands, and the scripts that make it boot (init.sh)
// and answer on its terminals (terminal.sh).
type Content struct {
	// Modules are loaded at boot, after what they need.
	Modules []string
	// Static are files of static programs; they go to /bin.
	Static []string
	// Host are commands of this host, found by PATH. They go to /bin with
	// their libraries, instead of busybox's commands of the same name.
	Host []string
}

//go:embed init.sh
var initScript []byte

//go:embed terminal.sh
var terminalScript []byte

// Write writes the file system for a kernel to a file, not compressed: without
// KVM a machine takes longer to decompress than to read.
func Write(file string, k *Kernel, c Content) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<20)
	a := newArchive(buf)
	a.file("init", 0o755, initScript)
	a.file("terminal", 0o755, terminalScript)
	for _, add := range []func() error{
		func() error { return addModules(a, k.Modules, c.Modules) },
		func() error { return addStatic(a, c.Static) },
		func() error { return addHost(a, c.Host) },
		func() error { return addBusybox(a, c.Host) },
		a.close,
		buf.Flush,
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

// addModules adds modules and their order, which init.sh reads.
func addModules(a *archive, folder string, wanted []string) error {
	order, content, err := modules(folder, wanted)
	if err != nil {
		return err
	}
	for _, name := range order {
		a.file("modules/"+name+".ko", 0o644, content[name])
	}
	a.file("modules/order", 0o644, []byte(strings.Join(order, "\n")+"\n"))
	return nil
}

// addStatic adds programs that need nothing else, and sees that it is so.
func addStatic(a *archive, files []string) error {
	for _, f := range files {
		needed, err := imports(f)
		if err != nil {
			return err
		}
		if len(needed) > 0 {
			return fmt.Errorf("%s is not static: it needs %s", f, strings.Join(needed, ", "))
		}
		if err := addFile(a, "bin/"+filepath.Base(f), f); err != nil {
			return err
		}
	}
	return nil
}

// addHost adds commands of this host and the libraries of all of them.
func addHost(a *archive, names []string) error {
	var programs []string
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		programs = append(programs, path)
		if err := addFile(a, "bin/"+name, path); err != nil {
			return err
		}
	}
	libs, err := libraries(programs...)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := addFile(a, strings.TrimPrefix(lib, "/"), lib); err != nil {
			return err
		}
	}
	return nil
}

// addBusybox adds busybox under all its names, but for those that are taken.
func addBusybox(a *archive, taken []string) error {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := addStatic(a, []string{path}); err != nil {
		return fmt.Errorf("%w (the package busybox-static is needed)", err)
	}
	list, err := exec.Command(path, "--list").Output()
	if err != nil {
		return fmt.Errorf("busybox --list: %w", err)
	}
	has := map[string]bool{"busybox": true}
	for _, name := range taken {
		has[name] = true
	}
	for _, name := range strings.Fields(string(list)) {
		if !has[name] {
			a.symlink("bin/"+name, "busybox")
		}
	}
	return nil
}

// addFile adds a program of this host under a name. Links are followed.
func addFile(a *archive, name, path string) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	a.file(name, 0o755, body)
	return a.err
}
