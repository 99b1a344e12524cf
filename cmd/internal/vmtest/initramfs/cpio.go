package initramfs

import (
	"fmt"
	"io"
	"path"
)

// The file types of a cpio header's mode, as stat(2) has them.
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
)

// blockSize is what an archive's length is a multiple of, as cpio(1) writes it.
const blockSize = 512

// An archive writes a cpio archive in the format "newc" (the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst). All belongs to
// root, all times are 0, so that equal content gives equal bytes.
type archive struct {
	w       io.Writer
	written int64
	inode   int
	dirs    map[string]bool
	err     error // the first one; nothing is written after it
}

func newArchive(w io.Writer) *archive {
	return &archive{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// dir adds a directory and those above it, once.
func (a *archive) dir(name string) {
	if a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name, typeDir|0o755, 2, nil)
}

// file adds a regular file with the given permissions.
func (a *archive) file(name string, perm int, body []byte) {
	a.dir(path.Dir(name))
	a.entry(name, typeFile|perm, 1, body)
}

// symlink adds a symbolic link that points to target.
func (a *archive) symlink(name, target string) {
	a.dir(path.Dir(name))
	a.entry(name, typeSymlink|0o777, 1, []byte(target))
}

// close ends the archive and returns the first error there was.
func (a *archive) close() error {
	a.inode = 0
	a.entry("TRAILER!!!", 0, 1, nil)
	a.pad(blockSize)
	return a.err
}

// entry writes a header, a name and a body. The fields are 8 hexadecimal
// digits each: inode, mode, uid, gid, links, mtime, size, the device's major
// and minor number, those of a device file, the name's length with its zero
// byte, and a checksum that "newc" does not have.
func (a *archive) entry(name string, mode, links int, body []byte) {
	header := "070701"
	for _, field := range []int{a.inode, mode, 0, 0, links, 0, len(body), 0, 0, 0, 0, len(name) + 1, 0} {
		header += fmt.Sprintf("%08X", field)
	}
	a.inode++
	a.write([]byte(header + name + "\x00"))
	a.pad(4)
	a.write(body)
	a.pad(4)
}

// pad writes zeros up to a multiple of n bytes.
func (a *archive) pad(n int64) {
	if rest := a.written % n; rest > 0 {
		a.write(make([]byte, n-rest))
	}
}

func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(b)
	a.written += int64(n)
	a.err = err
}
