package encap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"vtepd/encap"
	"vtepd/encap/packet"
)

func outerV4() encap.Outer {
	return encap.Outer{
		SrcMAC: packet.MAC{2, 0, 0, 0, 0, 1}, DstMAC: packet.MAC{2, 0, 0, 0, 0, 2},
		Src: netip.MustParseAddr("192.0.2.1"), Dst: netip.MustParseAddr("192.0.2.2"),
		SrcPort: 50000, DstPort: 4789, VNI: 42, TTL: 64, Checksum: true,
	}
}

func outerV6() encap.Outer {
	o := outerV4()
	o.Src, o.Dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	return o
}

// TestTemplate writes datagrams with patched templates, and holds them against
// what gopacket writes for the same fields, byte for byte.
func TestTemplate(t *testing.T) {
	for _, c := range []struct {
		name  string
		outer encap.Outer
		edit  func(*encap.Outer)
	}{
		{"IPv4", outerV4(), func(*encap.Outer) {}},
		{"IPv4 with DF, TOS and another port", outerV4(), func(o *encap.Outer) { o.DF, o.TOS, o.SrcPort = true, 0xb9, 65535 }},
		{"IPv4 without checksum", outerV4(), func(o *encap.Outer) { o.Checksum = false }},
		{"largest VNI", outerV4(), func(o *encap.Outer) { o.VNI, o.TTL = encap.MaxVNI, 255 }},
		{"VNI 0", outerV4(), func(o *encap.Outer) { o.VNI = 0 }},
		{"another port", outerV4(), func(o *encap.Outer) { o.DstPort = 8472 }},
		{"IPv6", outerV6(), func(*encap.Outer) {}},
		{"IPv6 with traffic class", outerV6(), func(o *encap.Outer) { o.TOS, o.TTL = 0xb9, 1 }},
		{"IPv6 without checksum", outerV6(), func(o *encap.Outer) { o.Checksum = false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := c.outer
			c.edit(&o)
			base := o
			base.SrcPort, base.TOS, base.TTL = 49152, 0, 64 // what Put patches
			tmpl, err := encap.NewTemplate(base)
			must(t, err)
			for _, size := range []int{14, 60, 1450, 9001} {
				inner := bytes.Repeat([]byte{0xa5, 0x3c, 0x77}, size)[:size]
				got := make([]byte, tmpl.Len()+size)
				tmpl.Put(got, size, o.SrcPort, o.TOS, o.TTL)
				copy(got[tmpl.Len():], inner)
				tmpl.Finish(got)
				if diff := cmp.Diff(serialized(t, o, inner), got); diff != "" {
					t.Fatalf("datagram of %d bytes (-gopacket +template):\n%s", size, diff)
				}
				d, err := encap.NewDecoder().Decode(got)
				must(t, err)
				if d.Outer != o || !bytes.Equal(d.Inner, inner) || d.Length != size+encap.HeaderLen {
					t.Errorf("decodes to %+v with %d inner bytes", d.Outer, len(d.Inner))
				}
			}
		})
	}
}

// serialized is the datagram as gopacket writes it.
func serialized(t *testing.T, o encap.Outer, inner []byte) []byte {
	eth := &layers.Ethernet{SrcMAC: o.SrcMAC[:], DstMAC: o.DstMAC[:], EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(o.SrcPort), DstPort: layers.UDPPort(o.DstPort)}
	var ip gopacket.SerializableLayer
	if o.Src.Is4() {
		v4 := &layers.IPv4{Version: 4, TOS: o.TOS, TTL: o.TTL, Protocol: 17, SrcIP: o.Src.AsSlice(), DstIP: o.Dst.AsSlice()}
		if o.DF {
			v4.Flags = layers.IPv4DontFragment
		}
		must(t, udp.SetNetworkLayerForChecksum(v4))
		ip = v4
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, TrafficClass: o.TOS, HopLimit: o.TTL, NextHeader: 17, SrcIP: o.Src.AsSlice(), DstIP: o.Dst.AsSlice()}
		must(t, udp.SetNetworkLayerForChecksum(v6))
		ip = v6
	}
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip, udp, &layers.VXLAN{ValidIDFlag: true, VNI: o.VNI}, gopacket.Payload(inner)))
	b := buf.Bytes()
	if !o.Checksum {
		at := len(b) - len(inner) - encap.HeaderLen - 2
		b[at], b[at+1] = 0, 0
	}
	return b
}

