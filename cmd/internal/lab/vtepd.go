package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A Daemon is a vtepd in a host.
type Daemon struct {
	*Proc
	host    *Host
	bin     string
	control string
}

// Vtepd starts vtepd from the folder bin in the host, with a control socket of
// its own, and waits until it forwards.
func (h *Host) Vtepd(bin string, args ...string) (*Daemon, error) {
	d := &Daemon{host: h, bin: bin, control: h.File(unique("sock"))}
	p, err := h.Start(filepath.Join(bin, "vtepd"), append([]string{"run", "--control", d.control}, args...)...)
	if err != nil {
		return nil, err
	}
	d.Proc = p
	return d, d.WaitFor("forwarding", 20*time.Second)
}

// VtepdFile starts vtepd with a configuration file of the given content.
func (h *Host) VtepdFile(bin, config string) (*Daemon, error) {
	file := h.File(unique("conf") + ".yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return h.Vtepd(bin, "--config", file)
}

// Ctl runs vtepctl against the daemon.
func (d *Daemon) Ctl(args ...string) (string, error) {
	return d.host.Run(filepath.Join(d.bin, "vtepctl"), append([]string{"--control", d.control}, args...)...)
}

// KernelVXLAN makes a vxlan device of the kernel, named vx<VNI>, with the given
// addresses, and brings it up. args go to `ip link add`.
func (h *Host) KernelVXLAN(vni int, addrs []string, args ...string) error {
	dev := fmt.Sprintf("vx%d", vni)
	add := append([]string{"link", "add", dev, "type", "vxlan", "id", fmt.Sprint(vni), "dstport", "4789"}, args...)
	if _, err := h.Run("ip", add...); err != nil {
		return err
	}
	for _, a := range addrs {
		if _, err := h.Run("ip", "addr", "add", a, "dev", dev); err != nil {
			return err
		}
	}
	_, err := h.Run("ip", "link", "set", dev, "up")
	return err
}

// Control is the path of the daemon's control socket.
func (d *Daemon) Control() string { return d.control }
