package packet_test

import (
	"encoding"
	"net"
	"strings"
	"testing"

	"vtepd/encap/packet"
)

var (
	_ encoding.TextMarshaler   = packet.MAC{}
	_ encoding.TextUnmarshaler = &packet.MAC{}
)

func TestParseMAC(t *testing.T) {
	want := packet.MAC{0x02, 0xab, 0xcd, 0xef, 0x09, 0xf0}
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"colons", "02:ab:cd:ef:09:f0", true},
		{"dashes", "02-ab-cd-ef-09-f0", true},
		{"upper case", "02:AB:CD:EF:09:F0", true},
		{"both cases", "02:aB:Cd:eF:09:f0", true},
		{"empty", "", false},
		{"colons and dashes", "02:ab:cd-ef:09:f0", false},
		{"dashes and colons", "02-ab-cd:ef-09-f0", false},
		{"dots", "02.ab.cd.ef.09.f0", false},
		{"Cisco's dots", "02ab.cdef.09f0", false},
		{"no separators", "02abcdef09f0", false},
		{"one digit", "2:ab:cd:ef:9:f0", false},
		{"five octets", "02:ab:cd:ef:09", false},
		{"seven octets", "02:ab:cd:ef:09:f0:00", false},
		{"EUI-64", "02:ab:cd:ef:09:f0:00:00", false},
		{"not a digit first", "g2:ab:cd:ef:09:f0", false},
		{"not a digit last", "02:ab:cd:ef:09:fg", false},
		{"space in front", " 2:ab:cd:ef:09:f0", false},
		{"sign", "+2:ab:cd:ef:09:f0", false},
		{"17 bytes of other letters", "０2:ab:cd:ef:09:f", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := packet.ParseMAC(c.in)
			switch {
			case c.ok && (err != nil || got != want):
				t.Errorf("%v, %v", got, err)
			case !c.ok && (err == nil || got != packet.MAC{}):
				t.Errorf("%v, %v; want an error", got, err)
			case !c.ok && !strings.Contains(err.Error(), "02:00:00:00:00:01"):
				t.Errorf("the error gives no example: %v", err)
			}
		})
	}
}

func TestMACProperties(t *testing.T) {
	for _, c := range []struct {
		mac                    string
		number                 uint64
		group, broadcast, zero bool
	}{
		{"00:00:00:00:00:00", 0, false, false, true},
		{"00:00:00:00:00:01", 1, false, false, false},
		{"02:00:00:00:00:01", 0x0200_0000_0001, false, false, false},
		{"12:34:56:78:9a:bc", 0x1234_5678_9abc, false, false, false},
		{"fe:ff:ff:ff:ff:ff", 0xfeff_ffff_ffff, false, false, false},
		{"01:00:5e:00:00:fb", 0x0100_5e00_00fb, true, false, false},
		{"33:33:00:00:00:01", 0x3333_0000_0001, true, false, false},
		{"ff:ff:ff:ff:ff:ff", 0xffff_ffff_ffff, true, true, false},
	} {
		t.Run(c.mac, func(t *testing.T) {
			var m packet.MAC
			if err := m.UnmarshalText([]byte(c.mac)); err != nil {
				t.Fatal(err)
			}
			if m.Uint64() != c.number || packet.MACFrom(c.number|0xabcd<<48) != m {
				t.Errorf("the number is %#x, and back %v", m.Uint64(), packet.MACFrom(c.number))
			}
			if m.IsMulticast() != c.group || m.IsBroadcast() != c.broadcast || m.IsZero() != c.zero {
				t.Errorf("group %v, broadcast %v, zero %v", m.IsMulticast(), m.IsBroadcast(), m.IsZero())
			}
			if b, err := m.MarshalText(); string(b) != c.mac || err != nil || m.String() != c.mac {
				t.Errorf("text is %s, %v; string %s", b, err, m)
			}
		})
	}
}

func FuzzMAC(f *testing.F) {
	for _, s := range []string{"02:00:00:00:00:01", "AA-bb-cc-dd-ee-ff", "0200.0000.0001", "02:00:00:00:00:0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := packet.ParseMAC(s)
		if err != nil {
			return
		}
		if std, err := net.ParseMAC(s); err != nil || std.String() != m.String() {
			t.Errorf("%q is %v, package net says %v, %v", s, m, std, err)
		}
		if again, err := packet.ParseMAC(m.String()); err != nil || again != m {
			t.Errorf("%v parsed again is %v, %v", m, again, err)
		}
	})
}
