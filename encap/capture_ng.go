package encap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng §4).
const (
	ngSectionHeader  = 0x0a0d0d0a
	ngPacket         = 2
	ngSimplePacket   = 3
	ngEnhancedPacket = 6
)

// maxBlock is the largest pcapng block in bytes that is read: a frame, its
// header and a generous lot of options.
const maxBlock = maxCaptured + 65536

// An ngFilter passes a pcapng file on, one block at a time, and ends it with an
// error at the first block whose lengths contradict each other or that is too
// large: pcapgo's NgReader allocates what a block says before it looks whether
// that much is there.
type ngFilter struct {
	r     io.Reader
	order binary.ByteOrder // of the section we are in
	block []byte           // buffer
	rest  []byte           // of block, not yet passed on
}

// Read implements [io.Reader].
func (f *ngFilter) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// next reads one block.
func (f *ngFilter) next() error {
	if f.block == nil {
		f.block = make([]byte, maxBlock)
	}
	head := f.block[:12] // type, length, and the first word of the body
	if _, err := io.ReadFull(f.r, head); err != nil {
		return err // io.EOF only between blocks
	}
	if binary.BigEndian.Uint32(head) == ngSectionHeader {
		if err := f.section(head[8:]); err != nil {
			return err
		}
	}
	if f.order == nil {
		return errors.New("it does not start with a section header")
	}
	size := f.order.Uint32(head[4:])
	if size < 12 || size > maxBlock || size%4 != 0 {
		return fmt.Errorf("a block of %d bytes", size)
	}
	block := f.block[:size]
	if _, err := io.ReadFull(f.r, block[12:]); err != nil {
		return noEOF(err)
	}
	if again := f.order.Uint32(block[size-4:]); again != size {
		return fmt.Errorf("a block says that it has %d bytes and then that it has %d", size, again)
	}
	if err := f.checkPacket(f.order.Uint32(block), block); err != nil {
		return err
	}
	f.rest = block
	return nil
}

// section takes the byte order of a new section.
func (f *ngFilter) section(magic []byte) error {
	const byteOrderMagic uint32 = 0x1a2b3c4d
	switch byteOrderMagic {
	case binary.LittleEndian.Uint32(magic):
		f.order = binary.LittleEndian
	case binary.BigEndian.Uint32(magic):
		f.order = binary.BigEndian
	default:
		return errors.New("a section without byte order")
	}
	return nil
}

// checkPacket checks that a packet block holds the bytes it says.
func (f *ngFilter) checkPacket(kind uint32, block []byte) error {
	var header, captured uint32 // bytes in front of the data and the last word, bytes of data
	switch kind {
	case ngEnhancedPacket, ngPacket:
		header = 28
		if len(block) >= int(header)+4 {
			captured = f.order.Uint32(block[20:])
		}
	case ngSimplePacket: // its data is cut to the interface's snap length
		header = 12
		if f.order.Uint32(block[8:]) > maxCaptured {
			return errors.New("a frame that is too large")
		}
	default:
		return nil
	}
	if room := len(block) - int(header) - 4; room < 0 || captured > uint32(room) || captured > maxCaptured {
		return fmt.Errorf("a frame of %d bytes in a block of %d", captured, len(block))
	}
	return nil
}
