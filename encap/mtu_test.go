package encap_test

import (
	"testing"

	"pgregory.net/rapid"

	"vtepd/encap"
)

func TestMTU(t *testing.T) {
	for _, c := range []struct {
		path           int
		v6             bool
		overlay, frame int
	}{
		{1500, false, 1450, 1464},
		{1500, true, 1430, 1444},
		{9000, false, 8950, 8964},
		{9000, true, 8930, 8944},
		{1280, true, 1210, 1224},
		{68, false, 18, 32},
		{65535, false, 65485, 65499},
		{0, false, -50, -36}, // nothing fits
	} {
		if o, f := encap.OverlayMTU(c.path, c.v6), encap.FrameLimit(c.path, c.v6); o != c.overlay || f != c.frame {
			t.Errorf("path MTU %d, IPv6 %v: overlay MTU %d and frames of %d, want %d and %d", c.path, c.v6, o, f, c.overlay, c.frame)
		}
	}
}

// TestLargestFrameFillsThePath holds the arithmetic against the length of the
// headers that are really sent.
func TestLargestFrameFillsThePath(t *testing.T) {
	for v6, o := range map[bool]encap.Outer{false: outerV4(), true: outerV6()} {
		tmpl, err := encap.NewTemplate(o)
		must(t, err)
		packet := tmpl.Len() - 14 + encap.FrameLimit(1500, v6)
		if packet != 1500 {
			t.Errorf("IPv6 %v: the largest frame makes an outer packet of %d bytes on a path of 1500", v6, packet)
		}
	}
}

func TestPortRange(t *testing.T) {
	for _, c := range []struct {
		r    encap.PortRange
		size int
		hash uint16
		want uint16
	}{
		{encap.PortRange{Min: 49152, Max: 65535}, 16384, 0, 49152},
		{encap.PortRange{Min: 49152, Max: 65535}, 16384, 65535, 65535},
		{encap.PortRange{Min: 49152, Max: 65535}, 16384, 32768, 57344},
		{encap.PortRange{Min: 0, Max: 65535}, 65536, 65535, 65535},
		{encap.PortRange{Min: 0, Max: 65535}, 65536, 12345, 12345},
		{encap.PortRange{Min: 5000, Max: 5000}, 1, 0, 5000},
		{encap.PortRange{Min: 5000, Max: 5000}, 1, 65535, 5000},
		{encap.PortRange{Min: 5000, Max: 5002}, 3, 21845, 5000},
		{encap.PortRange{Min: 5000, Max: 5002}, 3, 21846, 5001},
	} {
		if n, p := c.r.Size(), c.r.Pick(c.hash); n != c.size || p != c.want {
			t.Errorf("%v: %d ports, want %d; hash %d picks %d, want %d", c.r, n, c.size, c.hash, p, c.want)
		}
	}
}

// TestPickIsEven: every port of a range gets as many of all hashes as any
// other, but for one.
func TestPickIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint16().Draw(t, "a"), rapid.Uint16().Draw(t, "b")
		r := encap.PortRange{Min: min(a, b), Max: max(a, b)}
		counts := make([]int, r.Size())
		for h := range 1 << 16 {
			p := r.Pick(uint16(h))
			if p < r.Min || p > r.Max {
				t.Fatalf("hash %d picks %d", h, p)
			}
			counts[p-r.Min]++
		}
		fair := 1 << 16 / r.Size()
		for i, n := range counts {
			if n != fair && n != fair+1 {
				t.Fatalf("port %d is picked by %d hashes, fair is %d", int(r.Min)+i, n, fair)
			}
		}
	})
}
