package tap

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep"
)

// inNamespace runs a test in a network namespace of its own, which goes with
// it. The namespace is its thread's: f must not start sub-tests, which have
// others.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal("network namespaces take root")
	}
	runtime.LockOSThread()
	old, err := netns.Get()
	must(t, err)
	ns, err := netns.New()
	must(t, err)
	defer func() {
		must(t, ns.Close())
		must(t, netns.Set(old))
		must(t, old.Close())
		runtime.UnlockOSThread()
	}()
	// It says nothing by itself then.
	must(t, os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0))
	f(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ip runs ip(8) in the test's namespace, which its thread is in.
func ip(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func open(t *testing.T, s Spec) *Device {
	t.Helper()
	if s.Queues == 0 {
		s.Queues = 1
	}
	d, err := Open(s)
	must(t, err)
	return d
}

// openers runs a test with each of the two ways to open a device.
func openers(t *testing.T, f func(t *testing.T, s Spec)) {
	for _, on := range []bool{false, true} {
		t.Run(fmt.Sprintf("super-frames %v", on), func(t *testing.T) {
			inNamespace(t, func(t *testing.T) { f(t, Spec{Name: "tap0", Offload: on}) })
		})
	}
}

func TestOpenConfigureClose(t *testing.T) {
	openers(t, func(t *testing.T, s Spec) {
		s.Queues, s.MAC = 3, packet.MAC{2, 0, 0, 0, 0, 7}
		d := open(t, s)
		if d.Queues() != 3 || d.MAC != s.MAC || d.Index == 0 {
			t.Errorf("device %+v", d)
		}
		if d.Caps.VNetHdr != s.Offload || d.Queue(2).Caps() != d.Caps {
			t.Errorf("device %+v, queue %+v", d.Caps, d.Queue(2).Caps())
		}
		if out := ip(t, "link", "show", "tap0"); strings.Contains(out, "UP") {
			t.Errorf("up before it was asked for: %s", out)
		}
		must(t, d.Configure(Settings{MTU: 1300, Addresses: []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}, Up: true}))
		out := ip(t, "-d", "addr", "show", "tap0")
		for _, want := range []string{"mtu 1300", "10.9.0.1/24", "02:00:00:00:00:07", "UP", "persist off", "qdisc noqueue"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
		st, err := Look("tap0")
		if want := (State{Index: d.Index, MTU: 1300, MAC: s.MAC, Up: true}); err != nil || st != want {
			t.Errorf("looks like %+v, %v; want %+v", st, err, want)
		}
		must(t, d.Close())
		must(t, d.Close()) // harmless
		if _, err := Look("tap0"); !errors.Is(err, ErrGone) {
			t.Errorf("after Close: %v", err)
		}
		if err := d.Configure(Settings{MTU: 1400}); !errors.Is(err, ErrGone) {
			t.Errorf("configuring a device that is gone: %v", err)
		}
	})
}

// TestFramesCross sends a frame each way.
func TestFramesCross(t *testing.T) {
	openers(t, func(t *testing.T, s Spec) {
		s.MAC = packet.MAC{2, 0, 0, 0, 0, 7}
		d := open(t, s)
		defer d.Close()
		must(t, d.Configure(Settings{Up: true}))
		q := d.Queue(0)
		f := offload.Frame{Buf: make([]byte, offload.Headroom+offload.MaxFrame)}
		if err := q.Read(&f); !errors.Is(err, vtep.ErrAgain) {
			t.Errorf("reading from a silent device: %v", err)
		}
		host := packetSocket(t, d.Index)
		frame := append([]byte{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 7, 0x88, 0xb5}, bytes.Repeat([]byte{0xa5}, 100)...)
		to := unix.SockaddrLinklayer{Ifindex: d.Index}
		must(t, unix.Sendto(host, frame, 0, &to))
		waitRead(t, q, &f)
		if !bytes.Equal(f.Bytes(), frame) || f.Off < offload.Headroom || f.GSO != (offload.GSO{}) {
			t.Errorf("read %x with %d in front, %+v", f.Bytes(), f.Off, f.GSO)
		}
		copy(frame, []byte{2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 9})
		must(t, q.Write(offload.GSO{}, [][]byte{frame[:10], frame[10:50], frame[50:]}))
		got := make([]byte, 2000)
		n, _, err := unix.Recvfrom(host, got, 0)
		if err != nil || !bytes.Equal(got[:n], frame) {
			t.Errorf("the host got %x, %v", got[:n], err)
		}
		if err := q.Write(offload.GSO{}, make([][]byte, maxPieces+1)); !errors.Is(err, unix.EINVAL) {
			t.Errorf("too many pieces: %v", err)
		}
		must(t, d.Configure(Settings{}))
		ip(t, "link", "set", "tap0", "down")
		if err := q.Write(offload.GSO{}, [][]byte{frame}); !errors.Is(err, unix.EIO) {
			t.Errorf("writing into a device that is down: %v", err)
		}
		ip(t, "link", "del", "tap0")
		if err := q.Read(&f); !errors.Is(err, unix.EBADFD) {
			t.Errorf("reading from a device that was deleted: %v", err)
		}
	})
}

// packetSocket gets what comes in by a device, and sends from it.
func packetSocket(t *testing.T, index int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Close(fd)) })
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	must(t, unix.SetsockoptInt(fd, unix.SOL_PACKET, 23, 1)) // PACKET_IGNORE_OUTGOING
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index, Protocol: unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8}))
	return fd
}

