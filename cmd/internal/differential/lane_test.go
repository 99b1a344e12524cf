package differential

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/lab"
)

// patience is how long a lane waits for what must happen soon.
const patience = 10 * time.Second

// barrierVTEP is where the barrier station z is. Nothing else uses it.
const barrierVTEP = 254

// A subject is what sequences are played to: the kernel's vxlan device when
// there is no folder of binaries, else the vtepd in it.
type subject struct{ name, bin, tier string }

// A setup is how both are set up for a batch.
type setup struct {
	kernel  string // of `ip link add … type vxlan`
	vtepd   string // flags
	mtu     int    // of the device, bytes; 0 for what the path takes
	remotes string // the flood list: VTEPs, "group", or "none"; "" for 2 and 3
}

// A lane is one subject on a host of its own, with the far end of its wire in
// our hands. Everything of a lane runs on one processor, vtepd included, so
// that the queues of the kernel keep the order and a barrier is one.
type lane struct {
	subject
	v6     bool
	host   *lab.Host
	wire   *lab.Raw // the far end
	device *lab.Raw
	daemon *lab.Daemon
	work   chan func(broken error)
	done   chan struct{}

	barriers uint32
	doors    []netip.Addr // what the subject receives at: its address, the group; each may have a socket of its own
	sport    uint16       // outer source port of the last packet
	base     []string     // FDB entries of the setup
}

// newLane makes a lane in l. cpu is the processor that it runs on.
func newLane(l *lab.Lab, s subject, v6 bool, name string, cpu int) (*lane, error) {
	n := &lane{subject: s, v6: v6, work: make(chan func(error)), done: make(chan struct{})}
	host, err := l.Host(name)
	if err != nil {
		return nil, err
	}
	far, err := l.Host(name + "-far")
	if err != nil {
		return nil, err
	}
	n.host = host
	if err := l.Connect(host, far, lab.Wire{NoOffload: true, A: []string{"192.0.2.1/24", "2001:db8::1/64"}, B: []string{}}); err != nil {
		return nil, err
	}
	script := "ip link set u0 address " + wireMAC + "\n"
	for _, v := range []int{2, 3, 4, 5, 6, 7, 8, 9, barrierVTEP} {
		for _, six := range []bool{false, true} {
			script += fmt.Sprintf("ip neigh replace %v lladdr %v dev u0 nud permanent\n", vtep(v, six), vtepMAC(vtep(v, six)))
		}
	}
	// No device but u0 speaks IPv6: solicitations and reports would be noise.
	script += "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6\n"
	if _, err := host.Run("sh", "-ec", script); err != nil {
		return nil, err
	}
	if n.wire, err = far.Raw("u0"); err != nil {
		return nil, err
	}
	go n.serve(cpu)
	return n, nil
}

// serve does the work of the lane on a thread of its own, in the host's
// namespace and on one processor.
func (n *lane) serve(cpu int) {
	defer close(n.done)
	broken := n.host.Do(func() error {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return err
		}
		for f := range n.work {
			f(nil)
		}
		return nil
	})
	for f := range n.work {
		f(broken)
	}
}

// run runs a program on the lane's thread and returns what it wrote.
func (n *lane) run(name string, args ...string) ([]byte, error) {
	out, err := exec.Command(name, args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, exit.Stderr)
	}
	return out, err
}

// command is the lane's `bridge` or `vtepctl`.
func (n *lane) command(args ...string) ([]byte, error) {
	if n.daemon == nil {
		return n.run("bridge", args...)
	}
	return n.run(filepath.Join(n.bin, "vtepctl"), append([]string{"--control", n.daemon.Control()}, args...)...)
}

// do runs f on the lane's thread; what f starts runs on the lane's processor.
func (n *lane) do(f func() error) error {
	err := make(chan error, 1)
	n.work <- func(broken error) {
		if broken == nil {
			broken = f()
		}
		err <- broken
	}
	return <-err
}

func (n *lane) close() error {
	close(n.work)
	<-n.done
	return n.wire.Close()
}

// processors returns those that we may run on.
func processors(t testing.TB) (cpus []int) {
	t.Helper()
	var set unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &set))
	for i := range 1024 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

// full is the largest inner frame that the path takes, bytes without FCS.
func full(v6 bool) int {
	if v6 {
		return 1500 - 70 + 14
	}
	return 1500 - 50 + 14
}

// start sets the subject up.
func (n *lane) start(s *setup) (err error) {
	if n.bin == "" {
		err = n.startKernel(s)
	} else {
		err = n.startVtepd(s)
	}
	if err != nil {
		return err
	}
	if n.device, err = n.host.Raw("vx42"); err != nil {
		return err
	}
	n.doors = []netip.Addr{vtep(1, n.v6)}
	if s.remotes == "group" {
		n.doors = append(n.doors, group(n.v6))
	}
	if _, _, err := n.barrier(); err != nil {
		return err
	}
	all, err := n.entries()
	n.base = nil
	n.base = n.news(all)
	return err
}

