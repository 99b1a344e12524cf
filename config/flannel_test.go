package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestFlannel: a file with nothing but `flannel` is complete.
func TestFlannel(t *testing.T) {
	with := func(change func(*Flannel)) *Flannel {
		f := defaultFlannel()
		if change != nil {
			change(f)
		}
		return f
	}
	tests := []struct {
		text string
		want *Flannel
	}{
		{"segments: [{vni: 1, remotes: []}]", nil},
		{"flannel: {}", with(nil)},
		{"flannel:", with(nil)},
		{`flannel: {endpoints: ["http://127.0.0.1:2379"], prefix: /coreos.com/network, tls: {ca: "", cert: "", key: ""}, username: "", password_file: "",
          public_ip: "", public_ipv6: "", interface: "", device: "", subnet_file: /run/flannel/subnet.env, renew_margin: 60m, masquerade: true, forward: check}`, with(nil)},
		{`flannel: {endpoints: ["https://etcd-1:2379/", "https://[2001:db8::1]:2379", "https://etcd-1:2379"], prefix: /net/, tls: {ca: /ca, cert: /cert, key: /key},
          username: flannel, password_file: /etc/vtepd/password, interface: eth1, public_ip: 192.0.2.1, public_ipv6: "2001:db8::1", device: f1,
          subnet_file: /run/x, renew_margin: 1439m, masquerade: off, forward: insert}`,
			&Flannel{[]string{"https://etcd-1:2379", "https://[2001:db8::1]:2379"}, "/net", TLS{"/ca", "/cert", "/key"}, "flannel", "/etc/vtepd/password",
				"eth1", netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), "f1", "/run/x", 1439 * time.Minute, false, "insert"}},
	}
	for _, tt := range tests {
		if got := must(t, tt.text).Flannel; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.text, got, tt.want)
		}
	}
}

func TestBadFlannel(t *testing.T) {
	tests := []struct{ text, want string }{
		{"endpoints: []", `endpoints: is empty`},
		{"endpoints: [127.0.0.1:2379]", `endpoints[0]: "127.0.0.1:2379" is not a URL such as http://127.0.0.1:2379`},
		{"endpoints: ftp://a:1", `endpoints: "ftp://a:1" is not a URL`},
		{"endpoints: http://a", `endpoints: "http://a" has no port`},
		{"endpoints: http://a:1/b", `endpoints: "http://a:1/b" has more than host and port`},
		{"endpoints: http://me:secret@a:1", `endpoints: has a name or password in it`},
		{"prefix: a", `prefix: "a" is not a place of keys`},
		{"prefix: /", `prefix: "/" is not a place of keys`},
		{"tls: {cert: /a}", `tls: cert and key belong together`},
		{"tls: {ca: a}", `tls.ca: "a" does not begin with a slash`},
		{"username: u", `username: needs password_file`},
		{"password_file: /p", `password_file: needs username`},
		{"password: p", `password: unknown key`},
		{"interface: a/b", `interface: "a/b" is not a device name`},
		{"public_ip: 2001:db8::1", `public_ip: 2001:db8::1 is no IPv4 address; write it as public_ipv6`},
		{"public_ipv6: 192.0.2.1", `public_ipv6: 192.0.2.1 is no IPv6 address; write it as public_ip`},
		{"public_ip: 127.0.0.1", `public_ip: 127.0.0.1 is not an address that other nodes can reach`},
		{"public_ipv6: fe80::1", `public_ipv6: fe80::1 is not an address that other nodes can reach`},
		{"device:", `device: has no value`},
		{"device: vx9", `device vx9 is that of a segment`},
		{"subnet_file: ''", `subnet_file is empty`},
		{"renew_margin: 30s", `renew_margin: 30s is too short; write a duration from 1m0s to 23h59m0s`},
		{"renew_margin: 24h", `renew_margin: "24h" is too long`},
		{"masquerade: maybe", `masquerade: "maybe" is neither true nor false`},
		{"forward: drop", `forward: "drop" is none of check, insert`},
	}
	for _, tt := range tests {
		got := refusal(t, "segments: [{vni: 9, remotes: []}]\nflannel:\n  "+tt.text)
		if !strings.Contains(got, "vtepd.yaml:") || !strings.Contains(got, "flannel") || !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %s\nwant %s", tt.text, got, tt.want)
		}
	}
	if got := refusal(t, "flannel:\n  forward: check\n  prefix: x"); !strings.HasPrefix(got, `vtepd.yaml:3: flannel.prefix: "x"`) {
		t.Error(got)
	}
}