func waitRead(t *testing.T, q vtep.Port, f *offload.Frame) {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(q.FD()), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int((5 * time.Second).Milliseconds())); n != 1 || err != nil {
		t.Fatalf("no frame came: %v", err)
	}
	must(t, q.Read(f))
}

func TestSuperFramesAreOffered(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d := open(t, Spec{Name: "tap0", Offload: true, Queues: 2})
		defer d.Close()
		// Linux 6.2 and later take all; this names what is missing where not.
		if d.Caps != (offload.Caps{VNetHdr: true, TSO: true, USO: true}) && d.Why == "" {
			t.Errorf("caps %+v and no word why", d.Caps)
		}
	})
}

func TestNames(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		for _, name := range []string{"", "sixteen-bytes-xx", "with space", "a/b", "tap%d", "tab\t"} {
			if d, err := Open(Spec{Name: name, Queues: 1}); err == nil {
				d.Close()
				t.Errorf("%q was taken", name)
			}
		}
		for _, on := range []bool{false, true} {
			d := open(t, Spec{Name: "fifteen-bytes-x", Offload: on})
			must(t, d.Close())
		}
		if out := ip(t, "-br", "link"); strings.Count(out, "\n") != 1 {
			t.Errorf("more than lo is there: %s", out)
		}
	})
}

func TestExistingDevices(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		add        []string
		attach     bool
	}{
		{"a bridge", "bridge", []string{"link", "add", "name", "x0", "type", "bridge"}, false},
		{"a veth", "veth", []string{"link", "add", "x0", "type", "veth", "peer", "name", "x1"}, false},
		{"a vxlan", "vxlan", []string{"link", "add", "x0", "type", "vxlan", "id", "7", "dstport", "4789"}, false},
		{"a TUN", "tun", []string{"tuntap", "add", "dev", "x0", "mode", "tun"}, false},
		{"a TAP of one queue", "tun", []string{"tuntap", "add", "dev", "x0", "mode", "tap"}, false},
		{"a TAP of many queues", "tun", []string{"tuntap", "add", "dev", "x0", "mode", "tap", "multi_queue"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) {
				ip(t, c.add...)
				for _, on := range []bool{false, true} {
					s := Spec{Name: "x0", Queues: 1, Offload: on}
					_, err := Open(s)
					var exists *ErrExists
					if !errors.As(err, &exists) || exists.Kind != c.kind {
						t.Errorf("not persistent: %v", err)
					}
					s.Persist = true
					d, err := Open(s)
					if (err == nil) != c.attach {
						t.Errorf("persistent: error %v", err)
					}
					if err == nil {
						must(t, d.Close())
					}
					if _, err := Look("x0"); err != nil {
						t.Errorf("the device is gone: %v", err)
					}
				}
			})
		})
	}
}

// TestFoundDeviceIsLeftAsFound attaches to a device, changes it, and gives it
// back.
func TestFoundDeviceIsLeftAsFound(t *testing.T) {
	openers(t, func(t *testing.T, s Spec) {
		ip(t, "tuntap", "add", "dev", "tap0", "mode", "tap", "multi_queue")
		ip(t, "link", "set", "tap0", "mtu", "1400", "address", "02:00:00:00:00:01")
		ip(t, "addr", "add", "10.8.0.1/24", "dev", "tap0")
		for _, br := range []string{"br0", "br1"} {
			ip(t, "link", "add", "name", br, "type", "bridge")
		}
		ip(t, "link", "set", "tap0", "master", "br0")
		before := ip(t, "-d", "-o", "addr", "show", "tap0")
		s.Persist, s.MAC = true, packet.MAC{2, 0, 0, 0, 0, 7}
		d := open(t, s)
		if d.MAC != (packet.MAC{2, 0, 0, 0, 0, 1}) {
			t.Errorf("its MAC became %v", d.MAC)
		}
		ours := []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24"), netip.MustParsePrefix("10.8.0.1/24")}
		must(t, d.Configure(Settings{MTU: 1300, MAC: s.MAC, Bridge: "br1", Addresses: ours, Up: true}))
		out := ip(t, "-d", "addr", "show", "tap0")
		for _, want := range []string{"mtu 1300", "master br1", "10.9.0.1/24", "02:00:00:00:00:07"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %s", want, out)
			}
		}
		must(t, d.Close())
		if after := ip(t, "-d", "-o", "addr", "show", "tap0"); after != before {
			t.Errorf("before %s\nafter  %s", before, after)
		}
	})
}