func (s *setup) deviceMTU(v6 bool) int {
	if s.mtu != 0 {
		return s.mtu
	}
	return full(v6) - 14
}

// flood returns the VTEPs of the flood list.
func (s *setup) flood(v6 bool) (out []string) {
	words := strings.Fields(s.remotes)
	if s.remotes == "" {
		words = []string{"2", "3"}
	}
	for _, w := range words {
		if w != "none" && w != "group" {
			out = append(out, dst(w, v6))
		}
	}
	return out
}

func (n *lane) startKernel(s *setup) error {
	add := fmt.Sprintf("ip link add vx42 address %s mtu %d type vxlan id %d local %v dstport %d srcport 49152 65535 %s",
		ownMAC, s.deviceMTU(n.v6), ourVNI, vtep(1, n.v6), vxlanPort, s.kernel)
	if s.remotes == "group" {
		add += fmt.Sprintf(" group %v dev u0", group(n.v6))
	}
	script := add + "\n"
	for _, r := range s.flood(n.v6) {
		addr, port, _ := splitPort(r)
		script += fmt.Sprintf("bridge fdb append 00:00:00:00:00:00 dev vx42 dst %s %s\n", addr, port)
	}
	script += fmt.Sprintf("bridge fdb add 02:00:00:00:00:%02x dev vx42 dst %v static\nip link set vx42 up", 'z', vtep(barrierVTEP, n.v6))
	_, err := n.host.Run("sh", "-ec", script)
	return err
}

func (n *lane) startVtepd(s *setup) error {
	args := []string{"--vni", fmt.Sprint(ourVNI), "--local", vtep(1, n.v6).String(), "--mac", ownMAC, "--tier", n.tier,
		"--mtu", fmt.Sprint(s.deviceMTU(n.v6)), "--workers", "1", "--static",
		fmt.Sprintf("02:00:00:00:00:%02x=%v", 'z', vtep(barrierVTEP, n.v6))}
	if s.remotes == "group" {
		args = append(args, "--group", group(n.v6).String(), "--interface", "u0")
	} else {
		args = append(args, "--remote", strings.Join(s.flood(n.v6), ","))
	}
	own := strings.Fields(s.vtepd)
	// The kernel's defaults, where ours differ.
	for _, d := range []string{"--accept=any", "--vlan=pass", "--tos=0", "--remote-share=100"} {
		name, _, _ := strings.Cut(d, "=")
		if !slices.ContainsFunc(own, func(a string) bool { return strings.HasPrefix(a, name+"=") }) {
			args = append(args, d)
		}
	}
	var err error
	n.daemon, err = n.host.Vtepd(n.bin, append(args, own...)...)
	if err != nil && n.daemon != nil && n.daemon.Proc != nil {
		err = fmt.Errorf("%w\n%s", err, n.daemon.Output())
	}
	return err
}

// stop takes the subject away.
func (n *lane) stop() error {
	err := n.device.Close()
	if n.daemon != nil {
		d := n.daemon
		n.daemon = nil
		return errors.Join(err, d.Stop())
	}
	_, kernel := n.host.Run("ip", "link", "del", "vx42")
	return errors.Join(err, kernel)
}

// barrier sends a frame each way that must come through, inwards one to each
// door, and returns what came before them: packets at the far end of the wire,
// and frames out of the device.
func (n *lane) barrier() (wire, device [][]byte, err error) {
	n.barriers++
	mark := binary.BigEndian.AppendUint32([]byte("barrier "), n.barriers)
	ether := func(dst, src byte) []byte {
		own := []byte{2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x88, 0xb5}
		return append(append(own, mark...), make([]byte, 40)...)
	}
	for _, door := range n.doors {
		o := newOuter(barrierVTEP, n.v6)
		o.dst = door
		in, err := o.build(ether(1, 'z'))
		if err := errors.Join(err, n.wire.Send(in)); err != nil {
			return nil, nil, err
		}
	}
	if err := n.device.Send(ether('z', 'y')); err != nil {
		return nil, nil, err
	}
	outside, inside := 1, len(n.doors) // that are still under way
	take := func(r *lab.Raw, to *[][]byte, missing *int) error {
		got, err := r.Receive(0)
		for _, f := range got {
			if bytes.Contains(f, []byte("barrier ")) {
				if bytes.Contains(f, mark) {
					*missing--
				}
				continue
			}
			*to = append(*to, f)
		}
		return err
	}
	for end := time.Now().Add(patience); ; {
		// What is there when all barriers are, is all there was before them.
		through := outside <= 0 && inside <= 0
		if err := errors.Join(take(n.wire, &wire, &outside), take(n.device, &device, &inside)); err != nil {
			return nil, nil, err
		}
		if through {
			return wire, device, nil
		}
		if time.Now().After(end) {
			return wire, device, fmt.Errorf("%s: frames are lost: %d to the tunnel, %d from it", n.name, outside, inside)
		}
		if outside > 0 || inside > 0 {
			time.Sleep(100 * time.Microsecond)
		}
	}
}
