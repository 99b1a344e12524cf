package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"vtepd/cmd/internal/lab"
	"vtepd/encap"
)

var update = flag.Bool("update", false, "write the captures in testdata/ anew, as root")

const dir = "../../../testdata"

// The MACs of the two ends of the wire.
const macA, macB = "02:00:00:00:01:01", "02:00:00:00:01:02"

// A recording is an entry of golden.json: how a capture was made, and what its
// outer headers must say.
type recording struct {
	File  string
	Link  string // arguments of `ip link add vx type vxlan`
	Vtepd string // arguments of `vtepd run` for the same
	VNI   uint32
	Port  uint16
	TTL   string
	TOS   string
	DF    string
	// Checksum is that of the outer UDP header.
	Checksum bool
}

func (r *recording) v6() bool { return strings.Contains(r.File, "ipv6") }

func recordings(t *testing.T) (all []recording) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &all))
	return all
}

// TestKernel plays the inner frames to a vxlan device of this kernel: it sends
// what the captures hold. With -update the captures are written.
func TestKernel(t *testing.T) {
	for _, r := range recordings(t) {
		if r.Link == "" {
			continue
		}
		t.Run(r.File, func(t *testing.T) {
			p := newPair(t, &r)
			p.run(t, append([]string{"ip", "link", "add", "vx", "type", "vxlan"}, strings.Fields(r.Link)...)...)
			p.run(t, "ip", "link", "set", "vx", "up")
			got := p.play(t, &r)
			if *update {
				write(t, r.File, got)
			}
			compare(t, &r, got)
		})
	}
}

// TestVtepd plays the inner frames to a vtepd: it sends what the kernel sent.
func TestVtepd(t *testing.T) {
	if *update {
		t.Skip("-update is for the captures of the kernel")
	}
	bin := t.TempDir()
	must(t, lab.Build(bin))
	for _, r := range recordings(t) {
		if r.Vtepd == "" {
			continue
		}
		t.Run(r.File, func(t *testing.T) {
			p := newPair(t, &r)
			_, err := p.a.Vtepd(bin, append(strings.Fields(r.Vtepd), "--device", "vx", "--vlan", "pass")...)
			must(t, err)
			compare(t, &r, p.play(t, &r))
		})
	}
}

// A pair is two hosts with a wire whose addresses are always the same.
type pair struct{ a, b *lab.Host }

func newPair(t *testing.T, r *recording) *pair {
	t.Helper()
	hosts := lab.Hosts(t, 2, lab.Wire{NoOffload: true})
	p := &pair{hosts[0], hosts[1]}
	p.run(t, "ip", "link", "set", "u0", "address", macA)
	_, err := p.b.Run("ip", "link", "set", "u0", "address", macB)
	must(t, err)
	p.run(t, "ip", "neigh", "replace", "192.0.2.2", "lladdr", macB, "dev", "u0", "nud", "permanent")
	p.run(t, "ip", "neigh", "replace", "2001:db8::2", "lladdr", macB, "dev", "u0", "nud", "permanent")
	// What comes later, vx, sends nothing of its own.
	p.run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
	// Somebody takes the datagrams: no answer that the port is unreachable.
	must(t, p.b.Do(func() error {
		c, err := net.ListenPacket("udp", fmt.Sprintf(":%d", r.Port))
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	}))
	return p
}

func (p *pair) run(t *testing.T, args ...string) {
	t.Helper()
	_, err := p.a.Run(args[0], args[1:]...)
	must(t, err)
}

// play sends the inner frames out of the device vx, and returns what arrives
// at the other end of the wire.
func (p *pair) play(t *testing.T, r *recording) [][]byte {
	t.Helper()
	frames := read(t, filepath.Join(dir, "inner.pcap"))
	file := p.b.File("golden.pcap")
	from := map[bool]string{false: "192.0.2.1", true: "2001:db8::1"}[r.v6()]
	capture, err := p.b.Capture("u0", file, "udp and src host "+from)
	must(t, err)
	raw, err := p.a.Raw("vx")
	must(t, err)
	defer raw.Close()
	for _, f := range frames {
		must(t, raw.Send(f))
	}
	must(t, lab.Until(10*time.Second, func() error {
		n, err := count(file)
		if n < len(frames) {
			return fmt.Errorf("%d of %d datagrams arrived (%w)", n, len(frames), err)
		}
		return nil
	}))
	must(t, capture.Stop())
	return read(t, file)
}

