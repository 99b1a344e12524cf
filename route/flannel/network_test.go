package flannel

import (
	"net/netip"
	"strings"
	"testing"

	"vtepd/route"
)

func network(t testing.TB, text string) *Network {
	t.Helper()
	n, err := ParseNetwork([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const vxlan = `,"Backend":{"Type":"vxlan"}}`

func TestNetworkDefaults(t *testing.T) {
	pool := func(prefix string, length int, low, high string) Pool {
		return Pool{netip.MustParsePrefix(prefix), length, netip.MustParseAddr(low), netip.MustParseAddr(high)}
	}
	plain := Backend{Type: VXLAN, VNI: 1, Port: 8472}
	tests := []struct {
		text string
		want Network
	}{
		{`{"Network":"10.244.0.0/16"` + vxlan, Network{V4: pool("10.244.0.0/16", 24, "10.244.1.0", "10.244.255.0"), Backend: plain}},
		{`{"network":"10.244.3.7/16","BACKEND":{"type":"VXLAN"}}`, Network{V4: pool("10.244.0.0/16", 24, "10.244.1.0", "10.244.255.0"), Backend: plain}},
		{`{"Network":"10.0.0.0/22"` + vxlan, Network{V4: pool("10.0.0.0/22", 24, "10.0.1.0", "10.0.3.0"), Backend: plain}},
		{`{"Network":"10.0.0.0/23"` + vxlan, Network{V4: pool("10.0.0.0/23", 25, "10.0.0.128", "10.0.1.128"), Backend: plain}},
		{`{"Network":"10.0.0.0/28"` + vxlan, Network{V4: pool("10.0.0.0/28", 30, "10.0.0.4", "10.0.0.12"), Backend: plain}},
		{`{"Network":"10.0.0.0/8","SubnetLen":20,"SubnetMin":"10.10.0.0","SubnetMax":"10.99.0.0","Backend":{"Type":"vxlan","VNI":0,"Port":4789,"MTU":9000,"DirectRouting":true,"Learning":true,"GBP":false}}`,
			Network{V4: pool("10.0.0.0/8", 20, "10.10.0.0", "10.99.0.0"), Backend: Backend{Type: VXLAN, Port: 4789, MTU: 9000, DirectRouting: true, Learning: true}}},
		{`{"Network":"10.0.0.0/8","SubnetMin":"0.0.0.0","Backend":{"Type":"host-gw"}}`,
			Network{V4: pool("10.0.0.0/8", 24, "10.0.1.0", "10.255.255.0"), Backend: Backend{Type: HostGW, VNI: HostGWVNI}}},
		{`{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44:244::/48"` + vxlan,
			Network{V4: pool("10.244.0.0/16", 24, "10.244.1.0", "10.244.255.0"), V6: pool("fd44:244::/48", 64, "fd44:244:0:1::", "fd44:244:0:ffff::"), Backend: plain}},
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd44::/124"` + vxlan,
			Network{V6: pool("fd44::/124", 126, "fd44::4", "fd44::c"), Backend: plain}},
		{`{"Network":"10.244.0.0/16","IPv6Network":"not looked at"` + vxlan, Network{V4: pool("10.244.0.0/16", 24, "10.244.1.0", "10.244.255.0"), Backend: plain}},
	}
	for _, tt := range tests {
		if got := network(t, tt.text); *got != tt.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.text, *got, tt.want)
		}
	}
}

func TestNetworkRefused(t *testing.T) {
	tests := []struct{ text, want string }{
		{``, "not what it should be"},
		{`[]`, "not what it should be"},
		{`{"Network":7}`, "not what it should be"},
		{strings.Repeat(" ", MaxConfig+1), "more than 65536"},
		{`{}`, "Network is missing"},
		{`{"Network":"10.0.0.0"}`, "is not a prefix of 32-bit"},
		{`{"Network":"fd00::/48"}`, "is not a prefix of 32-bit"},
		{`{"Network":"224.0.0.0/8"}`, "is multicast"},
		{`{"Network":"10.0.0.0/29"}`, "too small"},
		{`{"Network":"10.0.0.0/16","SubnetLen":31}`, "is not from 1 to 30"},
		{`{"Network":"10.0.0.0/16","SubnetLen":-1}`, "is not from 1 to 30"},
		{`{"Network":"10.0.0.0/16","SubnetLen":17}`, "write at least 18"},
		{`{"Network":"10.0.0.0/16","SubnetMin":"10.1.0.0"}`, "SubnetMin 10.1.0.0 is not within"},
		{`{"Network":"10.0.0.0/16","SubnetMax":"10.0.7.1"}`, "SubnetMax 10.0.7.1 is not the first address of a /24"},
		{`{"Network":"10.0.0.0/16","SubnetMin":"x"}`, `SubnetMin "x" is not an address`},
		{`{"Network":"10.0.0.0/16","SubnetMin":"10.0.9.0","SubnetMax":"10.0.8.0"}`, "is above SubnetMax"},
		{`{"EnableIPv4":false}`, "no family"},
		{`{"EnableIPv4":false,"EnableIPv6":true}`, "IPv6Network is missing"},
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/125"}`, "too small"},
		{`{"Network":"10.0.0.0/16"}`, `which means "udp" to Flannel`},
		{`{"Network":"10.0.0.0/16","Backend":null}`, `which means "udp" to Flannel`},
		{`{"Network":"10.0.0.0/16","Backend":{}}`, "Backend has no Type"},
		{`{"Network":"10.0.0.0/16","Backend":"vxlan"}`, "Backend is not what it should be"},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"wireguard"}}`, `the backend "wireguard" is none that vtepd has`},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"udp"}}`, `the backend "udp" is none`},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"vxlan","GBP":true}}`, "GBP is true"},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}}`, "VNI 16777216 is not"},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"vxlan","Port":65536}}`, "Port 65536 is not"},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"vxlan","MTU":-5}}`, "MTU -5 is not"},
	}
	for _, tt := range tests {
		n, err := ParseNetwork([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80s: %+v, %v; want %q", tt.text, n, err, tt.want)
		}
	}
}

func TestMTU(t *testing.T) {
	const dual = `{"Network":"10.0.0.0/16","EnableIPv6":true,"IPv6Network":"fd00::/48"`
	tests := []struct {
		text string
		want int
	}{
		{`{"Network":"10.0.0.0/16"` + vxlan, 1450},
		{dual + vxlan, 1430}, // one device for both, so the smaller
		{`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48"` + vxlan, 1430},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"vxlan","MTU":1400}}`, 1350},
		{`{"Network":"10.0.0.0/16","Backend":{"Type":"host-gw"}}`, 1500},
	}
	for _, tt := range tests {
		if got := network(t, tt.text).MTU(1500); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.text, got, tt.want)
		}
	}
}

func TestWay(t *testing.T) {
	for backend, want := range map[Backend]route.Way{
		{Type: VXLAN}: route.Tunnel, {Type: VXLAN, DirectRouting: true}: route.OnLink, {Type: HostGW}: route.HostOnly,
	} {
		if got := backend.Way(); got != want {
			t.Errorf("%+v: %v", backend, got)
		}
	}
}
