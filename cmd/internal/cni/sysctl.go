package cni

import (
	"os"
	"path/filepath"
	"strings"
)

// forward has the kernel forward packets of a family, as the stock bridge
// plugin does: a gateway that does not forward is none. The switch is the whole
// host's, since what pods are sent comes in by any interface: answers from
// outside, and with portmap requests. A host that forwards already is not
// touched.
func forward(is4 bool) error {
	if is4 {
		return setSysctl("/proc/sys/net/ipv4/ip_forward", "1")
	}
	const all = "/proc/sys/net/ipv6/conf/all/forwarding"
	if hasSysctl(all, "1") {
		return nil
	}
	if err := keepAdvertisements("/proc/sys/net/ipv6/conf"); err != nil {
		return err
	}
	return setSysctl(all, "1")
}

// keepAdvertisements tells interfaces that take router advertisements to go on
// (accept_ra 2, ip-sysctl.rst) when the host becomes a router: else they would
// lose their default route.
func keepAdvertisements(dir string) error {
	devices, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, d := range devices {
		name := filepath.Join(dir, d.Name())
		if hasSysctl(name+"/accept_ra", "1") && hasSysctl(name+"/forwarding", "0") {
			if err := setSysctl(name+"/accept_ra", "2"); err != nil && !os.IsNotExist(err) { // it may go meanwhile
				return err
			}
		}
	}
	return nil
}

func hasSysctl(path, value string) bool {
	now, err := os.ReadFile(path)
	return err == nil && strings.TrimSpace(string(now)) == value
}

// setSysctl writes a value that is not there yet. The file is that of the
// namespace of the calling thread.
func setSysctl(path, value string) error {
	if hasSysctl(path, value) {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0o644)
}
