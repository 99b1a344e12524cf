package ctl

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"vtepd/encap"
	"vtepd/encap/packet"
)

func mustParse(t *testing.T, s string) netip.Prefix {
	t.Helper()
	p, err := netip.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// vxlan returns a VXLAN packet with an ARP-sized inner frame.
func vxlan(t *testing.T, o encap.Outer) []byte {
	t.Helper()
	o.SrcMAC, o.DstMAC = packet.MAC{2, 0, 0, 0, 1, 1}, packet.MAC{2, 0, 0, 0, 1, 2}
	o.SrcPort, o.DstPort, o.TTL = 50000, 4789, 64
	template, err := encap.NewTemplate(o)
	if err != nil {
		t.Fatal(err)
	}
	inner := append([]byte{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x06}, make([]byte, 46)...)
	b := make([]byte, template.Len()+len(inner))
	template.Put(b, len(inner), o.SrcPort, o.TOS, o.TTL)
	copy(b[template.Len():], inner)
	template.Finish(b)
	return b
}

// captureFiles makes capture files and returns their folder: vxlan.pcap and
// vxlan.pcapng, the same cut off in the middle of the last packet, and files
// that are no captures.
func captureFiles(t *testing.T) string {
	t.Helper()
	frames := [][]byte{
		vxlan(t, encap.Outer{Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"), VNI: 42, DF: true, Checksum: true}),
		vxlan(t, encap.Outer{Src: netip.MustParseAddr("2001:db8::1"), Dst: netip.MustParseAddr("2001:db8::2"), VNI: 43, TOS: 0xb8, Checksum: true}),
		append(bytes.Repeat([]byte{0xff}, 12), make([]byte, 48)...),
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC)
	var pcap, ng bytes.Buffer
	w := pcapgo.NewWriter(&pcap)
	if err := w.WriteFileHeader(65535, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	n, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		info := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(f), Length: len(f)}
		if err := w.WritePacket(info, f); err != nil {
			t.Fatal(err)
		}
		if err := n.WritePacket(info, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"vxlan.pcap": pcap.Bytes(), "vxlan.pcapng": ng.Bytes(), "cut.pcap": pcap.Bytes()[:pcap.Len()-1],
		"none.pcap": pcap.Bytes()[:24], "text.pcap": []byte("not a capture file at all\n"), "empty.pcap": nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDecodeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := Run(ctx, []string{"decode", captureFiles(t) + "/vxlan.pcap"}, &stdout, &stderr, ""); code != exitRefused {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
}
