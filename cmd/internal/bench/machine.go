package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/bench/load"
	"vtepd/cmd/internal/bench/report"
)

// machine says what this is, as far as it can be found out.
func machine() report.Machine {
	m := report.Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version(), Congestion: load.Congestion}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		readCPUInfo(string(text), &m)
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if out, err := exec.Command("iperf3", "--version").Output(); err == nil {
		m.Iperf, _, _ = strings.Cut(string(out), " (")
	}
	return m
}

// readCPUInfo reads the model and whether a hypervisor is under it.
func readCPUInfo(text string, m *report.Machine) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "model name":
			m.CPU = value
		case "flags":
			m.Virtual = strings.Contains(" "+value+" ", " hypervisor ")
		}
	}
}
