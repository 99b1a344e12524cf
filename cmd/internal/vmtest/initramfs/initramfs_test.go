package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestArchiveIsWhatCpioWrites compares with testdata/archive.cpio, which GNU
// cpio 2.13 wrote of the same tree (-o -H newc --reproducible -R 0:0, all times
// at the epoch).
func TestArchiveIsWhatCpioWrites(t *testing.T) {
	want, err := os.ReadFile("testdata/archive.cpio")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	a := newArchive(&got)
	a.symlink("bin/alias", "tool")
	a.file("bin/tool", 0o755, []byte("hello\n"))
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.Bytes()); diff != "" {
		t.Errorf("not the bytes of cpio (-) but (+):\n%s", diff)
	}
}

func TestArchiveHasEachDirectoryOnceAndBeforeItsContent(t *testing.T) {
	var got bytes.Buffer
	a := newArchive(&got)
	a.file("a/b/one", 0o644, nil)
	a.file("a/b/two", 0o644, nil)
	a.file("a/three", 0o644, nil)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, part := range strings.Split(got.String(), "070701")[1:] {
		names = append(names, strings.TrimRight(part[13*8:], "\x00"))
	}
	if diff := cmp.Diff([]string{"a", "a/b", "a/b/one", "a/b/two", "a/three", "TRAILER!!!"}, names); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

// full takes so many bytes and then has no room.
type full struct{ room int }

var errFull = errors.New("no room")

func (f *full) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestArchiveReportsTheFirstErrorAtItsEnd(t *testing.T) {
	a := newArchive(&full{room: 200})
	for i := range 10 {
		a.file(fmt.Sprintf("file%d", i), 0o644, []byte("body"))
	}
	if err := a.close(); !errors.Is(err, errFull) {
		t.Errorf("close returned %v", err)
	}
}

func TestModuleName(t *testing.T) {
	for file, want := range map[string]string{
		"/lib/modules/6.1/kernel/drivers/net/tun.ko":     "tun",
		"kernel/drivers/char/hw_random/virtio-rng.ko":    "virtio_rng",
		"kernel/drivers/net/vxlan/vxlan.ko.xz":           "vxlan",
		"kernel/modules.order":                           "",
		"kernel/drivers/net/vxlan/vxlan.ko.xz.signature": "",
	} {
		if got := moduleName(file); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
}

func TestNeeds(t *testing.T) {
	for _, tt := range []struct {
		name, modinfo string
		want          []string
		refused       bool
	}{
		{name: "two modules", modinfo: "license=GPL\x00depends=udp_tunnel,ip6_udp_tunnel\x00name=vxlan\x00", want: []string{"udp_tunnel", "ip6_udp_tunnel"}},
		{name: "nothing", modinfo: "depends=\x00name=tun\x00"},
		{name: "a file's name with a dash", modinfo: "depends=virtio-ring\x00", want: []string{"virtio_ring"}},
		{name: "no word of it", modinfo: "license=GPL\x00", refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := needs([]byte(tt.modinfo))
			if (err != nil) != tt.refused {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadOrder(t *testing.T) {
	kernel := map[string][]string{
		"virtio": nil, "virtio_ring": {"virtio"}, "virtio_pci": {"virtio_ring", "virtio"},
		"failover": nil, "net_failover": {"failover"}, "virtio_net": {"virtio", "net_failover", "virtio_ring"},
		"tun": nil, "udp_tunnel": nil, "ip6_udp_tunnel": {"udp_tunnel"}, "vxlan": {"ip6_udp_tunnel", "udp_tunnel"},
		"egg": {"hen"}, "hen": {"egg"}, "orphan": {"gone"},
	}
	read := func(name string) ([]string, error) {
		needs, found := kernel[name]
		if !found {
			return nil, fmt.Errorf("no module %s", name)
		}
		return needs, nil
	}
	for _, tt := range []struct {
		name    string
		wanted  []string
		count   int
		refusal string
	}{
		{name: "alone", wanted: []string{"tun"}, count: 1},
		{name: "with what it needs", wanted: []string{"vxlan"}, count: 3},
		{name: "all that the machines load", wanted: []string{"virtio_pci", "virtio_net", "tun", "vxlan"}, count: 10},
		{name: "twice", wanted: []string{"vxlan", "udp_tunnel", "vxlan"}, count: 3},
		{name: "a circle", wanted: []string{"hen"}, refusal: "module hen needs itself (needed by egg) (needed by hen)"},
		{name: "what it needs is not there", wanted: []string{"orphan"}, refusal: "no module gone (needed by orphan)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			order, err := loadOrder(tt.wanted, read)
			if tt.refusal != "" {
				if err == nil || err.Error() != tt.refusal {
					t.Fatalf("error %v, want %s", err, tt.refusal)
				}
				return
			}
			if err != nil || len(order) != tt.count {
				t.Fatalf("order %v, error %v; want %d modules", order, err, tt.count)
			}
			for i, name := range order {
				for _, n := range kernel[name] {
					if at := slices.Index(order, n); at < 0 || at > i {
						t.Errorf("%s comes before %s, which it needs: %v", name, n, order)
					}
				}
			}
			for _, name := range tt.wanted {
				if !slices.Contains(order, name) {
					t.Errorf("%s is missing: %v", name, order)
				}
			}
		})
	}
}

func TestDependency(t *testing.T) {
	got, err := dependency("linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-56-cloud-amd64\n")
	if err != nil || got != "linux-image-6.1.0-56-cloud-amd64" {
		t.Errorf("%q, error %v", got, err)
	}
	if got, err := dependency("linux-image-cloud-amd64\n"); err == nil {
		t.Errorf("a kernel out of nothing: %q", got)
	}
}

// TestLibrariesOfAProgram asks ldd, which is the dynamic linker itself, what a
// program with many libraries loads.
func TestLibrariesOfAProgram(t *testing.T) {
	program, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("ldd", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllStringSubmatch(string(text), -1) {
		want = append(want, m[1])
	}
	got, err := libraries(program)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(want) < 5 {
		t.Errorf("not what ldd says (-) but (+):\n%s", diff)
	}
}

// pack makes a Debian package of empty files.
func pack(t *testing.T, files ...string) string {
	t.Helper()
	tree, deb := t.TempDir(), filepath.Join(t.TempDir(), "kernel_1.0_amd64.deb")
	write(t, filepath.Join(tree, "DEBIAN/control"), "Package: kernel\nVersion: 1.0\nArchitecture: amd64\nMaintainer: nobody\nDescription: none\n")
	for _, name := range files {
		write(t, filepath.Join(tree, name), "")
	}
	if text, err := exec.Command("dpkg-deb", "-b", tree, deb).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return deb
}

func write(t *testing.T, file, body string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestUnpack(t *testing.T) {
	for _, tt := range []struct {
		name    string
		files   []string
		modules string // empty: refused
	}{
		{"modules in /lib", []string{"boot/vmlinuz-6.1", "lib/modules/6.1/tun.ko"}, "lib/modules/6.1"},
		{"modules in /usr/lib", []string{"boot/vmlinuz-6.12", "usr/lib/modules/6.12/tun.ko"}, "usr/lib/modules/6.12"},
		{"no kernel", []string{"lib/modules/6.1/tun.ko"}, ""},
		{"no modules", []string{"boot/vmlinuz-6.1"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "unpacked")
			k, err := Unpack(t.Context(), pack(t, tt.files...), folder)
			if tt.modules == "" {
				if err == nil {
					t.Errorf("took %+v for a kernel", k)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := &Kernel{
				Package: "kernel_1.0_amd64.deb", Image: filepath.Join(folder, tt.files[0]),
				Modules: filepath.Join(folder, tt.modules),
			}
			if diff := cmp.Diff(want, k); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
