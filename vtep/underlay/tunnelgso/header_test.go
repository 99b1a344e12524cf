package tunnelgso

import (
	"encoding/hex"
	"testing"

	"vtepd/encap"
	"vtepd/encap/offload"
)

// TestPutHeader has headers as the kernel's drivers/net/tun_vnet.h and
// include/linux/virtio_net.h (virtio_net_hdr_tnl_to_skb) take them.
func TestPutHeader(t *testing.T) {
	tcp := offload.GSO{Type: offload.TCPv4, NeedsCsum: true, Size: 1398, HdrLen: 66, CsumStart: 34, CsumOffset: 16}
	for _, c := range []struct {
		name     string
		gso      offload.GSO
		v6       bool
		overhead int
		l4, l3   int
		want     string // flags, type, hdr_len, gso_size, csum_start, csum_offset; the rest; outer_th, inner_nh
	}{
		{"TCP over IPv4", tcp, false, encap.OverheadV4, 34, 14, "0921 7400 7605 5400 1000 0000 0000 0000 0000 0000 2200 4000"},
		{"TCP over IPv6", tcp, true, encap.OverheadV6, 54, 14, "0941 8800 7605 6800 1000 0000 0000 0000 0000 0000 3600 5400"},
		{"TCP with ECN", offload.GSO{Type: offload.TCPv6, ECN: true, NeedsCsum: true, Size: 1378, HdrLen: 86, CsumStart: 54, CsumOffset: 16},
			false, encap.OverheadV4, 34, 14, "09a4 8800 6205 6800 1000 0000 0000 0000 0000 0000 2200 4000"},
		{"tagged UDP", offload.GSO{Type: offload.UDP, NeedsCsum: true, Size: 1000, HdrLen: 46, CsumStart: 38, CsumOffset: 6},
			false, encap.OverheadV4, 34, 18, "0925 6000 e803 5800 0600 0000 0000 0000 0000 0000 2200 4400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := [HdrLen]byte{10: 0xff, 19: 0xff} // what was there before
			PutHeader(b[:], &c.gso, c.v6, c.overhead, c.l4, c.l3)
			got := hex.EncodeToString(b[:])
			var spaced []byte
			for i := 0; i < len(got); i += 4 {
				spaced = append(append(spaced, got[i:i+4]...), ' ')
			}
			if s := string(spaced[:len(spaced)-1]); s != c.want {
				t.Errorf("\ngot  %s\nwant %s", s, c.want)
			}
		})
	}
}

func TestPutHeaderDoesNotAllocate(t *testing.T) {
	b := make([]byte, HdrLen)
	gso := offload.GSO{Type: offload.TCPv4, NeedsCsum: true}
	if n := testing.AllocsPerRun(100, func() { PutHeader(b, &gso, false, 50, 34, 14) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
