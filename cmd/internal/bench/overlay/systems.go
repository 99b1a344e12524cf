package overlay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// All returns every system, in the order of reports.
func All() []*System {
	return []*System{
		{"veth", "bare veth", Bare, bare},
		{"kernel", "kernel vxlan", Kernel, kernelBoth},
		{"vtepd", "vtepd (automatic tier)", Ours, vtepd("auto")},
		{"vtepd-tunnel-gso", "vtepd, tunnel-gso tier", Ours, vtepd("tunnel-gso")},
		{"vtepd-offload", "vtepd, offload tier", Ours, vtepd("offload")},
		{"vtepd-portable", "vtepd, portable tier", Ours, vtepd("portable")},
		{"vtepd-to-kernel", "vtepd → kernel vxlan", Ours, vtepdToKernel},
		{"kernel-to-vtepd", "kernel vxlan → vtepd", Ours, kernelToVtepd},
		{"ovs", "Open vSwitch, userspace datapath", Peer, openVSwitch},
		{"wireguard-go", "wireguard-go", Peer, wireGuard},
		{"nebula", "nebula", Peer, nebula},
		{"fastd", "fastd (method null)", Peer, fastd},
		{"tinc", "tinc (no cipher)", Peer, tinc},
	}
}

const (
	vni      = 42
	overhead = 50 // of VXLAN over IPv4: Ethernet 14, IPv4 20, UDP 8, VXLAN 8
)

func bare(p *Pair) error {
	p.AddrA, p.AddrB = wireA, wireB
	return nil
}

func (s side) kernel() error {
	err := s.KernelVXLAN(vni, []string{s.over + "/24"}, "local", s.wire, "remote", s.peerWire)
	if err != nil && strings.Contains(err.Error(), "Unknown device type") {
		return unavailable("this kernel has no vxlan device")
	}
	if err != nil {
		return err
	}
	return s.commands([]string{"ip", "link", "set", fmt.Sprintf("vx%d", vni), "mtu", fmt.Sprint(s.pair.MTU - overhead)})
}

func kernelBoth(p *Pair) error { return p.each(side.kernel) }

// vtepd returns a start with vtepd on both sides. A daemon that runs in
// another tier than the one asked for is not measured.
func vtepd(tier string) func(p *Pair) error {
	return func(p *Pair) error {
		return p.each(func(s side) error { return s.vtepd(tier) })
	}
}

func vtepdToKernel(p *Pair) error {
	s := p.sides()
	if err := s[0].vtepd("auto"); err != nil {
		return err
	}
	return s[1].kernel()
}

func kernelToVtepd(p *Pair) error {
	s := p.sides()
	if err := s[0].kernel(); err != nil {
		return err
	}
	return s[1].vtepd("auto")
}

func (s side) vtepd(tier string) error {
	d, err := s.Vtepd(s.pair.Bin, "--vni", fmt.Sprint(vni), "--local", s.wire, "--remote", s.peerWire,
		"--address", s.over+"/24", "--tier", tier)
	if d != nil && d.Proc != nil {
		s.pair.Procs[s.i] = append(s.pair.Procs[s.i], d.Proc)
	}
	if err != nil && d != nil && d.Proc != nil && !d.Running() {
		return unavailable("vtepd does not start with --tier %s: %s", tier, strings.TrimSpace(d.Output()))
	}
	if err != nil {
		return err
	}
	text, err := d.Ctl("-j", "status")
	if err != nil {
		return err
	}
	var status api.Status
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return err
	}
	s.pair.Version = status.Version
	return s.pair.inTier(tier, &status)
}

// inTier notes the tier that a daemon runs in, which must be the wanted one.
func (p *Pair) inTier(wanted string, status *api.Status) error {
	got, why := status.Tier, status.WhyNotFaster
	for _, s := range status.Segments {
		if s.Tier != "" && s.Tier != got {
			got, why = s.Tier, s.Reason
		}
	}
	p.Tier = got
	if wanted == "auto" {
		p.Note = fmt.Sprintf("the %s tier, %d workers", got, status.Workers)
		return nil
	}
	if got != wanted {
		return unavailable("vtepd runs in the %s tier: %s", got, cmp.Or(why, "it does not say why"))
	}
	return nil
}

// needs returns an error when a program is not installed.
func needs(program, pkg string) error {
	for _, dir := range strings.Split(os.Getenv("PATH")+":/usr/sbin:/sbin", ":") {
		if info, err := os.Stat(dir + "/" + program); err == nil && info.Mode()&0o111 != 0 {
			return nil
		}
	}
	return unavailable("%s is not installed; it is in the Debian package %s", program, pkg)
}

// firstLine is the first line of what a program says, or "" when it fails.
func firstLine(h *lab.Host, name string, args ...string) string {
	text, err := h.Run(name, args...)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}
