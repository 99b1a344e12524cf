package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"vtepd/cmd/internal/api"
)

// What the scenarios have in common: a segment on a wire of 1500 bytes.
const (
	vni    = "42"
	device = "vx42"
	mtu    = 1500 - 50 // of the overlay, over IPv4
)

// A scenario is what runs in the two machines.
type scenario struct {
	name, title string
	kernelPeer  bool // machine B has the kernel's vxlan device instead of vtepd
}

func scenarios() []scenario {
	return []scenario{
		{name: "vtepd-vtepd", title: "vtepd in both machines"},
		{name: "vtepd-kernel", title: "vtepd in A, the kernel's vxlan device in B", kernelPeer: true},
	}
}

// choose returns the scenario of a name, or all when there is no name.
func choose(name string) ([]scenario, error) {
	all := scenarios()
	if name == "" {
		return all, nil
	}
	for _, s := range all {
		if s.name == name {
			return []scenario{s}, nil
		}
	}
	return nil, fmt.Errorf("there is no scenario %q", name)
}

// play runs every step of the scenario; the first that fails ends it.
func (s scenario) play(ctx context.Context, p *pair) error {
	for _, step := range []func(context.Context, *pair) error{
		s.underlay, s.overlay, s.captured, s.file, s.iperf, s.inspect, s.end,
	} {
		if err := step(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// underlay gives the machines addresses on their wire.
func (s scenario) underlay(ctx context.Context, p *pair) error {
	for _, h := range p.hosts() {
		release, err := h.run(ctx, "uname -r")
		if err != nil {
			return err
		}
		fmt.Printf("%s runs Linux %s\n", h.title, release)
		if _, err := h.show(ctx, "ip addr add "+h.outer+"/24 dev eth0 && ip link set eth0 up"); err != nil {
			return err
		}
	}
	return nil
}

// vtepdCommand is what a user types on h.
func vtepdCommand(h, peer *host) string {
	return fmt.Sprintf("vtepd run --vni %s --local %s --remote %s --address %s/24", vni, h.outer, peer.outer, h.overlay)
}

// overlay makes the segment in both machines.
func (s scenario) overlay(ctx context.Context, p *pair) error {
	step("a segment with VNI %s", vni)
	if err := startVtepd(ctx, p.a, p.b); err != nil {
		return err
	}
	if !s.kernelPeer {
		return startVtepd(ctx, p.b, p.a)
	}
	_, err := p.b.show(ctx, fmt.Sprintf("ip link add %s type vxlan id %s dstport 4789 local %s remote %s && ip addr add %s/24 dev %[1]s && ip link set %[1]s up",
		device, vni, p.b.outer, p.a.outer, p.b.overlay))
	return err
}

// startVtepd types the command on the second terminal of h and waits until
// vtepd says that it forwards.
func startVtepd(ctx context.Context, h, peer *host) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	fmt.Printf("%s# %s\n", h.title, vtepdCommand(h, peer))
	if err := h.Daemon.Start(vtepdCommand(h, peer)); err != nil {
		return err
	}
	return h.Daemon.Until(ctx, "forwarding")
}

// captured pings, small and full, while the wire of A is captured, and looks
// at every packet of it.
func (s scenario) captured(ctx context.Context, p *pair) error {
	step("ping over the overlay, the wire captured")
	pcap := filepath.Join(p.out, "underlay.pcap")
	stop, err := p.a.Capture(pcap)
	if err != nil {
		return err
	}
	if err := pings(ctx, p); err != nil {
		return err
	}
	if err := stop(); err != nil {
		return err
	}
	step("one encapsulated frame, as tshark decodes it")
	if s.kernelPeer {
		return decode(pcap, p.b.outer)
	}
	return decode(pcap, "")
}

// pings pings with small and with the largest packets that fit, which must not
// be fragmented, and with one byte more, which must be refused.
func pings(ctx context.Context, p *pair) error {
	full := mtu - 28 // less the headers of IPv4 and ICMP
	for _, args := range []string{"-c 5 -i 0.5", fmt.Sprintf("-c 3 -i 0.5 -M do -s %d", full)} {
		text, err := p.a.show(ctx, "ping -n "+args+" "+p.b.overlay)
		if err != nil {
			return err
		}
		if err := allAnswered(text); err != nil {
			return err
		}
	}
	large := fmt.Sprintf("ping -n -c 1 -M do -s %d %s", full+1, p.b.overlay)
	r, err := p.a.try(ctx, large)
	if err != nil {
		return err
	}
	fmt.Printf("%s# %s\n%s\n", p.a.title, large, r.Text)
	if want := fmt.Sprintf("mtu=%d", mtu); r.Code == 0 || !strings.Contains(r.Text, want) {
		return fmt.Errorf("a ping of one byte too many was not refused with %s", want)
	}
	return nil
}

// file carries random bytes from B to A, which must arrive as they were.
func (s scenario) file(ctx context.Context, p *pair) error {
	step("a file over the overlay")
	const name = "random"
	sum, err := p.b.run(ctx, "mkdir -p /srv && cd /srv && head -c 16777216 /dev/urandom >"+name+" && httpd && sha256sum <"+name)
	if err != nil {
		return err
	}
	got, err := p.a.run(ctx, fmt.Sprintf("wget -q -O - http://%s/%s | sha256sum", p.b.overlay, name))
	if err != nil {
		return err
	}
	if got != sum {
		return fmt.Errorf("%s sent a file with sha256 %s, %s got %s", p.b.title, sum, p.a.title, got)
	}
	fmt.Printf("16 MiB from %s to %s, sha256 equal: %s\n", p.b.title, p.a.title, strings.Fields(sum)[0])
	return nil
}

// iperf measures TCP both ways. The bare wire is what the overlay's rate is to
// be read against: without KVM neither says much about hardware.
func (s scenario) iperf(ctx context.Context, p *pair) error {
	step("iperf3, over the bare wire and over the overlay")
	if _, err := p.b.run(ctx, "iperf3 -s -D"); err != nil {
		return err
	}
	listens := "for i in $(seq 100); do netstat -ltn | grep -q ':5201 ' && break; usleep 100000; done"
	if _, err := p.b.run(ctx, listens); err != nil {
		return err
	}
	for _, over := range []struct{ name, addr string }{{"the wire", p.b.outer}, {"the overlay", p.b.overlay}} {
		for _, way := range []struct{ name, args string }{{"A to B", ""}, {"B to A", " -R"}} {
			text, err := p.a.run(ctx, "iperf3 -J -t 3 -c "+over.addr+way.args)
			if err != nil {
				return err
			}
			r, err := report(text)
			if err != nil {
				return err
			}
			fmt.Printf("TCP over %s, %s: %.0f Mbit/s received, %d retransmits\n", over.name, way.name,
				r.End.Received.BitsPerSecond/1e6, r.End.Sent.Retransmits)
		}
	}
	return nil
}

// inspect reads what vtepd says of itself: its tier, and that nothing was
// dropped.
func (s scenario) inspect(ctx context.Context, p *pair) error {
	step("what the daemons know")
	daemons := p.hosts()
	if s.kernelPeer {
		daemons = daemons[:1]
	}
	for _, h := range daemons {
		for _, command := range []string{"vtepctl status", "vtepctl counters", "vtepctl fdb show"} {
			if _, err := h.show(ctx, command); err != nil {
				return err
			}
		}
		if err := checkDaemon(ctx, h); err != nil {
			return fmt.Errorf("%s: %w", h.title, err)
		}
	}
	if s.kernelPeer {
		_, err := p.b.show(ctx, "ip -s link show "+device)
		return err
	}
	return nil
}

// checkDaemon checks the daemon's tier and counters.
func checkDaemon(ctx context.Context, h *host) error {
	var status api.Status
	var counters api.Counters
	for _, q := range []struct {
		command string
		to      any
	}{{"vtepctl -j status", &status}, {"vtepctl -j counters", &counters}} {
		text, err := h.run(ctx, q.command)
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), q.to); err != nil {
			return fmt.Errorf("%s: %w\n%s", q.command, err, text)
		}
	}
	release, err := h.run(ctx, "uname -r")
	if err != nil {
		return err
	}
	if err := checkTier(&status, release); err != nil {
		return err
	}
	if err := checkCounters(&counters); err != nil {
		return err
	}
	fmt.Printf("%s: the tier fits Linux %s, and nothing was dropped\n", h.title, release)
	return nil
}

