package flannel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultEnvFile is where CNI plugins look for this node's subnet.
const DefaultEnvFile = "/run/flannel/subnet.env"

// maxEnv is more bytes than any subnet.env has.
const maxEnv = 16 << 10

// An Env is a subnet.env: what this node has, for CNI plugins (Flannel's
// WriteSubnetFile).
type Env struct {
	Network, IPv6Network netip.Prefix // zero where the network has not the family
	Subnet               Subnet
	MTU                  int
	IPMasq               bool
}

// Bytes is the file as flanneld writes it: FLANNEL_SUBNET is the first address
// that can be used, not the subnet's own.
func (e Env) Bytes() []byte {
	var b bytes.Buffer
	if e.Network.IsValid() {
		fmt.Fprintf(&b, "FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s\n", e.Network, gateway(e.Subnet.V4))
	}
	if e.IPv6Network.IsValid() {
		fmt.Fprintf(&b, "FLANNEL_IPV6_NETWORK=%s\nFLANNEL_IPV6_SUBNET=%s\n", e.IPv6Network, gateway(e.Subnet.V6))
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", e.MTU, e.IPMasq)
	return b.Bytes()
}

func gateway(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr().Next(), p.Bits()) }

// ParseEnv reads a subnet.env. Keys that it does not know it leaves alone; of a
// list of networks it takes the first.
func ParseEnv(data []byte) (Env, error) {
	var e Env
	if len(data) > maxEnv {
		return e, fmt.Errorf("it has more than %d bytes", maxEnv)
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if !ok {
			continue
		}
		if err := e.set(key, strings.Trim(value, `"'`)); err != nil {
			return Env{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return e, nil
}

func (e *Env) set(key, value string) (err error) {
	first, _, _ := strings.Cut(value, ",")
	switch key {
	case "FLANNEL_NETWORK":
		e.Network, err = envPrefix(first, 32)
	case "FLANNEL_SUBNET":
		e.Subnet.V4, err = envPrefix(first, 32)
	case "FLANNEL_IPV6_NETWORK":
		e.IPv6Network, err = envPrefix(first, 128)
	case "FLANNEL_IPV6_SUBNET":
		e.Subnet.V6, err = envPrefix(first, 128)
	case "FLANNEL_MTU":
		if e.MTU, err = strconv.Atoi(value); err != nil || e.MTU < 0 {
			err = fmt.Errorf("%s is no MTU", quote(value))
		}
	case "FLANNEL_IPMASQ":
		if e.IPMasq, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("%s is neither true nor false", quote(value))
		}
	}
	return err
}

func envPrefix(text string, bits int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().BitLen() != bits || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%s is no prefix of %d-bit addresses", quote(text), bits)
	}
	return p.Masked(), nil
}

// ReadEnv reads the file at path; without one it returns the zero Env.
func ReadEnv(path string) (Env, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return Env{}, nil
	} else if err != nil {
		return Env{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEnv+1))
	if err != nil {
		return Env{}, err
	}
	e, err := ParseEnv(data)
	if err != nil {
		return Env{}, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// Write puts the file at path, its folder included, with mode 0644. Readers see
// the old file or the new one, also after a crash.
func (e Env) Write(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(e.Bytes())
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
