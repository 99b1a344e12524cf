package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/lab"
)

// allAnswered reads the summary of ping.
func allAnswered(text string) error {
	m := regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`).FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("ping has no summary:\n%s", text)
	}
	if m[1] == "0" || m[1] != m[2] {
		return fmt.Errorf("%s of %s pings were answered", m[2], m[1])
	}
	return nil
}

// minRate is what TCP must get through in bit/s, however busy the host is.
const minRate = 1e5

// report reads what iperf3 wrote as JSON. Next to nothing having come through
// is an error.
func report(text string) (*lab.Report, error) {
	var r lab.Report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return nil, fmt.Errorf("iperf3 wrote no report: %w\n%s", err, text)
	}
	if rate := r.End.Received.BitsPerSecond; rate < minRate {
		return nil, fmt.Errorf("TCP got only %.0f bit/s through", rate)
	}
	return &r, nil
}

// since is the first Linux with a tier; 0.0 is any.
func since(tier string) [2]int {
	switch tier {
	case "tunnel-gso":
		return [2]int{6, 17}
	case "ebpf":
		return [2]int{6, 6}
	}
	return [2]int{}
}

// version reads major and minor number of a kernel's release.
func version(release string) (major, minor int, err error) {
	_, err = fmt.Sscanf(release, "%d.%d", &major, &minor)
	return major, minor, err
}

// hasTier reports whether a kernel is new enough for a tier.
func hasTier(tier, release string) bool {
	major, minor, err := version(release)
	first := since(tier)
	return err == nil && slices.Compare([]int{major, minor}, first[:]) >= 0
}

// checkTier checks that the daemon names a tier that the kernel can have, and
// says why when it is not the fastest.
func checkTier(s *api.Status, release string) error {
	switch {
	case !slices.Contains([]string{"portable", "offload", "tunnel-gso", "ebpf"}, s.Tier):
		return fmt.Errorf("status shows the tier %q", s.Tier)
	case !hasTier(s.Tier, release):
		return fmt.Errorf("status shows %s, which Linux %s does not have", s.Tier, release)
	case s.Tier != "ebpf" && s.WhyNotFaster == "":
		return fmt.Errorf("status shows the tier %s and not why it is not a faster one", s.Tier)
	case len(s.Problems) > 0:
		return fmt.Errorf("status shows problems: %s", strings.Join(s.Problems, "; "))
	}
	return nil
}

// checkCounters checks that frames went both ways and that none was dropped or
// refused.
func checkCounters(c *api.Counters) error {
	if len(c.Segments) != 1 || len(c.Segments[0].Remotes) != 1 {
		return errors.New("counters show not one segment with one remote")
	}
	s := c.Segments[0]
	if s.Rx.Frames == 0 || s.Tx.Frames == 0 {
		return fmt.Errorf("counters show %d frames received and %d sent", s.Rx.Frames, s.Tx.Frames)
	}
	var lost []string
	for _, t := range []struct {
		what  string
		tally api.Tally
	}{
		{"rx drops", s.Drops.Rx}, {"tx drops", s.Drops.Tx}, {"errors", s.Remotes[0].Errors},
		{"rx drops of no segment", c.Drops.Rx}, {"tx drops of no segment", c.Drops.Tx},
	} {
		for _, reason := range slices.Sorted(maps.Keys(t.tally)) {
			if n := t.tally[reason]; n > 0 {
				lost = append(lost, fmt.Sprintf("%s %s %d", t.what, reason, n))
			}
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("counters show %s", strings.Join(lost, ", "))
	}
	return nil
}

// pingsCaptured is how many echo requests pings sends over the overlay.
const pingsCaptured = 5 + 3

// decode checks every packet of a capture of the wire with tshark and prints
// one of them. kernel is the address of the kernel's device, if there is one.
func decode(pcap, kernel string) error {
	// ARP of the underlay has no IP header; all else to or from our port counts.
	lines, err := lab.Tshark(pcap, "-d", "udp.port==4789,vxlan", "-Y", "udp.dstport==4789", "-T", "fields", "-E", "occurrence=f",
		"-e", "ip.checksum.status", "-e", "udp.checksum.status", "-e", "udp.srcport", "-e", "vxlan.vni", "-e", "ip.flags.mf", "-e", "icmp.type", "-e", "ip.src")
	if err != nil {
		return err
	}
	echoes, err := checkPackets(lines, kernel)
	if err != nil {
		return fmt.Errorf("%s: %w", pcap, err)
	}
	lines, err = lab.Tshark(pcap, "-d", "udp.port==4789,vxlan", "-Y", "icmp.type==8", "-O", "eth,ip,udp,vxlan,icmp")
	if err != nil {
		return err
	}
	fmt.Println(strings.TrimRight(strings.Join(firstFrame(lines), "\n"), "\n") + "\n")
	fmt.Printf("all VXLAN packets of the wire have VNI %s and good checksums, those of vtepd a source port from 49152 to 65535; %d hold an echo request\n", vni, echoes)
	return nil
}

// minPort is the first of vtepd's source ports. The kernel's device takes those
// of net.ipv4.ip_local_port_range.
const minPort = 49152

// checkPackets checks tshark's lines of fields, as decode asks for them, and
// counts the echo requests of the overlay.
func checkPackets(lines []string, kernel string) (echoes int, err error) {
	const good = "1"
	for i, line := range lines {
		f := strings.Split(line, "\t")
		if len(f) != 7 {
			return 0, fmt.Errorf("tshark wrote %q", line)
		}
		port, err := strconv.Atoi(f[2])
		switch {
		case err != nil:
			return 0, fmt.Errorf("tshark wrote %q", line)
		case f[0] != good || f[1] != good:
			return 0, fmt.Errorf("packet %d has checksums of IP and UDP that tshark calls %s and %s (1 is good)", i+1, f[0], f[1])
		case port < minPort && f[6] != kernel:
			return 0, fmt.Errorf("packet %d has source port %d", i+1, port)
		case f[3] != vni:
			return 0, fmt.Errorf("packet %d has VNI %s", i+1, f[3])
		case f[4] != "0":
			return 0, fmt.Errorf("packet %d is a fragment", i+1)
		case f[5] == "8":
			echoes++
		}
	}
	if echoes != pingsCaptured {
		return 0, fmt.Errorf("%d echo requests, not %d", echoes, pingsCaptured)
	}
	return echoes, nil
}

// firstFrame returns tshark's lines about the first frame it decoded.
func firstFrame(lines []string) []string {
	for i, line := range lines {
		if i > 0 && strings.HasPrefix(line, "Frame ") {
			return lines[:i]
		}
	}
	return lines
}
