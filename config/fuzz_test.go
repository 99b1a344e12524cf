package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// FuzzParse wants no panic, problems with places, and of an accepted file
// what the rest of the program relies on.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		Example(), "", "\x00", "a: b: c", "segments: [{vni: 1, remotes: []}]", "segments: {vni: 1, group: ff05::1, accept: any}",
		"underlay: &a {port: 1}\nsegments: [{<<: *a, vni: 1}]", "? [a]\n: b", "--- a\n--- b", "!!binary x", "segments: [[[[{}]]]]",
		"segments: {vni: 1, mode: route, prefixes: [{prefix: 10.0.0.0/8, via: {ip: 192.0.2.1, vni: 3}, mac: 02:00:00:00:00:01}, {prefix: '::/0', via: 192.0.2.1:4}]}",
		"segments: {vni: 1, mode: route, vlan: pass, prefixes: {prefix: 10.0.0.1, via: 192.0.2.1}}",
		"segments:\n- {vni: 1, static: [{mac: 02:00:00:00:00:01, dst: {ip: 192.0.2.1, vni: 3}}], neighbours: {ip: 10.0.0.1, mac: 02:00:00:00:00:01}}",
		"datapath: {workers: auto, spin: 1}\nlog: ~\ncontrol: {path: \"\\0\"}", "&a [*a]", "!%0A", "cni: {enable: on, version: 0.4.0, subnet: [10.1.2.3/24, fd00::/64]}", "cni: {}", "a: &a\n  b: *a",
		"flannel: {endpoints: ['https://[::1]:2379'], tls: {ca: /a, cert: /b, key: /c}, username: u, password_file: /p, public_ip: 192.0.2.1}", "flannel:", "flannel: {}",
		"\xff\xfea",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		if err != nil {
			var p *Problems
			if !errors.As(err, &p) || c != nil || len(p.List) == 0 {
				t.Fatalf("%v %v", c, err)
			}
			for _, one := range p.List {
				if s := one.String(); !strings.HasPrefix(s, "f:") || strings.ContainsRune(s, '\n') {
					t.Errorf("%q", s)
				}
			}
			return
		}
		again, err := Parse("f", data)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("read twice: %+v %+v %v", c, again, err)
		}
		accepted(t, c)
	})
}

// accepted is what every accepted configuration keeps.
func accepted(t *testing.T, c *Config) {
	t.Helper()
	if c.Control.Path == "" || c.Datapath.Workers < 0 || c.Datapath.Workers > 64 || c.Datapath.Spin < 0 {
		t.Errorf("%+v", c)
	}
	for _, p := range c.CNI.Subnet {
		if !p.IsValid() || p != p.Masked() || p.Addr().IsMulticast() || p.Bits() > p.Addr().BitLen()-2 {
			t.Errorf("pod subnet %v", p)
		}
	}
	if n := c.Flannel; n != nil && (len(n.Endpoints) == 0 || n.Prefix == "" || n.SubnetFile == "" || n.RenewMargin < minRenewMargin ||
		n.RenewMargin > maxRenewMargin || (n.Username == "") != (n.PasswordFile == "") || n.PublicIP.Is6() || n.PublicIPv6.Is4()) {
		t.Errorf("%+v", n)
	}
	vnis, devices := map[uint32]bool{}, map[string]bool{}
	for _, s := range c.Segments {
		if vnis[s.VNI] || devices[s.Device] || s.VNI > maxVNI || s.Device == "" || len(s.Device) > 15 || s.Bridge == s.Device {
			t.Errorf("VNI or device: %+v", s)
		}
		vnis[s.VNI], devices[s.Device] = true, true
		if s.Port == 0 || s.SrcPort.Min == 0 || s.SrcPort.Min > s.SrcPort.Max || s.MaxMACs < 1 || s.MaxMACs > maxMACs ||
			s.RemoteShare < 1 || s.RemoteShare > 100 || s.Ageing < 0 || s.MAC.IsMulticast() || s.TOS.Value&3 != 0 {
			t.Errorf("range: %+v", s)
		}
		if s.MTU != 0 && (s.MTU < 68 || s.MTU > 65535) || len(s.Local) > 2 || s.Group.IsValid() && !s.Group.IsMulticast() {
			t.Errorf("range: %+v", s)
		}
		dests := slices.Clone(s.Remotes)
		for _, m := range s.Static {
			dests = append(dests, m.Dst)
		}
		if s.Mode == Routed && (s.Learning || s.Suppress || s.VLANPass || len(dests) > 0 || s.Group.IsValid() || s.Bridge != "") ||
			s.Mode != Routed && len(s.Prefixes) > 0 {
			t.Errorf("mode: %+v", s)
		}
		for _, p := range s.Prefixes {
			if p.Prefix != p.Prefix.Masked() || !p.Prefix.IsValid() || p.Prefix.Addr().Is4In6() || p.MAC.IsZero() || p.MAC.IsMulticast() {
				t.Errorf("prefix %+v", p)
			}
			dests = append(dests, p.Via)
		}
		for _, d := range dests {
			if !d.IP.IsValid() || d.IP.IsMulticast() || d.IP.IsUnspecified() || d.IP.Is4In6() || d.IP.Zone() != "" || d.Port == 0 || d.VNI > maxVNI {
				t.Errorf("destination %+v", d)
			}
		}
	}
}
