package config

import (
	"errors"
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
)

// flagged parses args.
func flagged(t *testing.T, args ...string) (*Flags, error) {
	t.Helper()
	fs := flag.NewFlagSet("vtepd run", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	f := new(Flags)
	f.Register(fs)
	return f, fs.Parse(args)
}

func TestFlagsEqualFile(t *testing.T) {
	tests := []struct{ args, file string }{
		{"--vni 42 --remote=", "segments: [{vni: 42, remotes: []}]"},
		{"--vni 42 --remote 192.0.2.2 --remote 192.0.2.3:4790,[2001:db8::4]:1",
			"segments: [{vni: 42, remotes: [192.0.2.2, 192.0.2.3:4790, '[2001:db8::4]:1']}]"},
		{"--vni 1 --vni 2 --group 239.1.1.1 --learning=false --suppress --persist=off --udp-csum=false --udp6-zero-csum-tx --udp6-zero-csum-rx",
			"segments: [{vni: 2, group: 239.1.1.1, learning: off, suppress: on, udp_csum: no, udp6_zero_csum_tx: on, udp6_zero_csum_rx: on}]"},
		{"--vni 3 --device d --local 192.0.2.1,2001:db8::1 --interface eth0 --static 02:00:00:00:00:01=192.0.2.2:9 --port 8472 " +
			"--address 10.0.0.1/24 --address 2001:db8::1/64 --mac 02:00:00:00:00:09 --mtu 1400 --ageing 0 --max-macs 5 --remote-share 7",
			`segments: [{vni: 3, device: d, local: [192.0.2.1, "2001:db8::1"], interface: eth0, port: 8472, mtu: 1400, ageing: 0, max_macs: 5,
			remote_share: 7, static: {mac: 02:00:00:00:00:01, dst: 192.0.2.2:9}, address: [10.0.0.1/24, "2001:db8::1/64"], mac: 02:00:00:00:00:09}]`},
		{"--vni 3 --remote= --ttl 9 --tos 0x28 --df set --srcport 50000-50001 --vlan pass --accept 10.0.0.0/8,192.0.2.1 --bridge br0 " +
			"--neighbour 10.0.0.2=02:00:00:00:00:01,2001:db8::1=02:00:00:00:00:02 --control /s --log-level debug --log-format json --tier portable --workers 3 --spin 0",
			`segments: {vni: 3, remotes: [], ttl: 9, tos: 40, df: set, srcport: 50000-50001, vlan: pass, accept: [10.0.0.0/8, 192.0.2.1], bridge: br0,
			neighbours: [{ip: 10.0.0.2, mac: 02:00:00:00:00:01}, {ip: "2001:db8::1", mac: 02:00:00:00:00:02}]}
control: {path: /s}
log: {level: debug, format: json}
datapath: {tier: portable, workers: 3, spin: 0}`},
		{"--vni 1 --mode route --prefix=", "segments: {vni: 1, mode: route, prefixes: []}"},
		{"--vni 1 --mode route --prefix 10.2.0.0/16=192.0.2.2:8472=02:00:00:00:00:02,2001:db8:2::/64=2001:db8::2=02:00:00:00:00:03",
			`segments: {vni: 1, mode: route, prefixes: [{prefix: 10.2.0.0/16, via: 192.0.2.2:8472, mac: 02:00:00:00:00:02},
			{prefix: "2001:db8:2::/64", via: "2001:db8::2", mac: 02:00:00:00:00:03}]}`},
		{"--vni 3 --remote= --accept any", "segments: {vni: 3, remotes: [], accept: any}"},
	}
	for _, tt := range tests {
		f, err := flagged(t, strings.Fields(tt.args)...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Config()
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		want := must(t, tt.file)
		want.Segments[0].Line = 0
		got.warnings, want.warnings = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.args, got, want)
		}
	}
}

