package load

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseIperf(t *testing.T) {
	read := func(name string) string {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	four := read("iperf3-4-streams.json")
	for _, c := range []struct {
		name, text string
		gigabits   float64
		problem    string
	}{
		{"what arrived of four streams", four, 21.276, ""},
		{"both directions together", read("iperf3-bidir.json"), 7.037 + 8.738, ""},
		{"after a warning", "warning: something\n" + four, 21.276, ""},
		{"an error of iperf3's", read("iperf3-refused.json"), 0, "Connection refused"},
		{"another congestion control", strings.Replace(four, `"sender_tcp_congestion": "cubic"`, `"sender_tcp_congestion": "bbr"`, 1), 0, "bbr"},
		{"no report", "iperf3: not found", 0, "not found"},
		{"half a report", four[:len(four)/2], 0, "report"},
		{"nothing received", `{"end": {"sum_received": {"seconds": 1, "bytes": 0}}}`, 0, "received nothing"},
		{"no time", `{"end": {"sum_received": {"seconds": 0, "bytes": 1}}}`, 0, "sum_received"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := parseIperf(c.text)
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Errorf("error %v, want one about %q", err, c.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := r.BitsPerSecond() / 1e9; math.Abs(got-c.gigabits) > 0.01 {
				t.Errorf("%.3f Gbit/s, want %.3f", got, c.gigabits)
			}
		})
	}
}

func TestMachineTime(t *testing.T) {
	const stat = "cpu  100 20 300 5000 700 1 2 9000 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"
	got, err := parseStat(stat)
	if want := 4230 * time.Millisecond; err != nil || got != want {
		t.Errorf("got %v, %v, want %v: without idle, waiting and stolen time", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8", "cpu a b c d e f g h"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestResidentMemory(t *testing.T) {
	if got, err := parseRSS("Name:\tx\nVmHWM:\t    9999 kB\nVmRSS:\t   18048 kB\n"); err != nil || got != 18048<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := parseRSS("Name:\tkthread\n"); err == nil {
		t.Error("a process without memory is taken")
	}
}

// TestOwnProcess asks the kernel about the process of the test.
func TestOwnProcess(t *testing.T) {
	pids := []int{os.Getpid()}
	before, err := ProcessCPU(pids)
	if err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 50*time.Millisecond; {
		continue
	}
	after, err := ProcessCPU(pids)
	if err != nil || after <= before {
		t.Errorf("processor time %v, then %v, %v", before, after, err)
	}
	if n, err := RSS(pids); err != nil || n < 1<<20 {
		t.Errorf("resident memory %d, %v", n, err)
	}
}
