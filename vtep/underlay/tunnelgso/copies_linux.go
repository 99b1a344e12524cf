package tunnelgso

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// MaxCopies is how many copies of a frame one write makes at most.
const MaxCopies = 128

// A slot is what a queue and the program share, in memory that both see: how
// many copies, the length of a head, a word that the program sets at its end,
// and the heads, each with a word that it sets when the copy is on its way.
const (
	slotCopies  = 0
	slotHeadLen = 4
	slotDone    = 8
	slotHeads   = 16
	headSent    = 76 // in a head
	headStride  = 80
	// The last head is for none: without CAP_PERFMON the verifier wants the
	// program's pointer to stay inside also when it is done.
	slotSize = slotHeads + (MaxCopies+1)*headStride

	maxHead     = 14 + 40 + 8 + 8 // Ethernet, IPv6, UDP, VXLAN
	ethernetLen = 14
	// mark is where a written frame has the number of its slot, plus one: the
	// last byte of the source MAC, which is filled in behind the program.
	mark = 11
)

// A copier makes copies of frames for one queue.
type copier struct {
	slot []byte // shared with the program
	head [HdrLen + maxHead]byte
	iovs [2]unix.Iovec
}

// share makes the memory of n slots and a copier for each. The caller closes
// the map when the program has it, and gives the memory back with Munmap.
func share(n int) (m *ebpf.Map, memory []byte, copiers []copier, err error) {
	m, err = ebpf.NewMap(&ebpf.MapSpec{Name: "vtepd_heads", Type: ebpf.Array, KeySize: 4, ValueSize: slotSize,
		MaxEntries: uint32(n), Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("map of heads: %w", err)
	}
	memory, err = unix.Mmap(m.FD(), 0, n*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("map of heads: %w", err), m.Close())
	}
	copiers = make([]copier, n)
	for i := range copiers {
		copiers[i].slot = memory[i*slotSize : (i+1)*slotSize]
	}
	return m, memory, copiers, nil
}

// Copies reports whether the device makes copies.
func (d *Device) Copies() bool { return !d.late.Load() && d.Usable() }

// Head returns the room for the outer headers of copy i, below [MaxCopies], of
// the next Copy of a queue: from the Ethernet to the VXLAN header, the UDP
// checksum unfinished.
func (d *Device) Head(queue, i int) []byte {
	return d.copiers[queue].slot[slotHeads+i*headStride:][:maxHead]
}

// Copy sends a copy of an inner frame under each of the first n heads, which
// all are of the given length and have their UDP header at offset l4. The bytes
// are not kept. Which copies went, Copied says; those that did not may be sent
// by other means.
//
// That holds because the program runs inside the write. It does not where
// somebody set RPS for the device or took the program off it; then the device
// makes no more copies, and those of this one write may come twice.
func (d *Device) Copy(queue, n, headLen, l4 int, inner []byte) syscall.Errno {
	c := &d.copiers[queue]
	binary.NativeEndian.PutUint32(c.slot[slotCopies:], uint32(n))
	binary.NativeEndian.PutUint32(c.slot[slotHeadLen:], uint32(headLen))
	done := (*uint32)(unsafe.Pointer(&c.slot[slotDone]))
	atomic.StoreUint32(done, 0)
	for i := range n {
		binary.NativeEndian.PutUint32(c.slot[slotHeads+i*headStride+headSent:], 0)
	}
	head := c.head[:HdrLen+headLen]
	clear(head[:HdrLen])
	head[0] = flagNeedsCsum
	binary.LittleEndian.PutUint16(head[6:], uint16(l4))
	binary.LittleEndian.PutUint16(head[8:], udpChecksum)
	copy(head[HdrLen:], d.Head(queue, 0))
	head[HdrLen+mark] = byte(queue + 1)
	c.iovs[0].Base, c.iovs[1].Base = &head[0], &inner[0]
	c.iovs[0].SetLen(len(head))
	c.iovs[1].SetLen(len(inner))
	errno := d.write(queue, c.iovs[:])
	if errno == 0 && atomic.LoadUint32(done) == 0 {
		d.late.Store(true) // and the slot stays as it is: the program may read it yet
	}
	return errno
}

// Copied reports whether the kernel took copy i of the last Copy of a queue.
func (d *Device) Copied(queue, i int) bool {
	return binary.NativeEndian.Uint32(d.copiers[queue].slot[slotHeads+i*headStride+headSent:]) != 0
}
