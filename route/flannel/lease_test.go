package flannel

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func subnet(t testing.TB, key string) Subnet {
	t.Helper()
	s, err := ParseSubnet(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKeys(t *testing.T) {
	for _, key := range []string{"10.5.52.0-24", "10.5.52.0-24&2001:cafe:42:1::-64", "0.0.0.0-0&2001:cafe:42:1::-64", "10.0.0.0-8"} {
		if s := subnet(t, key); s.Key() != key {
			t.Errorf("%s: %v %s", key, s, s.Key())
		}
	}
	if got := subnet(t, "10.5.52.0-24&2001:cafe:42:1::-64").String(); got != "10.5.52.0/24 and 2001:cafe:42:1::/64" {
		t.Error(got)
	}
	for _, key := range []string{
		"", "garbage", "10.5.52.0", "10.5.52.0-", "10.5.52.0-33", "10.5.52.0--1", "10.5.52.1-24", "10.5.52-24", "010.5.52.0-24",
		"10.5.52.0-24&", "10.5.52.0-24&2001::", "10.5.52.0-24&2001::1-64", "10.5.52.0-24&10.5.53.0-24", "2001::-64", "0.0.0.0-0",
		"0.0.0.0-0&", "239.0.0.0-24", "10.5.52.0-24&ff00::-64", "::ffff:10.5.52.0-120", "10.5.52.0-24&::ffff:0:0-96", "10.5.52.0/24",
		"10.5.52.0-24&2001::-64&x", "a/10.5.52.0-24", strings.Repeat("1", 200), "10.5.52.0-24\n", "fe80::%a-64",
	} {
		if s, err := ParseSubnet(key); err == nil {
			t.Errorf("%q is taken for %v", key, s)
		}
	}
}

func TestLeaseRefused(t *testing.T) {
	const data = `"BackendType":"vxlan","BackendData":`
	tests := []struct {
		value string
		want  Reason
	}{
		{"", BadValue}, {"not json", BadValue}, {"[]", BadValue}, {`{"PublicIP":1}`, BadValue}, {`{"BackendType":{}}`, BadValue},
		{`{"PublicIP":"10.0.0.256"}`, BadPublicIP}, {`{"PublicIP":"fd00::1"}`, BadPublicIP}, {`{"PublicIP":"239.1.1.1"}`, BadPublicIP},
		{`{"PublicIP":"127.0.0.1"}`, BadPublicIP}, {`{"PublicIP":"255.255.255.255"}`, BadPublicIP},
		{`{"PublicIP":"10.0.0.1","PublicIPv6":"10.0.0.1"}`, BadPublicIP}, {`{"PublicIPv6":"fe80::1%eth0"}`, BadPublicIP},
		{`{"PublicIPv6":"fe80::1"}`, BadPublicIP}, {`{"BackendType":"` + strings.Repeat("x", 65) + `"}`, BadValue},
		{`{` + data + `"x"}`, BadValue}, {`{` + data + `{"VNI":-1}}`, BadValue}, {`{` + data + `{"VNI":1}}`, BadMAC},
		{`{` + data + `{"VtepMAC":"01:00:5e:00:00:01"}}`, BadMAC}, {`{` + data + `{"VtepMAC":"00:00:00:00:00:00"}}`, BadMAC},
		{`{` + data + `{"VtepMAC":"ff:ff:ff:ff:ff:ff"}}`, BadMAC}, {`{` + data + `{"VtepMAC":7}}`, BadValue},
		{`{` + data + `{"VNI":16777216,"VtepMAC":"02:00:00:00:00:01"}}`, OtherVNI},
		{strings.Repeat("[", 1999), BadValue}, {strings.Repeat(" ", MaxValue+1), Oversize},
		{`{"PublicIP":"` + strings.Repeat("\x01\xff", 500) + `"}`, BadValue},
	}
	for _, tt := range tests {
		a, err := ParseLease([]byte(tt.value), 1)
		var r *Refusal
		if !errors.As(err, &r) || r.Reason != tt.want || len(r.Text) > 400 || strings.ContainsAny(r.Text, "\n\x01") || a != (Attrs{}) {
			t.Errorf("%.60q: %+v %v, want %s", tt.value, a, err, tt.want)
		}
	}
}

// TestLeaseReaches has leases that are right by themselves.
func TestLeaseReaches(t *testing.T) {
	const mac = `{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}`
	v4, dual := `{"Network":"10.0.0.0/16"`, `{"Network":"10.0.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"`
	tests := []struct {
		network, key, value string
		want                Reason
	}{
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":` + mac + `}`, ""},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VtepMAC":"02-00-00-00-00-01"}}`, ""},
		{v4 + vxlan, "10.0.1.0-24", `{"BackendType":"vxlan","BackendData":` + mac + `}`, BadPublicIP},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"0.0.0.0","BackendType":"vxlan","BackendData":` + mac + `}`, BadPublicIP},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan"}`, BadMAC},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":{"VNI":2,"VtepMAC":"02:00:00:00:00:01"}}`, OtherVNI},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"host-gw"}`, OtherBackend},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"udp","BackendData":"whatever"}`, OtherBackend},
		{v4 + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1"}`, OtherBackend},
		{v4 + `,"Backend":{"Type":"host-gw"}}`, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw"}`, ""},
		{v4 + `,"Backend":{"Type":"host-gw"}}`, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":` + mac + `}`, OtherBackend},
		{dual + vxlan, "10.0.1.0-24&fd00:0:0:1::-64", `{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":` + mac + `,"BackendV6Data":` + mac + `}`, ""},
		{dual + vxlan, "10.0.1.0-24&fd00:0:0:1::-64", `{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":` + mac + `,"BackendV6Data":` + mac + `}`, BadPublicIP},
		{dual + vxlan, "10.0.1.0-24&fd00:0:0:1::-64", `{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":` + mac + `}`, BadMAC},
		{dual + vxlan, "10.0.1.0-24", `{"PublicIP":"192.0.2.1","BackendType":"vxlan","BackendData":` + mac + `}`, ""}, // a node without IPv6
	}
	for _, tt := range tests {
		n := network(t, tt.network)
		a, err := ParseLease([]byte(tt.value), n.Backend.VNI)
		if err != nil {
			t.Errorf("%s: %v", tt.value, err)
			continue
		}
		r := a.reaches(subnet(t, tt.key), n)
		if got := r; tt.want == "" && got != nil || tt.want != "" && (got == nil || got.Reason != tt.want) {
			t.Errorf("%s %s: %v, want %q", tt.key, tt.value, r, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	first, lastOf := func(int) int { return 0 }, func(n int) int { return n - 1 }
	small := network(t, `{"Network":"10.0.0.0/28"`+vxlan) // .4, .8, .12
	tests := []struct {
		name   string
		n      *Network
		inUse  []string
		before string
		pick   func(int) int
		want   string
	}{
		{"the first is left out", small, nil, "", first, "10.0.0.4-30"},
		{"the last is not", small, nil, "", lastOf, "10.0.0.12-30"},
		{"by chance among free ones", small, []string{"10.0.0.4-30"}, "", first, "10.0.0.8-30"},
		{"the old one", small, []string{"10.0.0.4-30"}, "10.0.0.12-30", first, "10.0.0.12-30"},
		{"the old one is taken", small, []string{"10.0.0.12-30"}, "10.0.0.12-30", first, "10.0.0.4-30"},
		{"the old one is partly taken", small, []string{"10.0.0.14-31"}, "10.0.0.12-30", first, "10.0.0.4-30"},
		{"the old one is of another network", small, nil, "10.9.0.4-30", first, "10.0.0.4-30"},
		{"the old one has another length", small, nil, "10.0.0.4-31", first, "10.0.0.4-30"},
		{"the old one is before SubnetMin", small, nil, "10.0.0.0-30", first, "10.0.0.4-30"},
		{"all taken", small, []string{"10.0.0.4-30", "10.0.0.8-30", "10.0.0.12-31"}, "", first, ""},
		{"one lease has all", small, []string{"10.0.0.0-8"}, "", first, ""},
		{"a hundred to choose from", network(t, `{"Network":"10.0.0.0/8"`+vxlan), nil, "", lastOf, "10.0.100.0-24"},
		{"a large lease is passed at once", network(t, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/8"`+vxlan),
			[]string{"0.0.0.0-0&fd00::-9"}, "", first, "0.0.0.0-0&fd80::-64"},
		{"both families", network(t, `{"Network":"10.0.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"`+vxlan),
			[]string{"10.0.1.0-24&fd00:0:0:2::-64"}, "10.0.3.0-24", first, "10.0.3.0-24&fd00:0:0:1::-64"},
	}
	for _, tt := range tests {
		var inUse []Subnet
		for _, key := range tt.inUse {
			inUse = append(inUse, subnet(t, key))
		}
		var before Subnet
		if tt.before != "" {
			before = subnet(t, tt.before)
		}
		got, err := tt.n.Choose(inUse, before, tt.pick)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s: %v", tt.name, got)
			}
			continue
		}
		if err != nil || got.Key() != tt.want || !tt.n.Allows(got) {
			t.Errorf("%s: %v %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestEnvFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "flannel", "subnet.env")
	if e, err := ReadEnv(path); err != nil || e != (Env{}) {
		t.Fatalf("without a file: %+v %v", e, err)
	}
	e := Env{Network: netip.MustParsePrefix("10.5.0.0/16"), Subnet: subnet(t, "10.5.52.0-24"), MTU: 1450, IPMasq: true}
	for range 2 { // also over an old one
		if err := e.Write(path); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Fatal(info.Mode(), err)
	}
	if got, err := ReadEnv(path); err != nil || got != e {
		t.Errorf("%+v %v", got, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left over: %v %v", left, err)
	}
	if err := os.WriteFile(path, []byte("FLANNEL_SUBNET=x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEnv(path); err == nil || !strings.Contains(err.Error(), path+": FLANNEL_SUBNET") {
		t.Error(err)
	}
}

func TestParseEnv(t *testing.T) {
	e, err := ParseEnv([]byte("# x\nFLANNEL_NETWORK=10.5.0.0/16,10.6.0.0/16\nFLANNEL_SUBNET=\"10.5.52.1/24\"\nOTHER=1\nFLANNEL_IPV6_SUBNET=fd00::1/64\n"))
	if err != nil || e.Subnet.Key() != "10.5.52.0-24&fd00::-64" || e.Network.String() != "10.5.0.0/16" {
		t.Errorf("%+v %v", e, err)
	}
	for _, text := range []string{"FLANNEL_SUBNET=", "FLANNEL_SUBNET=fd00::/64", "FLANNEL_MTU=x", "FLANNEL_MTU=-1", "FLANNEL_IPMASQ=maybe", strings.Repeat("a", maxEnv+1)} {
		if _, err := ParseEnv([]byte(text)); err == nil {
			t.Errorf("%.40q is taken", text)
		}
	}
}
