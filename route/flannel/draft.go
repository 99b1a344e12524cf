package flannel

import (
	"encoding/json"
	"errors"
	"net/netip"
)

// A Draft is a network that is to be made.
type Draft struct {
	Network, Network6 netip.Prefix // one of them, or both
	SubnetLen         int          // of IPv4; 0 for what fits
	Backend           string       // VXLAN or HostGW
	VNI               int          // of VXLAN; below 0 for 1
	Port              int          // of VXLAN; 0 for Flannel's 8472
	DirectRouting     bool         // of VXLAN
}

type draftBackend struct {
	Type          string
	VNI           *int `json:",omitempty"`
	Port          int  `json:",omitempty"`
	DirectRouting bool `json:",omitempty"`
}

// check refuses what would be left out in silence.
func (d Draft) check() error {
	switch {
	case d.Backend == HostGW && (d.VNI >= 0 || d.Port != 0 || d.DirectRouting):
		return errors.New("the VNI, the port and direct routing are those of the backend vxlan; host-gw does not encapsulate")
	case d.SubnetLen != 0 && !d.Network.IsValid():
		return errors.New("the subnet length is that of IPv4 subnets, and the network has no IPv4")
	}
	return nil
}

// Bytes is the network configuration as flanneld takes it, checked as
// [ParseNetwork] does. The backend is always written: without one Flannel takes
// udp.
func (d Draft) Bytes() ([]byte, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	backend := draftBackend{Type: d.Backend}
	if d.Backend != HostGW {
		backend.Port, backend.DirectRouting = d.Port, d.DirectRouting
		if d.VNI >= 0 {
			backend.VNI = &d.VNI
		}
	}
	raw := struct {
		EnableIPv4  *bool  `json:",omitempty"`
		Network     string `json:",omitempty"`
		SubnetLen   int    `json:",omitempty"`
		EnableIPv6  bool   `json:",omitempty"`
		IPv6Network string `json:",omitempty"`
		Backend     draftBackend
	}{SubnetLen: d.SubnetLen, Backend: backend}
	if d.Network.IsValid() {
		raw.Network = d.Network.String()
	} else {
		raw.EnableIPv4 = new(bool)
	}
	if d.Network6.IsValid() {
		raw.EnableIPv6, raw.IPv6Network = true, d.Network6.String()
	}
	b, err := json.Marshal(raw)
	if err != nil {
		return nil, err
	}
	_, err = ParseNetwork(b)
	return b, err
}
