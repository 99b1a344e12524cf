package encap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// maxCaptured is the largest captured frame in bytes that a [Capture] takes:
// MAXIMUM_SNAPLEN of tcpdump.
const maxCaptured = 262144

// A Captured is one frame of a capture file.
type Captured struct {
	Time time.Time
	// Data is what was captured, from the Ethernet header on. It is valid until
	// the next call of Next.
	Data []byte
	// Length is how many bytes the frame had on the wire.
	Length int
}

// A Capture reads Ethernet frames from a capture file, pcap or pcapng. One
// goroutine uses it.
type Capture struct {
	read func() ([]byte, gopacket.CaptureInfo, error)
	ng   bool
}

// OpenCapture starts to read a capture file, whose kind it finds by its first
// bytes. The file may be hostile: no frame takes more than 256 KiB of memory,
// and what contradicts itself is an error.
func OpenCapture(r io.Reader) (*Capture, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("capture file: %w", noEOF(err))
	}
	if binary.BigEndian.Uint32(magic) == ngSectionHeader { // reads the same in both byte orders
		return openNg(b)
	}
	p, err := pcapgo.NewReader(b)
	if err != nil {
		return nil, fmt.Errorf("capture file: neither pcap nor pcapng: %w", noEOF(err))
	}
	if p.LinkType() != layers.LinkTypeEthernet {
		return nil, fmt.Errorf("capture file: its link type is %v, not Ethernet", p.LinkType())
	}
	p.SetSnaplen(maxCaptured) // whatever the header says: it sizes the buffer
	return &Capture{read: p.ZeroCopyReadPacketData}, nil
}

// openNg opens a pcapng file behind an [ngFilter].
func openNg(r *bufio.Reader) (c *Capture, err error) {
	defer recovered(&err)
	p, err := pcapgo.NewNgReader(&ngFilter{r: r}, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return nil, fmt.Errorf("capture file: %w", noEOF(err))
	}
	return &Capture{read: p.ReadPacketData, ng: true}, nil
}

// Next returns the next frame, or io.EOF after the last one. A file that ends
// in the middle of a frame is io.ErrUnexpectedEOF. No error but io.EOF lets the
// file be read on.
func (c *Capture) Next() (f Captured, err error) {
	defer recovered(&err)
	data, info, err := c.read()
	if errors.Is(err, io.EOF) && info.CaptureLength == 0 { // else the header was there
		return f, io.EOF
	}
	if err != nil {
		return f, fmt.Errorf("capture file: %w", noEOF(err))
	}
	if c.ng && info.AncillaryData[0] != layers.LinkTypeEthernet {
		return f, fmt.Errorf("capture file: the link type of interface %d is %v, not Ethernet",
			info.InterfaceIndex, info.AncillaryData[0])
	}
	return Captured{Time: info.Timestamp, Data: data, Length: info.Length}, nil
}

// recovered turns a panic of the file reader into an error: pcapgo trusts its
// files more than we do.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("capture file: it contradicts itself: %v", p)
	}
}

// noEOF is for an end of file where there must not be one.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
