package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"vtepd/encap"
	"vtepd/encap/packet"
)

// must is the configuration of a good file.
func must(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatalf("refused: %v\n%s", err, text)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := must(t, "segments: [{vni: 42, remotes: []}]")
	want := &Config{
		Segments: []Segment{{
			VNI: 42, Device: "vx42", Port: 4789, SrcPort: encap.PortRange{Min: 49152, Max: 65535},
			Learning: true, Ageing: 300 * time.Second, MaxMACs: 10000, RemoteShare: 50,
			TOS: Inherited{Inherit: true}, UDPCsum: true, Line: 1,
		}},
		Control:  Control{"/run/vtepd/vtepd.sock"},
		Log:      Log{"info", "console"},
		Datapath: Datapath{"auto", 0, 50 * time.Microsecond},
		CNI:      CNI{ConfDir: "/etc/cni/net.d", BinDir: "/opt/cni/bin", Version: "1.0.0"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestInterfacePage(t *testing.T) {
	c := must(t, `
underlay: {local: [192.0.2.1, "2001:db8::1"], interface: eth0, port: 4789, srcport: 49152-65535}
segments:
  - {vni: 42, device: vx42, address: [10.99.0.1/24], mtu: auto, remotes: [192.0.2.2, "192.0.2.3:4790"]}
  - {vni: 43, device: vx43, local: "2001:db8::1", group: "ff05::100", learning: true, ageing: 300s, max_macs: 10000, remote_share: 50,
     mac: 02:00:00:00:00:01, ttl: 64, tos: inherit, df: unset, udp_csum: true, vlan: drop, accept: known, bridge: br0,
     static: [{mac: 02:00:00:00:00:02, dst: "2001:db8::2"}], neighbours: [{ip: 10.99.0.2, mac: 02:00:00:00:00:02}], suppress: true}
control: {path: /run/vtepd/vtepd.sock}
log: {level: info, format: console}
`)
	a, b := c.Segments[0], c.Segments[1]
	if len(a.Local) != 2 || len(b.Local) != 1 || b.Interface != "eth0" || a.Line != 4 || b.Line != 5 {
		t.Errorf("underlay is not merged: %+v\n%+v", a, b)
	}
	want := []Destination{{netip.MustParseAddr("192.0.2.2"), 4789, 42}, {netip.MustParseAddr("192.0.2.3"), 4790, 42}}
	if !reflect.DeepEqual(a.Remotes, want) {
		t.Errorf("remotes %+v", a.Remotes)
	}
	mac := packet.MAC{2, 0, 0, 0, 0, 2}
	if b.Static[0] != (StaticMAC{mac, Destination{netip.MustParseAddr("2001:db8::2"), 4789, 43}}) {
		t.Errorf("static %+v", b.Static)
	}
	if b.Neighbours[0] != (Neighbour{netip.MustParseAddr("10.99.0.2"), mac}) || !b.Suppress || b.TTL.Value != 64 {
		t.Errorf("segment %+v", b)
	}
	if len(c.Warnings()) != 0 {
		t.Errorf("warnings %v", c.Warnings())
	}
}

// TestValues reads one key each into a segment with a remote.
func TestValues(t *testing.T) {
	prefixes := func(s ...string) (list []netip.Prefix) {
		for _, p := range s {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	addr := netip.MustParseAddr
	tests := []struct {
		text string
		want func(*Segment) bool
	}{
		{"learning: off", func(s *Segment) bool { return !s.Learning }},
		{"learning: No", func(s *Segment) bool { return !s.Learning }},
		{"suppress: on", func(s *Segment) bool { return s.Suppress }},
		{"persist: yes", func(s *Segment) bool { return s.Persist }},
		{"ageing: 0", func(s *Segment) bool { return s.Ageing == 0 }},
		{"ageing: 90", func(s *Segment) bool { return s.Ageing == 90*time.Second }},
		{"ageing: 5m", func(s *Segment) bool { return s.Ageing == 5*time.Minute }},
		{"ageing: 2400h", func(s *Segment) bool { return s.Ageing == maxAgeing }},
		{"mtu: 1400", func(s *Segment) bool { return s.MTU == 1400 }},
		{"ttl: inherit", func(s *Segment) bool { return s.TTL == Inherited{0, true} }},
		{"ttl: auto", func(s *Segment) bool { return s.TTL == Inherited{} }},
		{"ttl: 255", func(s *Segment) bool { return s.TTL == Inherited{255, false} }},
		{"tos: 0x28", func(s *Segment) bool { return s.TOS == Inherited{0x28, false} }},
		{"tos: 0", func(s *Segment) bool { return s.TOS == Inherited{} }},
		{"df: set", func(s *Segment) bool { return s.DF == DFSet }},
		{"df: inherit", func(s *Segment) bool { return s.DF == DFInherit }},
		{"vlan: pass", func(s *Segment) bool { return s.VLANPass }},
		{"srcport: 50000-50000", func(s *Segment) bool { return s.SrcPort == encap.PortRange{Min: 50000, Max: 50000} }},
		{"address: 10.0.0.1/8", func(s *Segment) bool { return reflect.DeepEqual(s.Address, prefixes("10.0.0.1/8")) }},
		{"accept: any", func(s *Segment) bool { return s.Accept.Mode == AcceptAny }},
		{"accept: [known]", func(s *Segment) bool { return s.Accept.Mode == AcceptKnown }},
		{"accept: 192.0.2.0/24", func(s *Segment) bool {
			return reflect.DeepEqual(s.Accept, Accept{AcceptList, prefixes("192.0.2.0/24")})
		}},
		{`accept: [192.0.2.7, "2001:db8::7"]`, func(s *Segment) bool {
			return reflect.DeepEqual(s.Accept.Prefixes, prefixes("192.0.2.7/32", "2001:db8::7/128"))
		}},
		{"local: 192.0.2.1", func(s *Segment) bool { return reflect.DeepEqual(s.Local, []netip.Addr{addr("192.0.2.1")}) }},
		{"group: 239.1.1.1", func(s *Segment) bool { return s.Group == addr("239.1.1.1") }},
		{"static: {mac: 02-00-00-00-00-01, dst: {ip: 192.0.2.9, port: 1, vni: 0}}", func(s *Segment) bool {
			return s.Static[0].Dst == Destination{addr("192.0.2.9"), 1, 0}
		}},
		{`static: {mac: "02:00:00:00:00:01", dst: "[2001:db8::9]:77"}`, func(s *Segment) bool {
			return s.Static[0].Dst == Destination{addr("2001:db8::9"), 77, 0xffffff}
		}},
		{"static: [{mac: 03:00:00:00:00:01, dst: 192.0.2.8}, {mac: 03:00:00:00:00:01, dst: 192.0.2.9}]",
			func(s *Segment) bool { return len(s.Static) == 2 }},
		{"device: \"42\"", func(s *Segment) bool { return s.Device == "42" }},
	}
	for _, tt := range tests {
		c := must(t, "segments:\n- vni: 0xffffff\n  remotes: 192.0.2.2\n  "+tt.text)
		if !tt.want(&c.Segments[0]) {
			t.Errorf("%s: %+v", tt.text, c.Segments[0])
		}
	}
}

// TestRoutedSegment reads prefixes: a MAC that is left out is the one that
// other prefixes via the same VTEP have, and what underlay says of frames does
// not count.
func TestRoutedSegment(t *testing.T) {
	c := must(t, `
underlay: {learning: true, ageing: 5m, vlan: pass, port: 8472}
segments:
  - vni: 1
    mode: route
    device: flannel.1
    address: 10.244.1.0/32
    prefixes:
      - {prefix: 10.244.2.0/24, via: 192.0.2.2}
      - {prefix: "2001:db8:2::/64", via: 192.0.2.2, mac: 02:00:00:00:00:02}
      - {prefix: 10.244.2.0/24, via: "192.0.2.3:4789", mac: 02:00:00:00:00:03}
      - {prefix: 10.9.9.9, via: {ip: "2001:db8::4", vni: 7}, mac: 02:00:00:00:00:04}
`)
	s := c.Segments[0]
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	want := []Prefix{
		{prefix("10.244.2.0/24"), Destination{addr("192.0.2.2"), 8472, 1}, packet.MAC{2, 0, 0, 0, 0, 2}},
		{prefix("2001:db8:2::/64"), Destination{addr("192.0.2.2"), 8472, 1}, packet.MAC{2, 0, 0, 0, 0, 2}},
		{prefix("10.244.2.0/24"), Destination{addr("192.0.2.3"), 4789, 1}, packet.MAC{2, 0, 0, 0, 0, 3}},
		{prefix("10.9.9.9/32"), Destination{addr("2001:db8::4"), 8472, 7}, packet.MAC{2, 0, 0, 0, 0, 4}},
	}
	if s.Mode != Routed || !reflect.DeepEqual(s.Prefixes, want) || s.Learning || s.VLANPass || len(c.Warnings()) != 0 {
		t.Errorf("%+v %v", s, c.Warnings())
	}
}

func TestDatapath(t *testing.T) {
	c := must(t, "segments: [{vni: 1, group: ff05::1}]\ndatapath: {tier: tunnel-gso, workers: 64, spin: 1ms}\nlog: {level: debug, format: json}\ncontrol: {path: ./s}")
	if c.Datapath != (Datapath{"tunnel-gso", 64, time.Millisecond}) || c.Log != (Log{"debug", "json"}) || c.Control.Path != "./s" {
		t.Errorf("%+v", c)
	}
}

func TestWarnings(t *testing.T) {
	c := must(t, `underlay:
  accept: any
  srcport: 1024-65535
segments:
- vni: 1
  local: 192.0.2.1
  remotes: [192.0.2.1, 192.0.2.2, 192.0.2.2]
  mtu: 65535
- vni: 2
  group: 239.1.1.1
  accept: 10.0.0.5/8
  address: [10.0.0.0/24, "2001:db8::1/64"]
  mtu: 1200
`)
	want := []string{
		"f:2: underlay.accept: frames are accepted",
		"f:3: underlay.srcport: source ports below 49152",
		"f:7: segments[0].remotes[2]: 192.0.2.2 is already given at line 7; it is taken once",
		"f:7: segments[0].remotes[0]: 192.0.2.1 is our own address",
		"f:8: segments[0].mtu: 65535 is above 65485",
		"f:11: segments[1].accept: 10.0.0.5/8 has host bits; all of 10.0.0.0/8 is accepted",
		"f:12: segments[1].address[0]: 10.0.0.0/24 is the address of the network",
		"f:13: segments[1].mtu: 1200 is below 1280",
	}
	got := c.Warnings()
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i].String(), want[i]) {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
	if len(c.Segments[0].Remotes) != 2 {
		t.Errorf("remotes %v", c.Segments[0].Remotes)
	}
}

func TestExample(t *testing.T) {
	c := must(t, Example())
	if len(c.Segments) != 3 || len(c.Warnings()) != 0 {
		t.Errorf("%+v", c)
	}
	keys := append(segmentKeys(), "underlay:", "segments:", "control:", "log:", "datapath:",
		"path", "level", "format", "tier", "workers", "spin", "dst", "prefix", "via")
	for _, key := range keys {
		if !strings.Contains(Example(), strings.TrimSuffix(key, ":")+": ") && !strings.Contains(Example(), strings.TrimSuffix(key, ":")+":\n") {
			t.Errorf("the example lacks %s", key)
		}
	}
}
