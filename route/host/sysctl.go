package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// settings are the kernel's network settings under a folder, /proc/sys/net: of
// the network namespace of the thread that opens a file there.
type settings struct {
	root string
	did  []string // what was changed, oldest first, each setting once
	// fresh is what was changed since somebody took it.
	fresh []string
}

// keptSettings bounds what is remembered of changed settings: devices come and
// go.
const keptSettings = 100

// forward switches on for a device that packets which come in by it are
// forwarded, for IPv4 and, with v6, for IPv6.
//
// Over IPv4 the device's own setting is all that counts (net/ipv4/route.c,
// IN_DEV_FORWARD), and net.ipv4.ip_forward, which would make routers of all
// other devices and reset their settings, stays as it is. Over IPv6 Linux 6.17
// has the like of it, force_forwarding; before that only conf.all.forwarding
// makes a host forward (net/ipv6/ip6_output.c, ip6_forward).
func (s *settings) forward(device string, v6 bool) error {
	err := s.set("ipv4/conf/"+device+"/forwarding", 1)
	if !v6 {
		return err
	}
	forced := "ipv6/conf/" + device + "/force_forwarding"
	if _, missing := s.get(forced); missing == nil {
		return errors.Join(err, s.set(forced, 1))
	}
	if _, missing := s.get("ipv6/conf/" + device + "/forwarding"); missing != nil {
		return errors.Join(err, missing)
	}
	return errors.Join(err, s.forwardAll6())
}

// forwardAll6 makes the host an IPv6 router. Interfaces that take router
// advertisements would stop to, and lose their default route: those are told to
// take them all the same (accept_ra 2, ip-sysctl.rst), before.
func (s *settings) forwardAll6() error {
	if n, err := s.get("ipv6/conf/all/forwarding"); err == nil && n != 0 {
		return nil
	}
	devices, err := os.ReadDir(filepath.Join(s.root, "ipv6/conf"))
	if err != nil {
		return err
	}
	for _, d := range devices {
		name := "ipv6/conf/" + d.Name()
		ra, err := s.get(name + "/accept_ra")
		forwarding, err2 := s.get(name + "/forwarding")
		if err != nil || err2 != nil || ra != 1 || forwarding != 0 {
			continue
		}
		if err := s.set(name+"/accept_ra", 2); err != nil {
			return err
		}
	}
	return s.set("ipv6/conf/all/forwarding", 1)
}

// loose lets packets in by a device of ours whatever way the host would answer
// by. A peer may have chosen the tunnel where we chose the plain route, and its
// host speaks from its underlay address. The kernel takes the larger of this and
// conf.all.rp_filter.
func (s *settings) loose(device string) error {
	return s.set("ipv4/conf/"+device+"/rp_filter", 2)
}

// set writes a setting unless it has the value already.
func (s *settings) set(name string, value int) error {
	was, err := s.get(name)
	if err != nil {
		return err
	}
	if was == value {
		return nil
	}
	if err := os.WriteFile(filepath.Join(s.root, name), []byte(strconv.Itoa(value)), 0o644); err != nil {
		return fmt.Errorf("setting net.%s to %d: %w", dotted(name), value, errors.Unwrap(err))
	}
	what := fmt.Sprintf("net.%s = %d (was %d)", dotted(name), value, was)
	s.did = slices.DeleteFunc(s.did, func(d string) bool { return strings.HasPrefix(d, "net."+dotted(name)+" ") })
	if len(s.did) == keptSettings {
		s.did = s.did[1:]
	}
	s.did, s.fresh = append(s.did, what), append(s.fresh, what)
	return nil
}

func (s *settings) get(name string) (int, error) {
	b, err := os.ReadFile(filepath.Join(s.root, name))
	if err != nil {
		return 0, fmt.Errorf("setting net.%s: %w", dotted(name), errors.Unwrap(err))
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// dotted is a setting's name as sysctl(8) takes it: in device names the dot
// stands for the slash between parts, and the slash for the dot.
func dotted(name string) string {
	return strings.NewReplacer("/", ".", ".", "/").Replace(name)
}
