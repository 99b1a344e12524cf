package offload_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vtepd/encap/offload"
)

// TestVirtioNetHdr reads and writes headers that a TAP device of Linux 6.18 on
// a little-endian machine handed over, and two by the letter of
// include/uapi/linux/virtio_net.h.
func TestVirtioNetHdr(t *testing.T) {
	for _, c := range []struct {
		name, hdr string
		want      offload.GSO
	}{
		{"ARP, ping, ND: nothing left to do", "00 00 0000 0000 0000 0000", offload.GSO{}},
		{"TCP SYN over IPv4", "01 00 0000 0000 2200 1000",
			offload.GSO{NeedsCsum: true, CsumStart: 34, CsumOffset: 16}},
		{"UDP over IPv6", "01 00 0000 0000 3600 0600",
			offload.GSO{NeedsCsum: true, CsumStart: 54, CsumOffset: 6}},
		{"7306 bytes of TCP over IPv4 with timestamps, MTU 1500", "01 01 4200 a805 2200 1000",
			offload.GSO{Type: offload.TCPv4, NeedsCsum: true, HdrLen: 66, Size: 1448, CsumStart: 34, CsumOffset: 16}},
		{"7226 bytes of TCP over IPv6 with timestamps, MTU 1500", "01 04 5600 9405 3600 1000",
			offload.GSO{Type: offload.TCPv6, NeedsCsum: true, HdrLen: 86, Size: 1428, CsumStart: 54, CsumOffset: 16}},
		{"UDP_SEGMENT of 1400 bytes over IPv4", "01 05 2a00 7805 2200 0600",
			offload.GSO{Type: offload.UDP, NeedsCsum: true, HdrLen: 42, Size: 1400, CsumStart: 34, CsumOffset: 6}},
		{"UDP_SEGMENT of 1400 bytes over IPv6", "01 05 3e00 7805 3600 0600",
			offload.GSO{Type: offload.UDP, NeedsCsum: true, HdrLen: 62, Size: 1400, CsumStart: 54, CsumOffset: 6}},
		{"TCP with CWR, by the letter", "01 81 4200 a805 2200 1000",
			offload.GSO{Type: offload.TCPv4, ECN: true, NeedsCsum: true, HdrLen: 66, Size: 1448, CsumStart: 34, CsumOffset: 16}},
		{"every field at its largest, by the letter", "01 85 ffff ffff ffff ffff",
			offload.GSO{Type: offload.UDP, ECN: true, NeedsCsum: true, HdrLen: 65535, Size: 65535, CsumStart: 65535, CsumOffset: 65535}},
	} {
		t.Run(c.name, func(t *testing.T) {
			hdr, err := hex.DecodeString(strings.ReplaceAll(c.hdr, " ", ""))
			must(t, err)
			got := offload.GSO{Size: 1, ECN: true} // of an earlier frame
			must(t, got.Decode(hdr))
			if got != c.want {
				t.Errorf("read as %+v, want %+v", got, c.want)
			}
			back := []byte(strings.Repeat("\xff", offload.HdrLen+1))
			c.want.Encode(back)
			if s := hex.EncodeToString(back); s != hex.EncodeToString(hdr)+"ff" {
				t.Errorf("written as %s", s)
			}
		})
	}
}

func TestVirtioNetHdrFlags(t *testing.T) {
	// VIRTIO_NET_HDR_F_DATA_VALID says nothing that we would believe, and
	// behind ten bytes may be fields of a longer header.
	var g offload.GSO
	must(t, g.Decode([]byte{2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9}))
	if g != (offload.GSO{}) {
		t.Errorf("%+v", g)
	}
}

func TestVirtioNetHdrRefused(t *testing.T) {
	for name, hdr := range map[string][]byte{
		"nothing":             {},
		"9 bytes":             make([]byte, 9),
		"UDP fragments (UFO)": {0, 3, 0, 0, 0, 0, 0, 0, 0, 0},
		"a tunnel":            {1, 0x21, 0, 0, 0, 0, 0, 0, 0, 0},
		"an unknown type":     {0, 2, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		var g offload.GSO
		if err := g.Decode(hdr); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestVirtioNetHdrRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u16 := rapid.Uint16()
		want := offload.GSO{
			Type: rapid.SampledFrom([]offload.Type{offload.None, offload.TCPv4, offload.TCPv6, offload.UDP}).Draw(t, "type"),
			ECN:  rapid.Bool().Draw(t, "ECN"), NeedsCsum: rapid.Bool().Draw(t, "checksum left"),
			Size: u16.Draw(t, "size"), HdrLen: u16.Draw(t, "header"), CsumStart: u16.Draw(t, "start"), CsumOffset: u16.Draw(t, "offset"),
		}
		hdr := make([]byte, offload.HdrLen)
		want.Encode(hdr)
		var got offload.GSO
		must(t, got.Decode(hdr))
		if got != want {
			t.Errorf("%+v came back as %+v", want, got)
		}
	})
}

func TestFrameWindows(t *testing.T) {
	f := offload.Frame{Buf: []byte("roomframefree"), Off: 4, Len: 5}
	if b := f.Bytes(); string(b) != "frame" || cap(b) != 5 {
		t.Errorf("%q of %d bytes", b, cap(b))
	}
	if b := f.WithHeader(2); string(b) != "omframe" || cap(b) != 7 {
		t.Errorf("%q of %d bytes", b, cap(b))
	}
	defer func() {
		if recover() == nil {
			t.Error("more header than room")
		}
	}()
	f.WithHeader(5)
}
