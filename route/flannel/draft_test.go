package flannel

import (
	"net/netip"
	"strings"
	"testing"
)

func TestDraft(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd44::/48")
	tests := []struct {
		d    Draft
		want string
	}{
		{Draft{Network: v4, Backend: VXLAN, VNI: -1}, `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`},
		{Draft{Network: v4, Backend: VXLAN, VNI: 0, Port: 4789, SubnetLen: 26, DirectRouting: true},
			`{"Network":"10.244.0.0/16","SubnetLen":26,"Backend":{"Type":"vxlan","VNI":0,"Port":4789,"DirectRouting":true}}`},
		{Draft{Network: v4, Network6: v6, Backend: HostGW, VNI: -1},
			`{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"host-gw"}}`},
		{Draft{Network6: v6, Backend: VXLAN, VNI: 5}, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"vxlan","VNI":5}}`},
	}
	for _, tt := range tests {
		if got, err := tt.d.Bytes(); err != nil || string(got) != tt.want {
			t.Errorf("%s %v\nwant %s", got, err, tt.want)
		}
	}
	for want, d := range map[string]Draft{
		"are those of the backend vxlan;":   {Network: v4, Backend: HostGW, VNI: 7},
		"port and direct routing are those": {Network: v4, Backend: HostGW, VNI: -1, Port: 8472},
		"direct routing are those of":       {Network: v4, Backend: HostGW, VNI: -1, DirectRouting: true},
		"the network has no IPv4":           {Network6: v6, Backend: VXLAN, SubnetLen: 24},
		"no family":                         {Backend: VXLAN},
		"has no Type":                       {Network: v4},
		`"udp" is none`:                     {Network: v4, Backend: "udp"},
		"VNI 16777216":                      {Network: v4, Backend: VXLAN, VNI: 1 << 24},
		"Port 70000":                        {Network: v4, Backend: VXLAN, Port: 70000},
		"SubnetLen 31":                      {Network: v4, Backend: VXLAN, SubnetLen: 31},
		"is not a prefix":                   {Network: v6, Backend: VXLAN},
	} {
		if b, err := d.Bytes(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s %v, want %s", b, err, want)
		}
	}
}
