package underlay

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PortInUse says that somebody else holds the address and port.
type PortInUse struct {
	Addr   netip.AddrPort
	Holder string // a process or kernel device in words; empty if it could not be found out
}

// Error implements error.
func (e *PortInUse) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("UDP %v is in use; `ss -ulpn` run as root shows by whom", e.Addr)
	}
	return fmt.Sprintf("UDP %v is in use by %s", e.Addr, e.Holder)
}

// holder says in words who holds an address and port. The name of another
// user's process takes CAP_SYS_PTRACE.
func holder(a netip.AddrPort) string {
	inodes := append(bound("/proc/net/udp", a), bound("/proc/net/udp6", a)...)
	for _, inode := range inodes {
		if p := process(inode); p != "" {
			return p
		}
	}
	// The sockets of kernel devices have inodes too, but no process.
	if d := kernelDevice(a.Port()); d != "" {
		return d
	}
	if len(inodes) > 0 {
		return "a process that this one may not see (socket inode " + inodes[0] + ")"
	}
	return ""
}

// bound returns the inodes of the sockets in a table of /proc/net that are in
// the way of a.
func bound(table string, a netip.AddrPort) []string {
	f, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		host, port, ok := strings.Cut(fields[1], ":")
		if p, err := strconv.ParseUint(port, 16, 16); !ok || err != nil || uint16(p) != a.Port() {
			continue
		}
		have := procAddr(host)
		if have == a.Addr() || have.IsUnspecified() || a.Addr().IsUnspecified() {
			out = append(out, fields[9])
		}
	}
	return out
}

// procAddr reads an address as /proc/net/udp writes it: 32-bit words in the
// machine's order.
func procAddr(s string) netip.Addr {
	b, err := hex.DecodeString(s)
	if err != nil || len(b)%4 != 0 {
		return netip.Addr{}
	}
	for i := 0; i < len(b); i += 4 { // little-endian machines only: amd64, arm64
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// process returns the process that has the socket open.
func process(inode string) string {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		pid := strings.Split(l, "/")[2]
		name, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(name)))
	}
	return ""
}

// kernelDevice returns the vxlan device of the kernel that uses the port.
func kernelDevice(port uint16) string {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return ""
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil && len(links) == 0 {
		return ""
	}
	for _, l := range links {
		if v, ok := l.(*netlink.Vxlan); ok && v.Port == int(port) {
			return fmt.Sprintf("the kernel's vxlan device %s (`ip link del %s` removes it)", v.Name, v.Name)
		}
	}
	return ""
}
