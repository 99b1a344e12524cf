package cni

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

func TestParseConf(t *testing.T) {
	c, err := parseConf([]byte(`{"cniVersion":"1.0.0","name":"pods","type":"vtep-cni","bridge":null,"mtu":null,"subnet":null}`))
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(c.Subnets, c.Bridge, c.MTU, c.IsGateway, c.HairpinMode, c.IPMasq, c.Control, c.SubnetFile, c.FileNamed, c.DataDir)
	const want = "[] cni0 0 true true false /run/vtepd/vtepd.sock /run/flannel/subnet.env false /var/lib/cni/vtepd\n"
	if got != want {
		t.Errorf("the defaults are %s, want %s", got, want)
	}
}

func TestParseSubnetEnv(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n", "[10.244.1.0/24] 1450"},
		{"FLANNEL_SUBNET=10.244.1.1/24\r\nFLANNEL_IPV6_SUBNET=fd00:1::1/64\n# a remark\n\n=\n", "[10.244.1.0/24 fd00:1::/64] 0"},
		{"", "has neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET"},
		{"FLANNEL_SUBNET=fd00::1/64", `FLANNEL_SUBNET: "fd00::1/64" is no prefix of 32-bit addresses`},
		{"FLANNEL_SUBNET=10.0.0.1/24\nFLANNEL_MTU=-1", `FLANNEL_MTU: "-1" is no MTU`},
		{"FLANNEL_SUBNET=10.0.0.1/24\nFLANNEL_MTU=70000", `FLANNEL_MTU: 70000 is no MTU`},
	} {
		e, err := parseSubnetEnv([]byte(test.text))
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprintf("%v %d", e.Subnets, e.MTU)
		}
		if got != test.want {
			t.Errorf("%q: %s, want %s", test.text, got, test.want)
		}
	}
}

// FuzzParseConf: whatever a runtime writes, the answer is a configuration whose
// values can be used, or an error with a code.
func FuzzParseConf(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"name":"pods"}`, `{"name":"pods","subnet":["10.0.0.0/8","fd00::/64"],"mtu":1400,"bridge":"b"}`,
		`{"name":"p","subnet":[],"mtu":1e9}`, `{"name":"p","mtu":1.5}`, `{"name":"p","cni.dev/valid-attachments":[{"containerID":"a","ifname":"b"}],"dns":{}}`,
		`{"name":"p","subnet":"::ffff:10.0.0.0/120"}`, `{"name":"p","subnet":["x",1]}`, `{"name":"p","prevResult":1,"control":"/a\u0000"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConf(data)
		if err != nil {
			var e *types.Error
			if !errors.As(err, &e) || e.Code == 0 || e.Msg == "" {
				t.Errorf("%v", err)
			}
			return
		}
		if c.MTU < 0 || c.MTU > 65535 || c.Bridge == "" || len(c.Bridge) > 15 || c.DataDir[0] != '/' || strings.Contains(c.Name, "/") {
			t.Errorf("%+v", c)
		}
		for _, p := range c.Subnets {
			if !p.Hands(p.Gateway().Next()) {
				t.Errorf("%v hands out nothing", p.Subnet())
			}
		}
		if _, err := c.prevResult(); err == nil && c.Prev == nil {
			t.Error("no prevResult was taken for one")
		}
	})
}

// FuzzParseSubnetEnv: the file is another program's.
func FuzzParseSubnetEnv(f *testing.F) {
	for _, s := range []string{"", "FLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450", "FLANNEL_IPV6_SUBNET=fd00::1/64,", "FLANNEL_MTU==\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := parseSubnetEnv(data)
		if err == nil && (len(e.Subnets) == 0 || e.MTU < 0 || e.MTU > 65535 || !e.Subnets[0].IsValid()) {
			t.Errorf("%+v", e)
		}
	})
}

// TestHasNone: a kernel without nftables has no table of ours.
func TestHasNone(t *testing.T) {
	for err, want := range map[error]bool{
		fmt.Errorf("netlink: %w", unix.ENOENT): true, unix.EOPNOTSUPP: true, unix.EPROTONOSUPPORT: true,
		unix.EPERM: false, unix.EBUSY: false, nil: false,
	} {
		if got := hasNone(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
