package main

import (
	"slices"
	"strings"
	"testing"

	"vtepd/cmd/internal/api"
)

// wants fails unless err contains a refusal, or is nil when there is none.
func wants(t *testing.T, err error, refusal string) {
	t.Helper()
	if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
		t.Errorf("error %v, want %q", err, refusal)
	}
}

func TestAllAnswered(t *testing.T) {
	for _, tt := range []struct{ name, text, refusal string }{
		{"all", "5 packets transmitted, 5 received, 0% packet loss, time 812ms", ""},
		{"one lost", "5 packets transmitted, 4 received, 20% packet loss, time 812ms", "4 of 5"},
		{"none sent", "0 packets transmitted, 0 received, time 0ms", "0 of 0"},
		{"errors only", "1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms", "0 of 1"},
		{"no summary", "ping: unknown host", "no summary"},
	} {
		t.Run(tt.name, func(t *testing.T) { wants(t, allAnswered(tt.text), tt.refusal) })
	}
}

func TestReportOfIperf(t *testing.T) {
	for _, tt := range []struct{ name, text, refusal string }{
		{"a rate", `{"end": {"sum_sent": {"retransmits": 3}, "sum_received": {"bits_per_second": 55e6}}}`, ""},
		{"a stall", `{"end": {"sum_received": {"bits_per_second": 20}}}`, "only 20 bit/s"},
		{"an error", `{"error": "unable to connect to server"}`, "only 0 bit/s"},
		{"no JSON", "iperf3: error", "no report"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := report(tt.text)
			wants(t, err, tt.refusal)
		})
	}
}

func TestTier(t *testing.T) {
	for _, tt := range []struct {
		name, release string
		status        api.Status
		refusal       string
	}{
		{"offload with a reason", "6.1.0-56-cloud-amd64", api.Status{Tier: "offload", WhyNotFaster: "Linux 6.17"}, ""},
		{"offload without", "6.17.0", api.Status{Tier: "offload"}, "not why"},
		{"tunnel-gso on a new kernel", "6.17.3-cloud-amd64", api.Status{Tier: "tunnel-gso", WhyNotFaster: "asked for"}, ""},
		{"tunnel-gso on a later major", "7.0.1", api.Status{Tier: "tunnel-gso", WhyNotFaster: "asked for"}, ""},
		{"tunnel-gso on an old kernel", "6.16.12", api.Status{Tier: "tunnel-gso"}, "does not have"},
		{"tunnel-gso without a reason", "6.17.3", api.Status{Tier: "tunnel-gso"}, "not why"},
		{"ebpf on a new kernel", "6.6.0", api.Status{Tier: "ebpf"}, ""},
		{"ebpf on an old kernel", "6.5.9", api.Status{Tier: "ebpf"}, "does not have"},
		{"portable with a reason", "6.1.0", api.Status{Tier: "portable", WhyNotFaster: "asked for"}, ""},
		{"portable without", "6.1.0", api.Status{Tier: "portable"}, "not why"},
		{"no tier", "6.1.0", api.Status{}, `the tier ""`},
		{"a problem", "6.1.0", api.Status{Tier: "offload", WhyNotFaster: "Linux 6.17", Problems: []string{"no route"}}, "no route"},
	} {
		t.Run(tt.name, func(t *testing.T) { wants(t, checkTier(&tt.status, tt.release), tt.refusal) })
	}
}

func TestCounters(t *testing.T) {
	good := func() *api.Counters {
		return &api.Counters{Segments: api.List[api.SegmentCounters]{{
			Rx: api.Traffic{Frames: 2}, Tx: api.Traffic{Frames: 3},
			Drops:   api.Drops{Rx: api.Tally{"ecn": 0}, Tx: api.Tally{"oversize": 0}},
			Remotes: api.List[api.RemoteCounters]{{Errors: api.Tally{"enobufs": 0}}},
		}}}
	}
	for _, tt := range []struct {
		name    string
		change  func(*api.Counters)
		refusal string
	}{
		{"nothing dropped", func(*api.Counters) {}, ""},
		{"received and dropped", func(c *api.Counters) { c.Segments[0].Drops.Rx["ecn"] = 4 }, "rx drops ecn 4"},
		{"not sent", func(c *api.Counters) { c.Segments[0].Drops.Tx["oversize"] = 1 }, "tx drops oversize 1"},
		{"refused by the host", func(c *api.Counters) { c.Segments[0].Remotes[0].Errors["enobufs"] = 1 }, "errors enobufs 1"},
		{"for no segment", func(c *api.Counters) { c.Drops.Rx = api.Tally{"vni_not_found": 1} }, "of no segment vni_not_found 1"},
		{"nothing received", func(c *api.Counters) { c.Segments[0].Rx.Frames = 0 }, "0 frames received"},
		{"nothing sent", func(c *api.Counters) { c.Segments[0].Tx.Frames = 0 }, "0 sent"},
		{"no segment", func(c *api.Counters) { c.Segments = nil }, "not one segment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(c)
			wants(t, checkCounters(c), tt.refusal)
		})
	}
}

func TestPackets(t *testing.T) {
	const request, answer, arp = "1\t1\t56576\t42\t0\t8\t192.0.2.1", "1\t1\t40000\t42\t0\t0\t192.0.2.2", "1\t1\t50000\t42\t0\t\t192.0.2.1"
	whole := append(slices.Repeat([]string{request, answer}, pingsCaptured), arp)
	for _, tt := range []struct{ name, line, kernel, refusal string }{
		{"all good", arp, "192.0.2.2", ""},
		{"the kernel's port where no kernel is", arp, "", "source port 40000"},
		{"a bad checksum of UDP", "1\t0\t50000\t42\t0\t\t192.0.2.1", "192.0.2.2", "1 and 0"},
		{"a bad checksum of IP", "0\t1\t50000\t42\t0\t\t192.0.2.1", "192.0.2.2", "0 and 1"},
		{"another VNI", "1\t1\t50000\t43\t0\t\t192.0.2.1", "192.0.2.2", "VNI 43"},
		{"a fragment", "1\t1\t50000\t42\t1\t\t192.0.2.1", "192.0.2.2", "fragment"},
		{"one request too many", request, "192.0.2.2", "9 echo requests"},
		{"a line of other fields", "1\t1", "192.0.2.2", "tshark wrote"},
		{"no port", "1\t1\t\t42\t0\t\t192.0.2.1", "192.0.2.2", "tshark wrote"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := checkPackets(append(slices.Clone(whole), tt.line), tt.kernel)
			wants(t, err, tt.refusal)
		})
	}
	if _, err := checkPackets(nil, ""); err == nil {
		t.Error("an empty capture is no proof")
	}
}

func TestFirstFrame(t *testing.T) {
	got := firstFrame([]string{"Frame 4: 148 bytes", "Ethernet II", "", "Frame 9: 148 bytes", "Ethernet II"})
	if want := []string{"Frame 4: 148 bytes", "Ethernet II", ""}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestVirtualizes(t *testing.T) {
	for _, tt := range []struct {
		name, cpuinfo string
		want          bool
	}{
		{"Intel's", "processor\t: 0\nflags\t\t: fpu vmx sse2\n", true},
		{"AMD's", "flags\t\t: fpu svm\n", true},
		{"neither", "model name\t: vmx svm\nflags\t\t: fpu svm_lock sse2\n", false},
		{"nothing", "", false},
	} {
		if got := virtualizes(tt.cpuinfo); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
