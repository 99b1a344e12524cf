package encap_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vtepd/encap"
	"vtepd/encap/packet"
)

// A recording is an entry of testdata/golden.json; see the README there.
type recording struct {
	File         string
	VNI          uint32
	Port         uint16
	TTL, TOS, DF string
	Checksum     bool
}

func recordings(tb testing.TB) (all []recording) {
	tb.Helper()
	b, err := os.ReadFile("../testdata/golden.json")
	must(tb, err)
	must(tb, json.Unmarshal(b, &all))
	if len(all) < 10 {
		tb.Fatalf("only %d recordings", len(all))
	}
	return all
}

// recorded returns the frames of a capture in testdata.
func recorded(tb testing.TB, name string) (frames [][]byte) {
	tb.Helper()
	f, err := os.Open(filepath.Join("../testdata", name+".pcap"))
	must(tb, err)
	defer f.Close()
	c, err := encap.OpenCapture(f)
	must(tb, err)
	for {
		one, err := c.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		must(tb, err)
		frames = append(frames, bytes.Clone(one.Data))
	}
}

// outer is what the outer headers of the recording must say for an inner frame.
func (r *recording) outer(tb testing.TB, inner []byte) encap.Outer {
	tb.Helper()
	var p packet.Parsed
	if !p.Parse(inner) {
		tb.Fatal("short inner frame")
	}
	ip := p.Kind == packet.IPv4 || p.Kind == packet.IPv6
	o := encap.Outer{SrcMAC: packet.MAC{2, 0, 0, 0, 1, 1}, DstMAC: packet.MAC{2, 0, 0, 0, 1, 2},
		Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"),
		DstPort: r.Port, VNI: r.VNI, TTL: 64, Checksum: r.Checksum}
	if strings.Contains(r.File, "ipv6") {
		o.Src, o.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	} else {
		o.DF = r.DF == "set" || r.DF == "inherit" && (p.Kind == packet.IPv6 || p.DF)
	}
	if r.TTL != "inherit" {
		o.TTL = number(tb, r.TTL)
	} else if ip {
		o.TTL = p.TTL
	}
	switch {
	case strings.HasPrefix(r.File, "gopacket"): // which copies no ECN
		o.TOS = number(tb, r.TOS)
	case r.TOS != "inherit":
		o.TOS = packet.OuterTOS(&p, number(tb, r.TOS))
	case ip:
		o.TOS = packet.OuterTOS(&p, p.TOS)
	}
	return o
}

func number(tb testing.TB, s string) uint8 {
	n, err := strconv.ParseUint(s, 10, 8)
	must(tb, err)
	return uint8(n)
}

// TestGolden encapsulates the inner frames of the recordings: ours are the
// datagrams that the kernel's vxlan device and gopacket sent, byte for byte.
// What the kernel chooses is taken from its datagram: the source port and the
// IPv4 ID.
func TestGolden(t *testing.T) {
	inner := recorded(t, "inner")
	for _, r := range recordings(t) {
		t.Run(r.File, func(t *testing.T) {
			want := recorded(t, r.File)
			if len(want) != len(inner) {
				t.Fatalf("%d datagrams of %d frames", len(want), len(inner))
			}
			base := r.outer(t, inner[0]) // the template's own TOS, TTL and port do not count
			for i := range want {
				o := r.outer(t, inner[i])
				base.DF = o.DF
				tmpl, err := encap.NewTemplate(base)
				must(t, err)
				o.SrcPort = binary.BigEndian.Uint16(want[i][tmpl.L4():])
				got := make([]byte, tmpl.Len()+len(inner[i]))
				tmpl.Put(got, len(inner[i]), o.SrcPort, o.TOS, o.TTL)
				copy(got[tmpl.Len():], inner[i])
				tmpl.Finish(got)
				tmpl.Identify(got, binary.BigEndian.Uint16(want[i][18:])) // over IPv6 it does nothing
				if diff := cmp.Diff(want[i], got); diff != "" {
					t.Errorf("datagram %d (-recorded +ours):\n%s", i+1, diff)
				}
				if h := encap.MakeHeader(r.VNI); !bytes.Equal(h[:], want[i][tmpl.Len()-encap.HeaderLen:tmpl.Len()]) {
					t.Errorf("datagram %d: header %x", i+1, h)
				}
			}
		})
	}
}