func TestFlannelFlags(t *testing.T) {
	tests := []struct{ args, file string }{
		{"--flannel-etcd http://a:1,http://b:2 --public-ip 192.0.2.1", "flannel: {endpoints: ['http://a:1', 'http://b:2'], public_ip: 192.0.2.1}"},
		{"--flannel-etcd http://a:1 --flannel-prefix /x --flannel-interface eth1 --public-ipv6 2001:db8::1 --subnet-file /s",
			"flannel: {endpoints: 'http://a:1', prefix: /x, interface: eth1, public_ipv6: '2001:db8::1', subnet_file: /s}"},
		{"--flannel-etcd http://a:1 --vni 3 --remote=", "flannel: {endpoints: 'http://a:1'}\nsegments: [{vni: 3, remotes: []}]"},
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
		if want := must(t, tt.file).Flannel; !reflect.DeepEqual(got.Flannel, want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.args, got.Flannel, want)
		}
	}
	for args, want := range map[string]string{
		"--public-ip 192.0.2.1":                  "--public-ip: needs --flannel-etcd",
		"--subnet-file /s --vni 1 --remote=":     "--subnet-file: needs --flannel-etcd",
		"--flannel-etcd=":                        "--flannel-etcd: is empty",
		"--flannel-etcd http://a:1 --device vx9": "--vni: is missing",
		"":                                       "--flannel-etcd",
	} {
		f, err := flagged(t, strings.Fields(args)...)
		if err == nil {
			_, err = f.Config()
		}
		if err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), strings.TrimPrefix(want, "--flannel-etcd: ")) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
	if _, err := flagged(t, "--flannel-etcd", "nonsense"); err == nil {
		t.Error("nonsense is taken")
	}
}

// TestFlannelFlagsOverFile: flags override what the file says of the network.
func TestFlannelFlagsOverFile(t *testing.T) {
	file := must(t, "flannel: {endpoints: 'http://a:1', public_ip: 192.0.2.1, device: f0}")
	f, err := flagged(t, "--public-ip", "192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Apply(file)
	if err != nil || got.Flannel.PublicIP.String() != "192.0.2.2" || got.Flannel.Device != "f0" || file.Flannel.PublicIP.String() != "192.0.2.1" {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := f.Apply(must(t, "segments: [{vni: 1, remotes: []}]")); err == nil || !strings.Contains(err.Error(), "--public-ip: needs --flannel-etcd") {
		t.Error(err)
	}
}

func TestDiffFlannel(t *testing.T) {
	tests := []struct {
		old, next string
		restart   []string
		live      bool
	}{
		{"flannel: {}", "flannel: {renew_margin: 1h}", nil, false},
		{"flannel: {}", "flannel: {masquerade: false, forward: insert}", nil, true},
		{"flannel: {}", "segments: [{vni: 1, remotes: []}]", []string{"flannel"}, false},
		{"segments: [{vni: 1, remotes: []}]", "flannel: {}", []string{"flannel"}, false},
		{"flannel: {}", "flannel: {endpoints: 'https://a:1', prefix: /x, tls: {ca: /c}, username: u, password_file: /p, interface: i, public_ip: 192.0.2.1, public_ipv6: '2001:db8::1', device: d, subnet_file: /s, renew_margin: 2m}",
			[]string{"flannel.endpoints", "flannel.prefix", "flannel.tls", "flannel.username", "flannel.password_file", "flannel.interface", "flannel.public_ip",
				"flannel.public_ipv6", "flannel.device", "flannel.subnet_file", "flannel.renew_margin"}, false},
	}
	for _, tt := range tests {
		d := Diff(must(t, tt.old), must(t, tt.next))
		if !reflect.DeepEqual(d.Restart, tt.restart) || d.Flannel != tt.live {
			t.Errorf("%s -> %s: %+v", tt.old, tt.next, d)
		}
	}
}

func TestReadPassword(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for text, want := range map[string]string{"hush\n": "hush", "hush": "hush", "a b \r\nmore\n": "a b "} {
		if got, err := ReadPassword(file("good", text, 0o640)); err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for path, want := range map[string]string{
		file("open", "hush", 0o644):                    "everyone may read it",
		file("empty", "\nhush", 0o600):                 "has no password",
		file("long", strings.Repeat("x", 5000), 0o600): "more than 4096 bytes",
		filepath.Join(dir, "none"):                     "no such file",
		dir:                                            "is not a file with a password",
	} {
		if got, err := ReadPassword(path); err == nil || got != "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %q %v, want %s", path, got, err, want)
		}
	}
}
