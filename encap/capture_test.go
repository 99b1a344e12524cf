package encap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"vtepd/encap"
)

// captured are the frames that the files of these tests hold.
var captured = [][]byte{
	bytes.Repeat([]byte{0xaa}, 60), bytes.Repeat([]byte{0xbb}, 9001), bytes.Repeat([]byte{0xcc}, 61), {},
}

var captureTime = time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)

func info(frame []byte) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: captureTime, CaptureLength: len(frame), Length: len(frame) + 4}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func pcapFile(tb testing.TB, snaplen uint32, link layers.LinkType) []byte {
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	must(tb, w.WriteFileHeader(snaplen, link))
	for _, f := range captured {
		must(tb, w.WritePacket(info(f), f))
	}
	return b.Bytes()
}

func pcapngFile(tb testing.TB, link layers.LinkType) []byte {
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, link)
	must(tb, err)
	for _, f := range captured {
		must(tb, w.WritePacket(info(f), f))
	}
	must(tb, w.Flush())
	return b.Bytes()
}

// readAll returns copies of all frames of a file and the error that ended it,
// nil for its end.
func readAll(file []byte) (frames [][]byte, err error) {
	c, err := encap.OpenCapture(bytes.NewReader(file))
	for err == nil {
		var f encap.Captured
		if f, err = c.Next(); err == nil {
			frames = append(frames, append([]byte{}, f.Data...))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return frames, err
}

func TestCaptureReadsWhatWasWritten(t *testing.T) {
	for name, file := range map[string][]byte{
		"pcap":                                pcapFile(t, 262144, layers.LinkTypeEthernet),
		"pcap whose snap length is too small": pcapFile(t, 96, layers.LinkTypeEthernet),
		"pcap whose snap length is 4 GiB":     pcapFile(t, 1<<32-1, layers.LinkTypeEthernet),
		"pcapng":                              pcapngFile(t, layers.LinkTypeEthernet),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readAll(file)
			must(t, err)
			if diff := cmp.Diff(captured, got); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
			c, err := encap.OpenCapture(bytes.NewReader(file))
			must(t, err)
			f, err := c.Next()
			must(t, err)
			if !f.Time.Equal(captureTime) || f.Length != 64 {
				t.Errorf("first frame: time %v, length %d", f.Time, f.Length)
			}
		})
	}
}

func TestCaptureRefuses(t *testing.T) {
	pcap, ng := pcapFile(t, 65535, layers.LinkTypeEthernet), pcapngFile(t, layers.LinkTypeEthernet)
	put := func(file []byte, at int, v uint32) []byte {
		file = bytes.Clone(file)
		binary.LittleEndian.PutUint32(file[at:], v)
		return file
	}
	packet := bytes.Index(ng, []byte{6, 0, 0, 0}) // the first enhanced packet block
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "unexpected EOF"},
		{"text", []byte("this is not a capture, is it?"), "neither pcap nor pcapng"},
		{"another link type", pcapFile(t, 65535, layers.LinkTypeLinuxSLL), "not Ethernet"},
		{"another link type in pcapng", pcapngFile(t, layers.LinkTypeLinuxSLL), "not Ethernet"},
		{"pcap frame of 4 GiB", put(put(pcap, 24+8, 1<<32-1), 24+12, 1<<32-1), "exceeds snap length"},
		{"pcap cut in a frame", pcap[:24+16+10], "unexpected EOF"},
		{"pcap cut behind a frame's header", pcap[:24+16], "unexpected EOF"},
		{"pcapng without byte order", put(ng, 8, 0), "byte order"},
		{"pcapng block of 4 GiB", put(ng, packet+4, 1<<32-4), "a block of 4294967292 bytes"},
		{"pcapng block of 8 bytes", put(ng, packet+4, 8), "a block of 8 bytes"},
		{"pcapng block with another length at its end", put(ng, packet+4, 100), "a block"},
		{"pcapng frame larger than its block", put(ng, packet+20, 61), "a frame of 61 bytes in a block of 92"},
		{"pcapng frame of 4 GiB", put(ng, packet+20, 1<<32-1), "a frame of 4294967295 bytes"},
		{"pcapng frame of an interface that is not there", put(ng, packet+8, 7), "7"},
		{"pcapng simple frame of 1 GiB", put(put(ng, packet, 3), packet+8, 1<<30), "too large"},
		{"pcapng cut", ng[:len(ng)-40], "unexpected EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := readAll(test.file); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func FuzzCapture(f *testing.F) {
	f.Add(pcapFile(f, 65535, layers.LinkTypeEthernet))
	f.Add(pcapngFile(f, layers.LinkTypeEthernet))
	kernel, err := os.ReadFile("../testdata/kernel-ipv4.pcap")
	must(f, err)
	f.Add(kernel)
	f.Add([]byte("\x0a\x0d\x0d\x0a"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		frames, _ := readAll(file)
		for _, frame := range frames {
			if len(frame) > 1<<18 {
				t.Fatalf("a frame of %d bytes", len(frame))
			}
		}
	})
}