func TestFlagsRefused(t *testing.T) {
	tests := []struct{ args, want string }{
		{"", "--vni: no segment is given; name a file with --config, a segment with --vni and --remote, or a Flannel network with --flannel-etcd"},
		{"--remote 192.0.2.1", "--vni: is missing; every segment needs a number from 0 to 16777215"},
		{"--vni 42", "--remote: has no destination; write one of remotes, group and static (remotes: [] to fill it at run time)"},
		{"--vni x --remote 192.0.2.x --max-macs 0", `--vni: "x" is not a number from 0 to 16777215` + "\n" +
			`--remote: "192.0.2.x" is not an IP address` + "\n" + `--max-macs: "0" is not a number from 1 to 16000000`},
		{"--vni 1 --static x", `--static: "x" is a single value; write MAC=IP or MAC=IP:PORT`},
		{"--vni 1 --remote= --neighbour x", `--neighbour: "x" is a single value; write IP=MAC`},
		{"--vni 1 --mode route", `--prefix: is missing; a routed segment needs it (prefixes: [] to fill it at run time)`},
		{"--vni 1 --mode route --prefix x", `--prefix: "x" is a single value; write CIDR=IP=MAC or CIDR=IP:PORT=MAC`},
		{"--vni 1 --mode route --prefix 10.0.0.0/8=192.0.2.1",
			`--prefix: mac is missing; write that of the device at 192.0.2.1, which takes no frames to another`},
		{"--vni 1 --static x=192.0.2.1", `--static: "x" is not a MAC address such as 02:00:00:00:00:01`},
		{"--vni 1 --remote= --learning=maybe", `--learning: "maybe" is neither true nor false`},
		{"--vni 1 --remote= --address 10.0.0.1/8,10.0.0.1/8", `--address: 10.0.0.1/8 is already given before`},
		{"--vni 1 --remote= --device=", `--device: is empty; write a device name such as vx42`},
	}
	for _, tt := range tests {
		f, err := flagged(t, strings.Fields(tt.args)...)
		if err != nil {
			t.Fatal(err)
		}
		c, err := f.Config()
		var p *Problems
		if c != nil || !errors.As(err, &p) || err.Error() != tt.want {
			t.Errorf("%s\ngot  %v\nwant %s", tt.args, err, tt.want)
		}
	}
}

func TestFlagsWarn(t *testing.T) {
	f, _ := flagged(t, "--vni", "1", "--remote=", "--accept", "any")
	c, err := f.Config()
	if err != nil || len(c.Warnings()) != 1 || !strings.HasPrefix(c.Warnings()[0].String(), "--accept: frames are") {
		t.Errorf("%v %v", c, err)
	}
}

func TestFlagsOverFile(t *testing.T) {
	c := must(t, "segments: {vni: 1, remotes: []}\nlog: {level: warn, format: json}\ncontrol: {path: /a}")
	f, err := flagged(t, "--log-level", "debug", "--workers", "2")
	if err != nil || f.Given() {
		t.Fatalf("given %t, %v", f.Given(), err)
	}
	got, err := f.Apply(c)
	if err != nil {
		t.Fatal(err)
	}
	if got.Log != (Log{"debug", "json"}) || got.Datapath.Workers != 2 || got.Control.Path != "/a" || len(got.Segments) != 1 {
		t.Errorf("%+v", got)
	}
	if c.Log.Level != "warn" {
		t.Error("Apply changed its argument")
	}
	if f, _ := flagged(t, "--mtu", "auto"); !f.Given() {
		t.Error("--mtu is a segment flag")
	}
	if got, err := new(Flags).Apply(c); err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"--log-level=loud", "--workers=65", "--control=", "--tier=x", "--spin=1h", "--log-format=xml"} {
		if _, err := flagged(t, bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

// TestFlagsComplete wants a flag for every key of a segment.
func TestFlagsComplete(t *testing.T) {
	have := map[string]bool{}
	for _, o := range optionTable() {
		have[o.key] = true
	}
	for _, key := range segmentKeys() {
		if !have[key] {
			t.Errorf("no flag for %s", key)
		}
	}
}

func TestFlagsHelp(t *testing.T) {
	var b strings.Builder
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	fs.SetOutput(&b)
	new(Flags).Register(fs)
	fs.PrintDefaults() // asks zero options for their text
	if !strings.Contains(b.String(), "-remote IP[:PORT]") {
		t.Error(b.String())
	}
}