func TestSettings(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		d := open(t, Spec{Name: "tap0"})
		defer d.Close()
		a := []netip.Prefix{netip.MustParsePrefix("10.9.0.1/24")}
		ip(t, "link", "add", "name", "br0", "type", "bridge")
		must(t, d.Configure(Settings{Addresses: a, Bridge: "br0"}))
		must(t, d.Configure(Settings{Addresses: a, Bridge: "br0"})) // the same again
		must(t, d.Configure(Settings{Gone: a, NoBridge: true}))
		must(t, d.Configure(Settings{Gone: a, NoBridge: true}))
		if out := ip(t, "addr", "show", "tap0"); strings.Contains(out, "10.9.0.1") || strings.Contains(out, "br0") {
			t.Errorf("device: %s", out)
		}
		for want, s := range map[string]Settings{
			"bridge br7":      {Bridge: "br7"},
			"not a bridge":    {Bridge: "lo"},
			"set mtu 9999999": {MTU: 9999999},
			"set address":     {MAC: packet.MAC{1, 0, 0, 0, 0, 1}},
		} {
			if err := d.Configure(s); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", s, err, want)
			}
		}
	})
}

func TestPersistence(t *testing.T) {
	openers(t, func(t *testing.T, s Spec) {
		s.Persist = true
		d := open(t, s)
		must(t, d.Close())
		d = open(t, s) // it is there, and found
		must(t, d.SetPersist(false))
		must(t, d.Close())
		if _, err := Look("tap0"); !errors.Is(err, ErrGone) {
			t.Errorf("it is still there: %v", err)
		}
		s.Persist = false
		d = open(t, s)
		must(t, d.SetPersist(true))
		must(t, d.Close())
		if _, err := Look("tap0"); err != nil {
			t.Error(err)
		}
	})
}

// TestChildrenInheritNothing: a descriptor in a child would keep the device
// alive after us.
func TestChildrenInheritNothing(t *testing.T) {
	openers(t, func(t *testing.T, s Spec) {
		s.Queues = 2
		d := open(t, s)
		defer d.Close()
		out, err := exec.Command("sh", "-c", "ls -l /proc/self/fd").Output()
		must(t, err)
		if strings.Contains(string(out), "tun") {
			t.Errorf("the child has it open:\n%s", out)
		}
		if got := tuns(t); len(got) != 2 {
			t.Errorf("descriptors %v for 2 queues", got)
		}
	})
}

// tuns are the descriptors of /dev/net/tun that the process has.
func tuns(t *testing.T) (out []string) {
	t.Helper()
	own, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range own {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.Contains(to, "tun") {
			out = append(out, e.Name())
		}
	}
	return out
}

// TestFailedOpenLeavesNothing: neither a descriptor nor a device.
func TestFailedOpenLeavesNothing(t *testing.T) {
	openers(t, func(t *testing.T, s Spec) {
		ip(t, "tuntap", "add", "dev", "held", "mode", "tap")
		for _, s := range []Spec{
			{Name: "tap0", Queues: 1, Offload: s.Offload, MAC: packet.MAC{1, 0, 0, 0, 0, 1}}, // a multicast MAC
			{Name: "tap0", Queues: 300, Offload: s.Offload},                                  // the kernel has 256 at most
			{Name: "tap0", Queues: 0, Offload: s.Offload},
			{Name: "held", Queues: 1, Offload: s.Offload, Persist: true}, // by somebody, without multi_queue
		} {
			if d, err := Open(s); err == nil {
				d.Close()
				t.Errorf("%+v was opened", s)
			}
		}
		if _, err := Look("tap0"); !errors.Is(err, ErrGone) {
			t.Errorf("a device is left: %v", err)
		}
		if got := tuns(t); len(got) != 0 {
			t.Errorf("descriptors %v are left", got)
		}
	})
}
