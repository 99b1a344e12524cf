package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// refusal is what Parse says of a bad file.
func refusal(t *testing.T, text string) string {
	t.Helper()
	c, err := Parse("vtepd.yaml", []byte(text))
	var p *Problems
	if !errors.As(err, &p) || c != nil {
		t.Fatalf("accepted, or no *Problems: %v\n%s", err, text)
	}
	if !slices.IsSortedFunc(p.List, func(a, b Problem) int { return a.Line - b.Line }) {
		t.Errorf("not sorted: %v", p)
	}
	return p.Error()
}

// TestBadSegment has one bad key each; the sentence stands without its file.
func TestBadSegment(t *testing.T) {
	tests := []struct{ text, want string }{
		{"device: ''", `device: is empty; write a device name such as vx42`},
		{"device: abcdefghijklmnop", `device: "abcdefghijklmnop" is 16 bytes long; a device name has at most 15`},
		{"device: a/b", `device: "a/b" is not a device name: whitespace, '/', ':' and '%' are not allowed`},
		{"device: a b", `device: "a b" is not a device name: whitespace, '/', ':' and '%' are not allowed`},
		{"device: eth%d", `device: "eth%d" is not a device name: whitespace, '/', ':' and '%' are not allowed`},
		{"device: ..", `device: ".." cannot be a device name`},
		{"device:", `device: has no value; write one value, or leave the key out`},
		{"device: [a]", `device: is a list; write one value`},
		{"bridge: vx42", `bridge: vx42 is the device of the segment itself; name another`},
		{"interface: vx42", `interface: vx42 is the device of the segment itself; name another`},
		{"remotes: 192.0.2.x", `remotes: "192.0.2.x" is not an IP address`},
		{"remotes: [239.0.0.1]", `remotes[0]: 239.0.0.1 is a multicast address; use group for it`},
		{"remotes: [0.0.0.0]", `remotes[0]: 0.0.0.0 is no one's address; write that of a station`},
		{"remotes: [255.255.255.255]", `remotes[0]: 255.255.255.255 is the broadcast address; write a unicast one`},
		{"remotes: [192.0.2.1:0]", `remotes[0]: "192.0.2.1:0" has port 0; ports are from 1 to 65535`},
		{"remotes: [192.0.2.1:99999]", `remotes[0]: "192.0.2.1:99999" is not an IP address, IPv4:PORT or [IPv6]:PORT (ports are from 1 to 65535)`},
		{"remotes: ['::ffff:192.0.2.1']", `remotes[0]: ::ffff:192.0.2.1 is IPv4 written as IPv6; write 192.0.2.1`},
		{"remotes: ['fe80::1%eth0']", `remotes[0]: "fe80::1%eth0" has a zone; write fe80::1 and name the device by interface`},
		{"remotes: ['fe80::1']", `remotes[0]: fe80::1 is link-local, so interface must say by which device it is reached`},
		{"remotes: [{port: 1}]", `remotes[0]: ip is missing; write {ip: 192.0.2.2}`},
		{"remotes: [{ip: 192.0.2.1, port: 0}]", `remotes[0].port: "0" is not a number from 1 to 65535`},
		{"remotes: [{ip: 192.0.2.1, vin: 1}]", `remotes[0].vin: unknown key; did you mean vni?`},
		{"remotes: ", `remotes: has no value; write a list ([] for an empty one), or leave the key out`},
		{"group: 192.0.2.1", `group: 192.0.2.1 is not a multicast address; name single stations in remotes`},
		{"port: 65536", `port: "65536" is not a number from 1 to 65535`},
		{"port: 04789", `port: "04789" is not a number from 1 to 65535`},
		{"srcport: 5", `srcport: "5" is not MIN-MAX with ports from 1 to 65535, such as 49152-65535`},
		{"srcport: 0-5", `srcport: "0-5" is not MIN-MAX with ports from 1 to 65535, such as 49152-65535`},
		{"srcport: 60000-50000", `srcport: "60000-50000" starts above its end; write 50000-60000`},
		{"mtu: 67", `mtu: "67" is not a number from 68 to 65535 or auto`},
		{"mac: 00:00:00:00:00:00", `mac: the zero MAC is no station's; write a unicast MAC such as 02:00:00:00:00:01`},
		{"mac: 01:00:00:00:00:00", `mac: 01:00:00:00:00:00 is a multicast MAC; write a unicast one (an even first octet, such as 02:...)`},
		{"mac: x", `mac: "x" is not a MAC address such as 02:00:00:00:00:01`},
		{"ttl: 256", `ttl: "256" is not a number from 1 to 255 or auto or inherit`},
		{"tos: 0x03", `tos: 0x3 sets the two ECN bits, which follow RFC 6040; write 0x0`},
		{"df: true", `df: "true" is none of unset, set, inherit`},
		{"learning: maybe", `learning: "maybe" is neither true nor false`},
		{"ageing: soon", `ageing: "soon" is not a duration such as 300s or 5m`},
		{"ageing: -5s", `ageing: "-5s" is negative; write a duration from 0 to 2400h0m0s`},
		{"ageing: 2401h", `ageing: "2401h" is too long; at most 2400h0m0s is allowed`},
		{"max_macs: 0", `max_macs: "0" is not a number from 1 to 16000000`},
		{"remote_share: 101", `remote_share: "101" is not a number from 1 to 100`},
		{"accept: []", `accept: an empty list would accept nothing; write known, any or CIDRs`},
		{"accept: [any, 10.0.0.0/8]", `accept[0]: any cannot stand beside other values`},
		{"accept: nobody", `accept: "nobody" is not an address with a prefix length, such as 10.99.0.1/24`},
		{"address: 10.0.0.1", `address: "10.0.0.1" has no prefix length; write it as in 10.99.0.1/24`},
		{"address: 10.0.0.1/33", `address: "10.0.0.1/33" is not an address with a prefix length, such as 10.99.0.1/24`},
		{"address: ['::ffff:10.0.0.1/120']", `address[0]: "::ffff:10.0.0.1/120" is IPv4 written as IPv6; write it as IPv4`},
		{"address: 224.0.0.1/24", `address: 224.0.0.1 is a multicast address; write a unicast one`},
		{"address: [10.0.0.1/8, 10.0.0.1/8]", `address[1]: 10.0.0.1/8 is already given at line 4`},
		{"local: [192.0.2.1, 192.0.2.2]", `local[1]: 192.0.2.2 is a second address of one family, the other stands at line 4; keep one a family`},
		{"local: 239.1.1.1", `local: 239.1.1.1 is a multicast address; write a unicast one`},
		{"static: {mac: 00:00:00:00:00:00, dst: 192.0.2.1}", `static.mac: the zero MAC is the flood list; name its members in remotes`},
		{"static: [{mac: 02:00:00:00:00:01}]", `static[0]: dst is missing; write {mac: ..., dst: ...}`},
		{"static: [{mac: 02:00:00:00:00:01, dst: 192.0.2.1}, {mac: 02:00:00:00:00:01, dst: 192.0.2.2}]",
			`static[1]: 02:00:00:00:00:01 is already behind 192.0.2.1 at line 4; a unicast MAC is in one place`},
		{"neighbours: {ip: 224.0.0.1, mac: 02:00:00:00:00:01}", `neighbours.ip: 224.0.0.1 is a multicast address; write a unicast one`},
		{"neighbours: [{ip: 10.0.0.1, mac: 02:00:00:00:00:01}, {ip: 10.0.0.1, mac: 02:00:00:00:00:02}]",
			`neighbours[1]: 10.0.0.1 is already given at line 4; an address is at one MAC`},
		{"remote: 192.0.2.1", `remote: unknown key; did you mean remotes?`},
		{"max-macs: 5", `max-macs: unknown key; did you mean max_macs?`},
		{"neighbors: []", `neighbors: unknown key; did you mean neighbours?`},
		{"prot: 4789", `prot: unknown key; did you mean port?`},
		{"vni: 43", `vni: is given twice, also at line 2; keep one`},
		{"mac: !!str x", "mac: a tag (!!str) is not allowed; write the value alone\nvtepd.yaml:4: segments[0].mac: " +
			`"x" is not a MAC address such as 02:00:00:00:00:01`},
		{"bridge: &a br0", `bridge: an anchor (&a) is not allowed; write the value out where it is used`},
	}
	for _, tt := range tests {
		base := "segments:\n- vni: 42\n  static: []\n  "
		if strings.HasPrefix(tt.text, "static") {
			base = "segments:\n- vni: 42\n  remotes: []\n  "
		}
		want := "vtepd.yaml:4: segments[0]." + tt.want
		if got := refusal(t, base+tt.text); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestBadRoutedSegment has what is wrong with a routed segment.
func TestBadRoutedSegment(t *testing.T) {
	const good = "prefixes: {prefix: 10.2.0.0/16, via: 192.0.2.2, mac: 02:00:00:00:00:02}"
	tests := []struct{ text, want string }{
		{"", `prefixes: is missing; a routed segment needs it (prefixes: [] to fill it at run time)`},
		{good + "\n  remotes: []", `remotes: says nothing with mode: route: a routed segment has no flood list and no FDB; write prefixes`},
		{good + "\n  bridge: br0", `bridge: says nothing with mode: route: a routed device carries IP packets without Ethernet headers; leave it out`},
		{good + "\n  suppress: on", `suppress: says nothing with mode: route: nobody asks for neighbours on a routed segment; leave it out`},
		{good + "\n  learning: on", `learning: says nothing with mode: route: a routed segment learns nothing from frames; leave it out`},
		{"prefixes: 10.2.0.0/16", `prefixes: "10.2.0.0/16" is a single value; write a mapping with prefix, via, mac`},
		{"prefixes: {prefix: 10.2.0.0/16}", `prefixes: via is missing; write {prefix: 10.244.2.0/24, via: 192.0.2.2, mac: 02:00:00:00:00:02}`},
		{"prefixes: {prefix: 10.2.0.0/16, via: 192.0.2.2}", `prefixes: mac is missing; write that of the device at 192.0.2.2, which takes no frames to another`},
		{"prefixes: {prefix: 10.2.0.1/16, via: 192.0.2.2, mac: 02:00:00:00:00:02}", `prefixes.prefix: 10.2.0.1/16 has host bits; write 10.2.0.0/16`},
		{"prefixes: {prefix: 224.0.0.0/4, via: 192.0.2.2, mac: 02:00:00:00:00:02}", `prefixes.prefix: 224.0.0.0/4 is for groups, which are not routed`},
		{"prefixes: {prefix: '::ffff:10.0.0.0/104', via: 192.0.2.2, mac: 02:00:00:00:00:02}", `prefixes.prefix: "::ffff:10.0.0.0/104" is IPv4 written as IPv6; write it as IPv4`},
		{"prefixes: {prefix: 10.2.0.0/16, via: 239.0.0.1, mac: 02:00:00:00:00:02}", `prefixes.via: 239.0.0.1 is a multicast address; use group for it`},
		{"prefixes: {prefix: 10.2.0.0/16, via: 192.0.2.2, mac: 03:00:00:00:00:02}",
			`prefixes.mac: 03:00:00:00:00:02 is a multicast MAC; write a unicast one (an even first octet, such as 02:...)`},
		{"prefixes: [{prefix: 10.2.0.0/16, via: 192.0.2.2, mac: 02:00:00:00:00:02}, {prefix: 10.2.0.0/16, via: 192.0.2.2, mac: 02:00:00:00:00:03}]",
			`prefixes[1]: 10.2.0.0/16 via 192.0.2.2 is already given at line 4; keep one`},
		{"prefixes: [{prefix: 10.2.0.0/16, via: 192.0.2.2, mac: 02:00:00:00:00:02}, {prefix: 10.3.0.0/16, via: 192.0.2.2, mac: 02:00:00:00:00:03}, {prefix: 10.4.0.0/16, via: 192.0.2.2}]",
			`prefixes[2]: mac is missing, and other prefixes via 192.0.2.2 have several; write it`},
		{"prefixes: [" + ways(64) + "]", ""},
		{"prefixes: [" + ways(65) + "]", `prefixes[64]: 10.2.0.0/16 is behind more than 64 VTEPs, which is the most; leave some out`},
		{"prefixes: []\n  local: '2001:db8::1'", ""},
	}
	for _, tt := range tests {
		text := "segments:\n- vni: 42\n  mode: route\n  " + tt.text
		if tt.want == "" {
			must(t, text)
			continue
		}
		got := strings.Split(refusal(t, text), "\n")[0]
		if _, rest, ok := strings.Cut(got, "segments[0]."); !ok || rest != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	for text, want := range map[string]string{
		"mode: routed, remotes: []":             `mode: "routed" is none of bridge, route`,
		"remotes: [], prefixes: []":             `prefixes: belongs to a routed segment; write mode: route, too`,
		"prefixes: []":                          `prefixes: belongs to a routed segment; write mode: route, too`,
		"mode: route, prefixes: [], prefix: []": `prefix: unknown key; did you mean prefixes?`,
	} {
		if got := refusal(t, "segments: [{vni: 1, "+text+"}]"); got != "vtepd.yaml:1: segments[0]."+want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestBadFile has whole files; each want is the beginning of a line.
func TestBadFile(t *testing.T) {
	tests := []struct {
		text string
		want []string
	}{
		{"", []string{"1: segments: there is none"}},
		{"# nothing\n", []string{"1: segments: there is none"}},
		{"log: {level: info}\nsegments: []", []string{"2: segments: there is none"}},
		{"- a", []string{"1: is a list; write a mapping with underlay"}},
		{"segments: [{vni: 1, remotes: []}]\n---\n{}", []string{"2: a second document starts here"}},
		{"segments: [\n", []string{"1: not YAML: "}},
		{"a: b: c", []string{"1: not YAML: mapping values are not allowed in this context"}},
		{"log:\n  level: *x", []string{"2: not YAML: an alias (*x) is not allowed"}},
		{"segments: [{}]", []string{"1: segments[0].vni: is missing", "1: segments[0]: has no destination"}},
		{"segments: [x]", []string{`1: segments[0]: "x" is a single value; write a mapping with vni`}},
		{"segments: [{vni: 16777216, group: ff05::1}]", []string{`1: segments[0].vni: "16777216" is not a number from 0 to 16777215`}},
		{"evpn: {}\nlogs: {}", []string{"1: evpn: unknown key; known here are underlay,", "2: logs: unknown key; did you mean log?"}},
		{"underlay: &u {port: 1}\nsegments:\n- vni: 1\n  <<: *u\n  remotes: []",
			[]string{"1: underlay: an anchor", "4: segments[0]: a merge key (<<)"}},
		{"underlay: {vni: 1}\nsegments: {vni: 1, remotes: []}", []string{"1: underlay.vni: unknown key here; it belongs into a segment"}},
		{"underlay: {port: x}\nsegments:\n- {vni: 1, remotes: [], port: 1}\n- {vni: 2, remotes: []}",
			[]string{`1: underlay.port: "x" is not`}},
		{"underlay: {port: x, mtu: x, ttl: x}\nsegments: []", []string{"1: underlay.port", "1: underlay.ttl", "1: underlay.mtu"}},
		{"segments:\n- {vni: 1, remotes: []}\n- {vni: 0x1, remotes: []}\n- {vni: 2, remotes: [], device: vx1}",
			[]string{"3: segments[1].vni: 1 is already the VNI of the segment at line 2", "4: segments[2].device: vx1 is already the device of the segment at line 2"}},
		{"segments:\n- {vni: 1, remotes: [], bridge: vx2}\n- {vni: 2, remotes: []}",
			[]string{"2: segments[0].bridge: vx2 is the device of the segment at line 3"}},
		{"underlay: {local: 192.0.2.1}\nsegments:\n- vni: 1\n  group: ff05::1\n  remotes: ['2001:db8::1']\n  static: {mac: 02:00:00:00:00:01, dst: '2001:db8::1'}",
			[]string{
				"4: segments[0].group: ff05::1 cannot be reached from 192.0.2.1: local has no address of that family",
				"5: segments[0].remotes[0]: 2001:db8::1 cannot", "6: segments[0].static: 2001:db8::1 cannot",
			}},
		{"segments:\n- {vni: 1, remotes: [], udp6_zero_csum_rx: on}\n- {vni: 2, remotes: []}\n- {vni: 3, remotes: [], port: 1}\n- {vni: 4, remotes: [], local: 192.0.2.1}",
			[]string{"3: segments[1].udp6_zero_csum_rx: is false here and true in the segment at line 2, which shares address and port 4789"}},
		{"log: {level: loud, format: xml}\ncontrol: {path: ''}\ndatapath: {tier: fast, workers: 65, spin: 2s}\nsegments: [{vni: 1, remotes: []}]",
			[]string{
				`1: log.level: "loud" is none of debug, info, warn, error`, `1: log.format: "xml" is none of console, json`,
				"2: control.path: is empty", `3: datapath.tier: "fast" is none of`,
				`3: datapath.workers: "65" is not a number from 1 to 64 or auto`, `3: datapath.spin: "2s" is too long; at most 1s is allowed`,
			}},
		{"control: {path: /" + strings.Repeat("x", 107) + "}\nsegments: [{vni: 1, remotes: []}]", []string{"1: control.path: "}},
		{"cni: {enable: maybe, conf_dir: net.d, bin_dir: '', version: 2, subnets: x,\n subnet: [10.0.0.0/31, 10.244.1.0, 224.0.0.0/8, 10.1.0.0/16,\n 10.1.2.0/24]}",
			[]string{
				`1: cni.subnets: unknown key; did you mean subnet?`, `1: cni.enable: "maybe" is neither`, `1: cni.conf_dir: "net.d" does not begin with a slash`, `1: cni.bin_dir: "" does not begin`,
				`1: cni.version: "2" is none of 0.3.1, 0.4.0, 1.0.0, 1.1.0`,
				`2: cni.subnet[0]: 10.0.0.0/31 is too small: a gateway and one pod take at least a /30`, `2: cni.subnet[1]: "10.244.1.0" has no prefix length`,
				`2: cni.subnet[2]: 224.0.0.0/8 has no addresses that pods may have`, `3: cni.subnet[4]: 10.1.2.0/24 overlaps 10.1.0.0/16`,
			}},
		{"[a]: 1\nsegments: [{vni: 1, remotes: []}]", []string{"1: a key must be a plain word"}},
	}
	for _, tt := range tests {
		got := strings.Split(refusal(t, tt.text), "\n")
		if len(got) != len(tt.want) {
			t.Errorf("%s\ngot  %q\nwant %q", tt.text, got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.HasPrefix(got[i], "vtepd.yaml:"+want) {
				t.Errorf("got  %s\nwant vtepd.yaml:%s", got[i], want)
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	if got := refusal(t, strings.Repeat("#", maxFile+1)); got != "vtepd.yaml: is larger than 4 MiB, which is no configuration" {
		t.Error(got)
	}
}

// ways is a list that places a prefix behind n VTEPs.
func ways(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("{prefix: 10.2.0.0/16, via: 198.51.100.%d, mac: 02:00:00:00:00:02}", i)
	}
	return strings.Join(list, ", ")
}