// TestGoldenDecode reads the recordings as tshark did.
func TestGoldenDecode(t *testing.T) {
	inner := recorded(t, "inner")
	d := encap.NewDecoder()
	for _, r := range recordings(t) {
		t.Run(r.File, func(t *testing.T) {
			rows := tsharkRows(t, r.File)
			frames := recorded(t, r.File)
			if len(rows) != len(frames) {
				t.Fatalf("tshark read %d of %d datagrams", len(rows), len(frames))
			}
			for i, f := range frames {
				got, err := d.Decode(f)
				must(t, err)
				if diff := cmp.Diff(rows[i], line(&got, len(f), i+1)); diff != "" {
					t.Errorf("datagram %d (-tshark +ours):\n%s", i+1, diff)
				}
				if !bytes.Equal(got.Inner, inner[i]) {
					t.Errorf("datagram %d: inner frame %x", i+1, got.Inner)
				}
				o := r.outer(t, inner[i])
				o.SrcPort = got.SrcPort
				if diff := cmp.Diff(o, got.Outer, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Errorf("datagram %d (-asked +ours):\n%s", i+1, diff)
				}
			}
		})
	}
}

// tsharkRows are the fields that tshark read in a recording, by their names.
// Of a datagram over IPv6 the fields ip.* are those of the inner packet, and the
// other way round: they are left out.
func tsharkRows(t *testing.T, file string) (rows []map[string]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../testdata", file+".tshark"))
	must(t, err)
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	names := strings.Split(lines[0], "\t")
	other := "ipv6."
	if strings.Contains(file, "ipv6") {
		other = "ip."
	}
	for _, l := range lines[1:] {
		row := make(map[string]string)
		for i, v := range strings.Split(l, "\t") {
			if !strings.HasPrefix(names[i], other) {
				row[names[i]] = v
			}
		}
		// Status 1 is good; without a checksum tshark has its own opinion by family.
		if row["udp.checksum"] == "0x0000" {
			row["udp.checksum"] = "none"
		} else if row["udp.checksum.status"] == "1" {
			row["udp.checksum"] = "good"
		}
		delete(row, "udp.checksum.status")
		rows = append(rows, row)
	}
	return rows
}

// line is what a decoded datagram is in tshark's words.
func line(d *encap.Decoded, length, n int) map[string]string {
	m := map[string]string{
		"frame.number": fmt.Sprint(n), "frame.len": fmt.Sprint(length), "eth.src": d.SrcMAC.String(), "eth.dst": d.DstMAC.String(),
		"udp.srcport": fmt.Sprint(d.SrcPort), "udp.dstport": fmt.Sprint(d.DstPort), "udp.length": fmt.Sprint(d.Length + 8),
		"vxlan.flags": "0x0800", "vxlan.vni": fmt.Sprint(d.VNI), "udp.checksum": "none",
	}
	if d.Checksum {
		m["udp.checksum"] = "good"
	}
	if d.Src.Is4() {
		m["ip.src"], m["ip.dst"], m["ip.ttl"] = d.Src.String(), d.Dst.String(), fmt.Sprint(d.TTL)
		m["ip.dsfield"], m["ip.flags.df"] = fmt.Sprintf("0x%02x", d.TOS), map[bool]string{false: "0", true: "1"}[d.DF]
	} else {
		m["ipv6.src"], m["ipv6.dst"], m["ipv6.hlim"] = d.Src.String(), d.Dst.String(), fmt.Sprint(d.TTL)
		m["ipv6.tclass"] = fmt.Sprintf("0x%08x", d.TOS)
	}
	return m
}
