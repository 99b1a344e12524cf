package vtep

import "golang.org/x/sys/unix"

// An Arena is memory for frames outside the heap. A worker has megabytes of it
// and mostly touches little: only what is touched takes room, and as the
// collector does not count it, it does not let as much garbage lie about.
type Arena struct {
	b      []byte
	mapped bool
}

// NewArena makes an arena of n bytes, all zero.
func NewArena(n int) *Arena {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return &Arena{b: make([]byte, n)}
	}
	return &Arena{b: b, mapped: true}
}

// Bytes returns the memory, which may be used until Free.
func (a *Arena) Bytes() []byte { return a.b }

// Free gives the memory back. Calling it again does nothing.
func (a *Arena) Free() error {
	b, mapped := a.b, a.mapped
	a.b, a.mapped = nil, false
	if !mapped {
		return nil
	}
	return unix.Munmap(b)
}
