package encap_test

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"vtepd/encap"
)

// TestParseHeader: RFC 7348 §5. Only the I flag counts of the flags, and
// reserved bits are ignored.
func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		vni  uint32
		ok   bool
	}{
		{"VNI 42", []byte{8, 0, 0, 0, 0, 0, 42, 0}, 42, true},
		{"VNI 0", []byte{8, 0, 0, 0, 0, 0, 0, 0}, 0, true},
		{"largest VNI", []byte{8, 0, 0, 0, 255, 255, 255, 0}, encap.MaxVNI, true},
		{"bytes in order", []byte{8, 0, 0, 0, 1, 2, 3, 0}, 0x010203, true},
		{"reserved bits set", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 42, 0xff}, 42, true},
		{"a frame behind it", []byte{8, 0, 0, 0, 0, 0, 42, 0, 9, 9}, 42, true},
		{"I flag clear", []byte{0xf7, 0xff, 0xff, 0xff, 0, 0, 42, 0}, 0, false},
		{"seven bytes", []byte{8, 0, 0, 0, 0, 0, 42}, 0, false},
		{"nothing", nil, 0, false},
	} {
		if vni, ok := encap.ParseHeader(c.b); vni != c.vni || ok != c.ok {
			t.Errorf("%s: %d %v, want %d %v", c.name, vni, ok, c.vni, c.ok)
		}
	}
}

// FuzzHeader holds what is read and written against gopacket.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{8, 0, 0, 0, 0, 0, 42, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0xf7, 0, 0, 0, 1, 2, 3, 0, 1, 2, 3})
	f.Add([]byte{8, 0, 0, 0, 0, 0, 42})
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(make([]byte, 0, len(b)), b...)[:len(b):len(b)]
		vni, ok := encap.ParseHeader(b)
		var want layers.VXLAN
		fits := len(b) >= encap.HeaderLen && want.DecodeFromBytes(b, gopacket.NilDecodeFeedback) == nil && want.ValidIDFlag
		if ok != fits || ok && vni != want.VNI {
			t.Fatalf("%x: %d %v, gopacket: %d %v", b, vni, ok, want.VNI, fits)
		}
		if !ok {
			return
		}
		h := encap.MakeHeader(vni)
		if again, ok := encap.ParseHeader(h[:]); !ok || again != vni {
			t.Errorf("VNI %d came back as %d %v", vni, again, ok)
		}
		if h[0] != 8 || h[1]|h[2]|h[3]|h[7] != 0 {
			t.Errorf("reserved bits in %x", h)
		}
	})
}

// TestPutProperty has gopacket decode headers for random inner frames.
func TestPutProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := outerV4()
		most := 65535 - 20 - 8 - encap.HeaderLen
		if rapid.Bool().Draw(t, "IPv6") {
			o = outerV6()
			most = 65535 - 8 - encap.HeaderLen
		} else {
			o.DF = rapid.Bool().Draw(t, "DF")
		}
		o.VNI = rapid.Uint32Range(0, encap.MaxVNI).Draw(t, "VNI")
		o.Checksum = rapid.Bool().Draw(t, "checksum")
		tmpl, err := encap.NewTemplate(o)
		if err != nil {
			t.Fatal(err)
		}
		o.SrcPort, o.TOS, o.TTL = rapid.Uint16().Draw(t, "port"), rapid.Byte().Draw(t, "TOS"), rapid.Byte().Draw(t, "TTL")
		n := rapid.OneOf(rapid.IntRange(0, 2000), rapid.IntRange(0, most), rapid.Just(most)).Draw(t, "inner")
		fill := rapid.Uint64().Draw(t, "content")
		inner := make([]byte, n)
		for i := range inner {
			inner[i] = byte(fill >> (8 * (i % 8)))
		}
		b := make([]byte, tmpl.Len()+n)
		tmpl.Put(b, n, o.SrcPort, o.TOS, o.TTL)
		copy(b[tmpl.Len():], inner)
		id := rapid.Uint16().Draw(t, "ID")
		tmpl.Identify(b, id)
		tmpl.Finish(b)
		if !o.Src.Is6() && (b[18] != byte(id>>8) || b[19] != byte(id)) {
			t.Errorf("ID %x, want %04x", b[18:20], id)
		}
		d, err := encap.NewDecoder().Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d.Outer != o || string(d.Inner) != string(inner) || d.Length != n+encap.HeaderLen {
			t.Errorf("%+v of %d bytes decodes to %+v of %d", o, n, d.Outer, len(d.Inner))
		}
		if !checksumsAreGood(b, tmpl.L4()) {
			t.Errorf("bad checksum in %x", b[:tmpl.Len()])
		}
	})
}

// checksumsAreGood adds up the outer checksums as RFC 1071 has it.
func checksumsAreGood(b []byte, l4 int) bool {
	ip, udp := b[14:l4], b[l4:]
	addrs := ip[8:]
	if len(ip) == 20 {
		if sum(ip, 0) != 0xffff {
			return false
		}
		addrs = ip[12:]
	}
	return udp[6]|udp[7] == 0 || sum(udp, int(sum(addrs, 17+len(udp)))) == 0xffff
}

func sum(b []byte, initial int) uint16 {
	n := initial
	for i, x := range b {
		n += int(x) << (8 * (1 - i%2))
	}
	for n > 0xffff {
		n = n&0xffff + n>>16
	}
	return uint16(n)
}
