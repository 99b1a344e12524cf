package overlay

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The programs that come as Go modules, in the versions that are compared.
const (
	wireGuardVersion = "v0.0.0-20260522210424-ecfc5a8d5446"
	nebulaVersion    = "v1.11.1" // the newest that Go 1.26 builds
)

// goTool builds programs of a module at a version and returns the folder they
// are in. It does nothing when they are there. Our go.mod does not know them.
func goTool(tools, name, version string, packages ...string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(tools, name+"-"+version))
	if err != nil {
		return "", err
	}
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	args := []string{"install"}
	for _, p := range packages {
		args = append(args, p+"@"+version)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", unavailable("go %s: %v: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

// wireGuard runs wireguard-go, configured through its control socket.
func wireGuard(p *Pair) error {
	dir, err := goTool(p.Tools, "wireguard-go", wireGuardVersion, "golang.zx2c4.com/wireguard")
	if err != nil {
		return err
	}
	p.Version = wireGuardVersion
	var keys [2]*ecdh.PrivateKey
	for i := range keys {
		if keys[i], err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
			return err
		}
	}
	return p.each(func(s side) error {
		// The socket is named after the device and all hosts of a lab share /run.
		dev := fmt.Sprintf("wg%s%d", s.name, os.Getpid())
		if _, err := s.run("env", "LOG_LEVEL=error", filepath.Join(dir, "wireguard"), "-f", dev); err != nil {
			return err
		}
		const overhead = 80 // of WireGuard, as its own tools count: room for IPv6 outside
		if err := s.device(dev, s.pair.MTU-overhead); err != nil {
			return err
		}
		return configureWireGuard("/var/run/wireguard/"+dev+".sock", fmt.Sprintf(
			"set=1\nprivate_key=%x\nlisten_port=51820\nreplace_peers=true\npublic_key=%x\nendpoint=%s:51820\nallowed_ip=%s/32\n\n",
			keys[s.i].Bytes(), keys[1-s.i].PublicKey().Bytes(), s.peerWire, s.peerOver))
	})
}

// configureWireGuard sends a request to wireguard-go's control socket, which
// must answer errno=0.
func configureWireGuard(path, request string) error {
	c, err := net.DialTimeout("unix", path, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(request)); err != nil {
		return err
	}
	buf := make([]byte, 256)
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	if answer := string(buf[:n]); !strings.Contains(answer, "errno=0\n") {
		return fmt.Errorf("wireguard-go answers %q", answer)
	}
	return nil
}

// nebula runs nebula with its defaults and certificates of its own authority.
func nebula(p *Pair) error {
	const module = "github.com/slackhq/nebula/cmd/"
	bin, err := goTool(p.Tools, "nebula", nebulaVersion, module+"nebula", module+"nebula-cert")
	if err != nil {
		return err
	}
	p.Version = nebulaVersion
	sides := p.sides()
	dir, err := sides[0].folder("nebula")
	if err != nil {
		return err
	}
	cert := filepath.Join(bin, "nebula-cert")
	ca := []string{"-ca-crt", filepath.Join(dir, "ca.crt"), "-ca-key", filepath.Join(dir, "ca.key")}
	lines := [][]string{{cert, "ca", "-name", "bench", "-out-crt", ca[1], "-out-key", ca[3]}}
	for _, s := range sides {
		lines = append(lines, append([]string{cert, "sign", "-name", s.name, "-networks", s.over + "/24",
			"-out-crt", filepath.Join(dir, s.name+".crt"), "-out-key", filepath.Join(dir, s.name+".key")}, ca...))
	}
	if err := sides[0].commands(lines...); err != nil {
		return err
	}
	return p.each(func(s side) error { return s.nebula(bin, dir) })
}

func (s side) nebula(bin, dir string) error {
	const overhead = 60 // IPv4 20, UDP 8, nebula 16, tag 16
	conf := filepath.Join(dir, s.name+".yaml")
	err := write(dir, s.name+".yaml", fmt.Sprintf(`pki: {ca: %[1]s/ca.crt, cert: %[1]s/%[2]s.crt, key: %[1]s/%[2]s.key}
static_host_map: {"%[3]s": ["%[4]s:4242"]}
lighthouse: {am_lighthouse: false, hosts: []}
listen: {host: "%[5]s", port: 4242}
tun: {dev: nb0, mtu: %[6]d}
logging: {level: warning}
firewall:
  outbound: [{port: any, proto: any, host: any}]
  inbound: [{port: any, proto: any, host: any}]
`, dir, s.name, s.peerOver, s.peerWire, s.wire, s.pair.MTU-overhead))
	if err != nil {
		return err
	}
	proc, err := s.run(filepath.Join(bin, "nebula"), "-config", conf)
	if err != nil {
		return err
	}
	if err := s.device("nb0", s.pair.MTU-overhead); err != nil {
		return errors.Join(err, errors.New(proc.Output()))
	}
	return nil
}