// end stops the daemons, A by Ctrl-C and B by SIGTERM, and looks for what they
// left behind.
func (s scenario) end(ctx context.Context, p *pair) error {
	step("the end")
	if err := stopVtepd(ctx, p.a, "Ctrl-C", p.a.Daemon.Interrupt); err != nil {
		return err
	}
	if s.kernelPeer {
		return nil
	}
	return stopVtepd(ctx, p.b, "SIGTERM", func() error {
		_, err := p.b.run(ctx, "kill -TERM $(pidof vtepd)")
		return err
	})
}

// stopLimit is how long vtepd may take to stop (docs: under 2 s); a machine
// without KVM on a busy host gets more.
const stopLimit = 5 * time.Second

func stopVtepd(ctx context.Context, h *host, how string, ask func() error) error {
	limited, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	begin := time.Now()
	if err := ask(); err != nil {
		return err
	}
	r, err := h.Daemon.Wait(limited)
	if err != nil {
		return fmt.Errorf("%s: vtepd after %s: %w", h.title, how, err)
	}
	took := time.Since(begin)
	if r.Code != 0 {
		return fmt.Errorf("%s: vtepd after %s: exit code %d\n%s", h.title, how, r.Code, r.Text)
	}
	left, err := h.run(ctx, "ls /sys/class/net; netstat -lun | grep 4789; ls /run/vtepd/*.sock 2>/dev/null; true")
	if err != nil {
		return err
	}
	if got := strings.Join(strings.Fields(left), " "); got != "eth0 lo" {
		return fmt.Errorf("%s: vtepd left behind after %s: %s", h.title, how, got)
	}
	fmt.Printf("%s: %s, exit code 0 after %.2f s; no device, socket or control socket is left\n", h.title, how, took.Seconds())
	return nil
}
