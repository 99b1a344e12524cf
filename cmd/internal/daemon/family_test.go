package daemon

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/drop"
)

// TestReloadToTheOtherFamily takes the segment's IPv4 address away under a
// remote that an operator added over IPv4: there is no path to it any more, and
// nothing may be sent by the sockets that were given back. The path is there
// again when the address is.
func TestReloadToTheOtherFamily(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ip(t, "link", "add", "u0", "type", "veth", "peer", "name", "u1")
		ip(t, "link", "set", "u1", "up")
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "u0")
		ip(t, "addr", "add", "2001:db8::1/64", "dev", "u0", "nodad")
		ip(t, "link", "set", "u0", "up")
		const v4 = "underlay: {local: 192.0.2.1}\nsegments: [{vni: 42, remotes: [192.0.2.2]}]\n"
		const v6 = "underlay: {local: '2001:db8::1'}\nsegments: [{vni: 42, remotes: ['2001:db8::2']}]\n"
		next := v6
		d, _ := start(t, v4, func() (*config.Config, error) { return config.Parse("test.yaml", []byte(next)) })
		defer func() { must(t, d.Close()) }()
		extra := netip.MustParseAddr("192.0.2.9")
		_, err := d.RemoteChange(api.RemoteChange{Op: api.OpAdd, IP: extra})
		must(t, err)
		reload := func(text string) {
			next = text
			_, err := d.Reload(t.Context())
			must(t, err)
		}
		sent := func() uint64 {
			for _, r := range d.running()[0].engine.Remotes() {
				if r.VTEP().Addr == extra {
					return r.Counters().Tx.Frames
				}
			}
			t.Fatalf("%v is gone", extra)
			return 0
		}
		until := func(what string, f func() bool) {
			for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("never: %s", what)
				}
				poke(t, "vx42")
			}
		}
		until("sent to the extra remote", func() bool { return sent() > 0 })
		reload(v6)
		failed := func() uint64 { return d.running()[0].engine.Counters().DropsTx[drop.SendFailed] }
		dropped, was := failed(), sent()
		until("a copy without a path is counted", func() bool { return failed() > dropped })
		if now := sent(); now != was {
			t.Errorf("%d frames left for a remote without a path", now-was)
		}
		reload(v4)
		until("sent to the extra remote again", func() bool { return sent() > was })
	})
}

// poke broadcasts a frame from the host into a device.
func poke(t *testing.T, dev string) {
	t.Helper()
	ifi, err := net.InterfaceByName(dev)
	must(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5}, make([]byte, 46)...)
	must(t, errors.Join(unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}), unix.Close(fd)))
}
