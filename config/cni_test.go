package config

import (
	"fmt"
	"testing"
)

// TestCNI: a file with nothing but `cni` is complete.
func TestCNI(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"cni: {}", "{false /etc/cni/net.d /opt/cni/bin 1.0.0 []}"},
		{"cni: {enable: on}", "{true /etc/cni/net.d /opt/cni/bin 1.0.0 []}"},
		{"cni: {enable: true, conf_dir: /etc/x/, bin_dir: /usr/lib/cni, version: 1.1.0, subnet: 10.244.1.1/24}",
			"{true /etc/x /usr/lib/cni 1.1.0 [10.244.1.0/24]}"},
		{"cni: {subnet: [10.244.1.0/24, 'fd00:1::/64']}", "{false /etc/cni/net.d /opt/cni/bin 1.0.0 [10.244.1.0/24 fd00:1::/64]}"},
	} {
		c, err := Parse("f", []byte(test.text))
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
		} else if got := fmt.Sprint(c.CNI); got != test.want {
			t.Errorf("%s: %s, want %s", test.text, got, test.want)
		}
	}
	a, err := Parse("f", []byte("cni: {subnet: 10.1.0.0/24}"))
	b, err2 := Parse("f", []byte("cni: {subnet: 10.2.0.0/24}"))
	if err != nil || err2 != nil || !Diff(a, b).CNI || Diff(a, a).CNI {
		t.Errorf("differing: %v, %v", err, err2)
	}
}
