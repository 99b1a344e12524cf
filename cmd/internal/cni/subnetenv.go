package cni

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"vtepd/route/flannel"
)

// A subnetEnv is what subnet.env says of this node, as flanneld and vtepd write
// it.
type subnetEnv struct {
	Subnets []netip.Prefix // one a family
	MTU     int            // 0 if it is not there
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

// parseSubnetEnv takes what a pod needs out of a subnet.env.
func parseSubnetEnv(data []byte) (*subnetEnv, error) {
	env, err := flannel.ParseEnv(data)
	if err != nil {
		return nil, err
	}
	e := &subnetEnv{MTU: env.MTU}
	if e.MTU != 0 && (e.MTU < minMTU || e.MTU > maxMTU) {
		return nil, fmt.Errorf("FLANNEL_MTU: %d is no MTU", e.MTU)
	}
	for _, p := range []netip.Prefix{env.Subnet.V4, env.Subnet.V6} {
		if p.IsValid() {
			e.Subnets = append(e.Subnets, p)
		}
	}
	if len(e.Subnets) == 0 {
		return nil, errors.New("has neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET")
	}
	return e, nil
}