func TestTemplateHeaderIsThatOfTheRFC(t *testing.T) {
	o := outerV4()
	o.VNI = 0x123456
	tmpl, err := encap.NewTemplate(o)
	must(t, err)
	if got, want := tmpl.Header(), (encap.Header{0x08, 0, 0, 0, 0x12, 0x34, 0x56, 0}); got != want {
		t.Errorf("header %x, want %x", got, want)
	}
}

func TestTemplateRefuses(t *testing.T) {
	for name, edit := range map[string]func(*encap.Outer){
		"VNI of 25 bits": func(o *encap.Outer) { o.VNI = encap.MaxVNI + 1 },
		"mixed families": func(o *encap.Outer) { o.Dst = netip.MustParseAddr("2001:db8::2") },
		"no source":      func(o *encap.Outer) { o.Src = netip.Addr{} },
		"4in6":           func(o *encap.Outer) { o.Src = netip.MustParseAddr("::ffff:192.0.2.1") },
	} {
		o := outerV4()
		edit(&o)
		if _, err := encap.NewTemplate(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestPutDoesNotAllocate(t *testing.T) {
	tmpl, err := encap.NewTemplate(outerV4())
	must(t, err)
	dst := make([]byte, 2000)
	if n := testing.AllocsPerRun(100, func() { tmpl.Put(dst, 1450, 50001, 0, 64); tmpl.Finish(dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecoderTellsWhatIsNotVXLAN(t *testing.T) {
	good := serialized(t, outerV4(), make([]byte, 60))
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, frame := range map[string][]byte{
		"ARP":             edit(func(b []byte) []byte { binary.BigEndian.PutUint16(b[12:], 0x0806); return b }),
		"TCP":             edit(func(b []byte) []byte { b[23] = 6; return b }),
		"no I flag":       edit(func(b []byte) []byte { b[42] = 0; return b }),
		"another service": edit(func(b []byte) []byte { binary.BigEndian.PutUint16(b[36:], 53); b[43] = 1; return b }),
	} {
		if _, err := encap.NewDecoder().Decode(frame); !errors.Is(err, encap.ErrNotVXLAN) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte{})
	for _, o := range []encap.Outer{outerV4(), outerV6()} {
		tmpl, err := encap.NewTemplate(o)
		must(f, err)
		b := make([]byte, tmpl.Len()+60)
		tmpl.Put(b, 60, 50000, 0, 64)
		f.Add(b)
		f.Add(b[:tmpl.Len()-3])
	}
	for _, r := range recordings(f) {
		for _, frame := range recorded(f, r.File) {
			f.Add(frame)
		}
	}
	d := encap.NewDecoder()
	f.Fuzz(func(t *testing.T, frame []byte) {
		out, err := d.Decode(frame)
		if err == nil {
			_ = out.String()
			if len(out.Inner)+encap.HeaderLen != out.Length {
				t.Errorf("inner %d, length %d", len(out.Inner), out.Length)
			}
		}
	})
}

// A sum that comes to zero is still a checksum (RFC 768): one destination in
// 65,536 has such headers.
func TestTemplateWhoseChecksumIsZero(t *testing.T) {
	o := encap.Outer{Src: netip.MustParseAddr("192.0.2.1"), SrcPort: 49152, DstPort: 4789, VNI: 42, TTL: 64, Checksum: true}
	for i := range 1 << 16 {
		o.Dst = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if _, err := encap.NewTemplate(o); err != nil {
			t.Errorf("to %v: %v", o.Dst, err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	tmpl, err := encap.NewTemplate(outerV4())
	must(b, err)
	dst := make([]byte, 2000)
	b.ReportAllocs()
	for b.Loop() {
		tmpl.Put(dst, 1450, 50001, 0, 64)
		tmpl.Finish(dst)
	}
}

func BenchmarkParseHeader(b *testing.B) {
	h := encap.MakeHeader(42)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := encap.ParseHeader(h[:]); !ok {
			b.Fatal("refused")
		}
	}
}
