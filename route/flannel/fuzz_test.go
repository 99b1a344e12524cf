package flannel

import (
	"errors"
	"testing"
)

func FuzzNetwork(f *testing.F) {
	f.Add([]byte(`{"Network":"10.244.0.0/16","SubnetLen":24,"SubnetMin":"10.244.1.0","Backend":{"Type":"vxlan","VNI":1,"Port":8472}}`))
	f.Add([]byte(`{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00::/48","Backend":{"Type":"host-gw"}}`))
	f.Add([]byte(`{"Network":"0.0.0.0/0","Backend":{"type":"VXLAN","GBP":true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := ParseNetwork(data)
		if err != nil {
			return
		}
		for _, p := range []Pool{n.V4, n.V6} {
			if p.Enabled() && (p.Max.Less(p.Min) || !p.Prefix.Contains(p.Min) || !p.Prefix.Contains(p.Max) || p.Len < p.Prefix.Bits()+2) {
				t.Errorf("%+v", p)
			}
		}
		s, err := n.Choose(nil, Subnet{}, func(int) int { return 0 })
		if err != nil || !n.Allows(s) || n.holds(s) != nil {
			t.Errorf("no subnet in %+v: %v %v", n, s, err)
		}
	})
}

func FuzzSubnet(f *testing.F) {
	for _, s := range []string{"10.5.52.0-24", "10.5.52.0-24&2001:cafe:42:1::-64", "0.0.0.0-0&fd00::-64", "garbage", "-&-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		s, err := ParseSubnet(key)
		if err != nil {
			return
		}
		if again, err := ParseSubnet(s.Key()); err != nil || again != s || s.IsZero() {
			t.Errorf("%q: %v, again %v %v", key, s, again, err)
		}
	})
}

func FuzzLease(f *testing.F) {
	f.Add([]byte(`{"PublicIP":"10.77.0.1","PublicIPv6":"fd77::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"5a:6a:c2:81:a2:57"},"BackendV6Data":{"VNI":1,"VtepMAC":"32:8a:d0:83:03:2a"}}`))
	f.Add([]byte(`{"PublicIP":"10.77.0.2","PublicIPv6":null,"BackendType":"host-gw"}`))
	f.Add([]byte("not json"))
	f.Fuzz(func(t *testing.T, value []byte) {
		a, err := ParseLease(value, 1)
		var r *Refusal
		if err != nil {
			if !errors.As(err, &r) {
				t.Errorf("%T", err)
			}
			return
		}
		if again, err := ParseLease(a.Value(), 1); err != nil || again != a {
			t.Errorf("%q: %+v\nagain %+v %v", value, a, again, err)
		}
	})
}

func FuzzEnv(f *testing.F) {
	f.Add([]byte("FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"))
	f.Add([]byte("FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00::1/64\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnv(data)
		if err != nil || e.Network.IsValid() != e.Subnet.V4.IsValid() || e.IPv6Network.IsValid() != e.Subnet.V6.IsValid() {
			return
		}
		if again, err := ParseEnv(e.Bytes()); err != nil || again != e {
			t.Errorf("%q: %+v\nagain %+v %v", data, e, again, err)
		}
	})
}
