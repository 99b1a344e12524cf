package fastpath

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestObjectIsOfItsSource: whoever changes bpf/fastpath.c runs `make bpf`.
func TestObjectIsOfItsSource(t *testing.T) {
	source, err := os.ReadFile("bpf/fastpath.c")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Section(".source").Data()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(source)
	if want := hex.EncodeToString(sum[:]); string(bytes.TrimRight(got, "\x00")) != want {
		t.Errorf("fastpath.o was compiled from another fastpath.c (%s, not %s): run `make bpf`", got, want)
	}
}

// TestLayout holds the structs of layout.go to those that the object describes.
func TestLayout(t *testing.T) {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uintptr{
		"remotes":  {4, unsafe.Sizeof(remoteValue{})},
		"peers":    {unsafe.Sizeof(peerKey{}), 4},
		"macs":     {unsafe.Sizeof(macKey{}), unsafe.Sizeof(macValue{})},
		"traffics": {4, unsafe.Sizeof(trafficValue{})},
	} {
		m := spec.Maps[name]
		if got := [2]uintptr{uintptr(m.KeySize), uintptr(m.ValueSize)}; got != want {
			t.Errorf("%s: keys and values of %v bytes, layout.go has %v", name, got, want)
		}
	}
	if n := spec.Maps["remotes"].MaxEntries; n != MaxRemotes {
		t.Errorf("room for %d remotes, MaxRemotes is %d", n, MaxRemotes)
	}
}

// namespace gives the test's thread an empty network namespace, which ends with
// it, with loopback up and two devices. It returns their indexes.
func namespace(t *testing.T) (device, underlay int) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if os.Getenv("VTEPD_ROOT_TESTS") == "" {
			t.Skip("network namespaces take root; run `make test` as root")
		}
		t.Fatal(err)
	}
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "vx42"}, PeerName: "u0"}))
	indexes := make(map[string]int)
	for _, name := range []string{"lo", "vx42", "u0"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
		indexes[name] = l.Attrs().Index
	}
	return indexes["vx42"], indexes["u0"]
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
