package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeSettings is a kernel without force_forwarding: a folder with files.
func fakeSettings(t *testing.T, values map[string]string) *settings {
	t.Helper()
	s := &settings{root: t.TempDir()}
	for name, v := range values {
		f := filepath.Join(s.root, name)
		if err := os.MkdirAll(filepath.Dir(f), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestForwardAll6KeepsAdvertisements: before Linux 6.17 the whole host becomes
// an IPv6 router. Whoever took router advertisements goes on taking them.
func TestForwardAll6KeepsAdvertisements(t *testing.T) {
	s := fakeSettings(t, map[string]string{
		"ipv4/conf/flannel.1/forwarding":   "0",
		"ipv6/conf/all/forwarding":         "0",
		"ipv6/conf/all/accept_ra":          "1",
		"ipv6/conf/default/forwarding":     "0",
		"ipv6/conf/default/accept_ra":      "1",
		"ipv6/conf/eth0/forwarding":        "0",
		"ipv6/conf/eth0/accept_ra":         "1",
		"ipv6/conf/eth1/forwarding":        "0",
		"ipv6/conf/eth1/accept_ra":         "0",
		"ipv6/conf/br0/forwarding":         "1",
		"ipv6/conf/br0/accept_ra":          "1",
		"ipv6/conf/flannel.1/forwarding":   "0",
		"ipv6/conf/flannel.1/accept_ra":    "2",
		"ipv6/conf/flannel.1/disable_ipv6": "0",
	})
	if err := s.forward("flannel.1", true); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		"ipv4/conf/flannel.1/forwarding": 1,
		"ipv6/conf/all/forwarding":       1,
		"ipv6/conf/eth0/accept_ra":       2, // it took them
		"ipv6/conf/default/accept_ra":    2, // and so would what comes
		"ipv6/conf/eth1/accept_ra":       0, // an operator's choice
		"ipv6/conf/br0/accept_ra":        1, // it did not take them, being a router
		"ipv6/conf/flannel.1/accept_ra":  2,
	} {
		if got, err := s.get(name); err != nil || got != want {
			t.Errorf("%s is %d, want %d (%v)", name, got, want, err)
		}
	}
	last := s.did[len(s.did)-1]
	if last != "net.ipv6.conf.all.forwarding = 1 (was 0)" {
		t.Errorf("the last setting is %q: forwarding comes after accept_ra", last)
	}
	if s.did[0] != "net.ipv4.conf.flannel/1.forwarding = 1 (was 0)" {
		t.Errorf("the first setting is %q", s.did[0])
	}
	s.fresh = nil
	if err := s.forward("flannel.1", true); err != nil || len(s.fresh) > 0 {
		t.Errorf("again: %v %v", s.fresh, err)
	}
}

func TestSettingsAreBounded(t *testing.T) {
	s := fakeSettings(t, nil)
	for i := range keptSettings + 20 {
		name := strings.Repeat("x", i+1)
		if err := os.WriteFile(filepath.Join(s.root, name), []byte("0"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.set(name, 1); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.did) != keptSettings {
		t.Errorf("%d settings are kept", len(s.did))
	}
}

func TestSettingRefused(t *testing.T) {
	s := fakeSettings(t, map[string]string{"ipv4/conf/flannel.1/rp_filter": "x"})
	if err := s.loose("flannel.1"); err == nil {
		t.Error("a setting that is no number is taken")
	}
	if err := s.loose("vx9"); err == nil || !strings.Contains(err.Error(), "net.ipv4.conf.vx9.rp_filter") || !gone(err) {
		t.Errorf("a device that is gone: %v", err)
	}
}