// compare holds datagrams against those of the kernel's capture: they must be
// the same in all that the sender does not choose freely. That is the IPv4 ID,
// the IPv6 flow label and the UDP source port, with the checksums that follow
// from them, which must be right; and the order of frames of different flows.
func compare(t *testing.T, r *recording, got [][]byte) {
	t.Helper()
	want := make(map[string][]byte)
	for _, b := range read(t, filepath.Join(dir, r.File+".pcap")) {
		want[string(inner(b))] = b
	}
	if len(want) != len(got) {
		t.Errorf("%d datagrams, want %d", len(got), len(want))
	}
	for i, b := range got {
		w := want[string(inner(b))]
		if w == nil {
			t.Errorf("datagram %d holds no frame that was sent: %x", i, b)
			continue
		}
		delete(want, string(inner(b)))
		if diff := cmp.Diff(masked(t, w), masked(t, b)); diff != "" {
			t.Errorf("datagram %d (-kernel +got):\n%s", i, diff)
		}
	}
}

// l4 is where the outer UDP header of a datagram starts.
func l4(datagram []byte) int {
	if datagram[12] == 8 {
		return 14 + 20
	}
	return 14 + 40
}

func inner(datagram []byte) []byte { return datagram[l4(datagram)+8+encap.HeaderLen:] }

// masked is the outer headers of a datagram without what the sender chooses.
// Their checksums must be right, or that of UDP zero.
func masked(t *testing.T, datagram []byte) []byte {
	t.Helper()
	b := bytes.Clone(datagram)
	ip, udp := b[14:l4(b)], b[l4(b):]
	addrs := ip[8:]
	if len(ip) == 20 {
		if s := sum(ip, 0); s != 0xffff {
			t.Errorf("IPv4 header checksum: the sum is %#x in %x", s, datagram)
		}
		addrs = ip[12:]
	}
	if udp[6] != 0 || udp[7] != 0 {
		if s := sum(udp, int(sum(addrs, 17+len(udp)))); s != 0xffff {
			t.Errorf("UDP checksum: the sum is %#x in %x", s, datagram)
		}
		udp[6], udp[7] = 1, 1
	}
	if len(ip) == 20 {
		ip[4], ip[5], ip[10], ip[11] = 0, 0, 0, 0
	} else {
		ip[1], ip[2], ip[3] = ip[1]&0xf0, 0, 0
	}
	udp[0], udp[1] = 0, 0
	return b[:len(b)-len(inner(b))]
}

// sum is the folded one's complement sum of RFC 1071.
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

// read returns the frames of a capture.
func read(t *testing.T, file string) (frames [][]byte) {
	t.Helper()
	must(t, each(file, func(b []byte) { frames = append(frames, bytes.Clone(b)) }))
	return frames
}

func count(file string) (n int, err error) {
	err = each(file, func([]byte) { n++ })
	return n, err
}

func each(file string, f func(b []byte)) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := encap.OpenCapture(bytes.NewReader(b))
	for err == nil {
		var one encap.Captured
		if one, err = c.Next(); err == nil {
			f(one.Data)
		}
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// write writes a capture whose times are always the same, and beside it what
// tshark reads in it.
func write(t *testing.T, name string, frames [][]byte) {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	must(t, w.WriteFileHeader(65535, layers.LinkTypeEthernet))
	for i, f := range frames {
		at := time.Date(2026, 1, 2, 3, 4, 5, i*1000, time.UTC)
		must(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(f), Length: len(f)}, f))
	}
	file := filepath.Join(dir, name+".pcap")
	must(t, os.WriteFile(file, b.Bytes(), 0o644))
	if name == "inner" {
		return
	}
	args := []string{"-T", "fields", "-E", "header=y", "-E", "occurrence=f", "-d", "udp.port==8472,vxlan"}
	for _, field := range fields {
		args = append(args, "-e", field)
	}
	lines, err := lab.Tshark(file, args...)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, name+".tshark"), []byte(strings.Join(lines, "\n")+"\n"), 0o644))
}

// fields are what tshark is asked for, of the outermost header each.
var fields = []string{"frame.number", "frame.len", "eth.src", "eth.dst", "ip.src", "ip.dst", "ip.dsfield", "ip.ttl", "ip.flags.df",
	"ipv6.src", "ipv6.dst", "ipv6.tclass", "ipv6.hlim", "udp.srcport", "udp.dstport", "udp.length", "udp.checksum", "udp.checksum.status",
	"vxlan.flags", "vxlan.vni"}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
