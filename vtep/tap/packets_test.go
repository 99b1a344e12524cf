package tap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep"
)

// packetDevices runs a test with a TUN device that is opened in each of the two ways.
func packetDevices(t *testing.T, f func(t *testing.T, s Spec)) {
	openers(t, func(t *testing.T, s Spec) {
		s.Name, s.Packets, s.MAC = "flannel.1", true, packet.MAC{2, 0, 0, 0, 0, 7}
		f(t, s)
	})
}

// datagram is an IPv4 packet of TCP with the given payload and only the
// pseudo-header's sum in its checksum field.
func datagram(payload int) []byte {
	b := make([]byte, 40+payload)
	b[0], b[8], b[9] = 0x45, 64, packet.ProtoTCP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], []byte{10, 9, 0, 1, 10, 9, 0, 2})
	b[20+12], b[20+13] = 5<<4, 0x10
	binary.BigEndian.PutUint16(b[10:], ^packet.Fold(packet.Sum(b[:20], 0)))
	binary.BigEndian.PutUint16(b[20+16:], packet.Fold(packet.Sum(b[12:20], uint64(packet.ProtoTCP)+uint64(20+payload))))
	for i := range payload {
		b[40+i] = byte(i)
	}
	return b
}

func TestPacketDevice(t *testing.T) {
	packetDevices(t, func(t *testing.T, s Spec) {
		s.Queues = 3
		d := open(t, s)
		if d.Queues() != 3 || d.MAC != s.MAC || !d.Packets() || d.Caps.VNetHdr != s.Offload || d.Queue(1) != d.Queue(1) || d.Queue(0) == d.Queue(1) {
			t.Errorf("device %+v", d)
		}
		must(t, d.Configure(Settings{MTU: 1300, Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/32")}, MAC: packet.MAC{2, 0, 0, 0, 0, 8}, Up: true}))
		if d.MAC[5] != 8 {
			t.Errorf("its MAC is %v", d.MAC)
		}
		out := ip(t, "-d", "addr", "show", "flannel.1")
		for _, want := range []string{"mtu 1300", "10.9.0.0/32", "link/none", "tun type tun", "UP", "qdisc noqueue"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
		if st, err := Look("flannel.1"); err != nil || st != (State{Index: d.Index, MTU: 1300, Up: true}) {
			t.Errorf("looks like %+v, %v", st, err)
		}
		must(t, d.Close())
		if _, err := Look("flannel.1"); !errors.Is(err, ErrGone) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestPacketDeviceIsQuiet: it has no address but those given, and sends
// nothing by itself.
func TestPacketDeviceIsQuiet(t *testing.T) {
	packetDevices(t, func(t *testing.T, s Spec) {
		ip(t, "link", "set", "lo", "up")
		d := open(t, s)
		defer d.Close()
		must(t, d.Configure(Settings{Up: true}))
		if out := ip(t, "-d", "link", "show", "flannel.1"); !strings.Contains(out, "addrgenmode none") {
			t.Errorf("it makes addresses: %s", out)
		}
	})
}

// TestPacketsCross sends packets each way, with and without work left to do.
// The host's side is a packet socket, which sees what is left.
func TestPacketsCross(t *testing.T) {
	packetDevices(t, func(t *testing.T, s Spec) {
		d := open(t, s)
		defer d.Close()
		must(t, d.Configure(Settings{Up: true}))
		host := packetSocket(t, d.Index)
		must(t, unix.SetsockoptInt(host, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1))
		for name, c := range map[string]struct {
			packet []byte
			gso    offload.GSO
		}{
			"IPv4":        {datagram(100), offload.GSO{}},
			"IPv6":        {append([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, make([]byte, 32)...), offload.GSO{}},
			"unfinished":  {datagram(100), offload.GSO{NeedsCsum: true, CsumStart: 14 + 20, CsumOffset: 16}},
			"super-frame": {datagram(5000), offload.GSO{Type: offload.TCPv4, NeedsCsum: true, Size: 1000, HdrLen: 14 + 40, CsumStart: 14 + 20, CsumOffset: 16}},
		} {
			if c.gso != (offload.GSO{}) && !s.Offload {
				continue
			}
			cross(t, name, d.Queue(0), host, d.Index, c.packet, c.gso)
		}
	})
}

func cross(t *testing.T, name string, q vtep.Port, host, index int, body []byte, gso offload.GSO) {
	t.Helper()
	header := make([]byte, 14)
	packet.PutBareEthernet(header, body[0])
	// To the host, with addresses that it never sees.
	addressed := append(bytes.Repeat([]byte{2}, 12), header[12:]...)
	must(t, q.Write(gso, [][]byte{append(addressed, body[:40]...), body[40:]}))
	got := make([]byte, 1<<16)
	n, _, err := unix.Recvfrom(host, got, 0)
	must(t, err)
	inHost := gso
	if gso.NeedsCsum {
		inHost.CsumStart -= 14
	}
	if gso.Type != offload.None {
		inHost.HdrLen -= 14
	}
	var left offload.GSO
	must(t, left.Decode(got))
	left.HdrLen = inHost.HdrLen // a hint: the kernel says what it likes
	if !bytes.Equal(got[offload.HdrLen:n], body) || left != inHost {
		t.Errorf("%s: the host got %x %+v, want %+v", name, got[offload.HdrLen:min(n, 80)], left, inHost)
	}
	// From the host.
	out := make([]byte, offload.HdrLen, offload.HdrLen+len(body))
	inHost.Encode(out)
	to := unix.SockaddrLinklayer{Ifindex: index, Protocol: uint16(header[13])<<8 | uint16(header[12])}
	must(t, unix.Sendto(host, append(out, body...), 0, &to))
	f := offload.Frame{Buf: bytes.Repeat([]byte{0xa5}, offload.Headroom+offload.MaxFrame)}
	waitRead(t, q, &f)
	f.GSO.HdrLen, gso.HdrLen = 0, 0
	if !bytes.Equal(f.Bytes(), append(header, body...)) || f.Off < offload.Headroom || f.GSO != gso {
		t.Errorf("%s: read %x %+v with %d in front, want %+v", name, f.Bytes()[:min(f.Len, 80)], f.GSO, f.Off, gso)
	}
}

func TestPacketQueueRefuses(t *testing.T) {
	packetDevices(t, func(t *testing.T, s Spec) {
		d := open(t, s)
		defer d.Close()
		must(t, d.Configure(Settings{Up: true}))
		q := d.Queue(0)
		f := offload.Frame{Buf: make([]byte, offload.Headroom+offload.MaxFrame)}
		if err := q.Read(&f); !errors.Is(err, vtep.ErrAgain) {
			t.Errorf("reading from a silent device: %v", err)
		}
		for name, pieces := range map[string][][]byte{
			"nothing": nil, "no packet": {make([]byte, 14)}, "half a header": {make([]byte, 10), make([]byte, 60)},
			"no IP": {append(make([]byte, 14), 0x55, 0, 0)},
		} {
			if err := q.Write(offload.GSO{}, pieces); !errors.Is(err, unix.EINVAL) {
				t.Errorf("%s: %v", name, err)
			}
		}
		ip(t, "link", "del", "flannel.1")
		if err := q.Read(&f); !errors.Is(err, unix.EBADFD) {
			t.Errorf("reading from a device that was deleted: %v", err)
		}
	})
}

// TestPacketQueueAllocatesNothing in either direction.
func TestPacketQueueAllocatesNothing(t *testing.T) {
	packetDevices(t, func(t *testing.T, s Spec) {
		d := open(t, s)
		defer d.Close()
		must(t, d.Configure(Settings{Up: true}))
		q := d.Queue(0)
		pieces := [][]byte{append(make([]byte, 14), datagram(100)...)}
		f := offload.Frame{Buf: make([]byte, offload.Headroom+offload.MaxFrame)}
		if n := testing.AllocsPerRun(100, func() {
			if q.Write(offload.GSO{}, pieces) != nil || !errors.Is(q.Read(&f), vtep.ErrAgain) {
				t.Error("not written, or something was there to read")
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestExistingPacketDevices(t *testing.T) {
	for name, c := range map[string]struct {
		add  []string
		want string // "" for one that is attached to
	}{
		"a TAP":                {[]string{"tuntap", "add", "dev", "x0", "mode", "tap", "multi_queue"}, "it is a TAP device"},
		"a bridge":             {[]string{"link", "add", "name", "x0", "type", "bridge"}, "it is no TUN device"},
		"a TUN of one queue":   {[]string{"tuntap", "add", "dev", "x0", "mode", "tun"}, "without multi_queue"},
		"a TUN of many queues": {[]string{"tuntap", "add", "dev", "x0", "mode", "tun", "multi_queue"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			packetDevices(t, func(t *testing.T, s Spec) {
				ip(t, c.add...)
				s.Name, s.Persist, s.Queues = "x0", true, 1
				d, err := Open(s)
				if err == nil {
					if d.MAC != s.MAC {
						t.Errorf("its MAC is %v", d.MAC)
					}
					must(t, d.Close())
				}
				if (err == nil) != (c.want == "") || err != nil && s.Offload && !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %q", err, c.want)
				}
			})
		})
	}
}
