package cni

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A subnetEnv is what flanneld and vtepd write into subnet.env
// (flannel: pkg/subnet/subnet.go, WriteSubnetFile).
type subnetEnv struct {
	Subnets []netip.Prefix // FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET
	MTU     int            // FLANNEL_MTU, 0 if it is not there
}

const maxSubnetEnv = 64 << 10

// readSubnetEnv reads the file at path. A device or pipe in its place is not
// waited for.
func readSubnetEnv(path string) (*subnetEnv, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSubnetEnv))
	if err != nil {
		return nil, err
	}
	e, err := parseSubnetEnv(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// parseSubnetEnv reads lines KEY=VALUE, of which it knows some.
func parseSubnetEnv(data []byte) (*subnetEnv, error) {
	e := new(subnetEnv)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		switch key {
		case "FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET":
			// With several subnets flanneld writes them with commas.
			for _, text := range strings.Split(value, ",") {
				p, err := netip.ParsePrefix(text)
				if err != nil || p.Addr().Is4() != (key == "FLANNEL_SUBNET") {
					return nil, fmt.Errorf("line %d: %.100q is not a %s", n, text, key)
				}
				e.Subnets = append(e.Subnets, p)
			}
		case "FLANNEL_MTU":
			mtu, err := strconv.ParseUint(value, 10, 16)
			if err != nil || mtu < 68 {
				return nil, fmt.Errorf("line %d: %.100q is not a FLANNEL_MTU", n, value)
			}
			e.MTU = int(mtu)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(e.Subnets) == 0 {
		return nil, errors.New("has neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET")
	}
	return e, nil
}
