package flannel

import (
	"bytes"
	"encoding/json"
	"net/netip"

	"vtepd/encap/packet"
)

// MaxValue is the most bytes of a lease that are looked at; a real one has
// under 300.
const MaxValue = 2 << 10

const maxBackend = 64 // bytes of a backend's name

// Attrs is the value of a lease: where its node is and how it is reached
// (Flannel's pkg/lease/lease.go). It is comparable.
type Attrs struct {
	PublicIP, PublicIPv6 netip.Addr // zero where the node has none
	Backend              string     // such as VXLAN, HostGW
	// V4 and V6 are the node's VTEPs for the two families, zero where it has
	// none. flanneld has a device for each, so theirs differ in the MAC.
	V4, V6 Router
}

// A Router is what is behind a VTEP: inner frames go to its MAC.
type Router struct {
	VNI uint32
	MAC packet.MAC
}

// The structs are the values as they are written: field order counts.

type rawLease struct {
	PublicIP      string
	PublicIPv6    *string
	BackendType   string          `json:",omitempty"`
	BackendData   json.RawMessage `json:",omitempty"`
	BackendV6Data json.RawMessage `json:",omitempty"`
}

type rawRouter struct {
	VNI     uint32
	VtepMAC string
}

// Value is the lease's value as flanneld writes it, to the byte.
func (a Attrs) Value() []byte {
	raw := rawLease{PublicIP: "0.0.0.0", BackendType: a.Backend, BackendData: a.V4.data(), BackendV6Data: a.V6.data()}
	if a.PublicIP.IsValid() {
		raw.PublicIP = a.PublicIP.String()
	}
	if a.PublicIPv6.IsValid() {
		ip := a.PublicIPv6.String()
		raw.PublicIPv6 = &ip
	}
	b, err := json.Marshal(raw)
	if err != nil {
		panic(err) // strings and valid JSON only
	}
	return b
}

func (r Router) data() json.RawMessage {
	if r.MAC.IsZero() {
		return nil
	}
	b, err := json.Marshal(rawRouter{r.VNI, r.MAC.String()})
	if err != nil {
		panic(err) // a number and a string
	}
	return b
}

// ParseLease reads the value of a lease. What depends on the network and on the
// other leases is looked at by the [Source]. The error is a *[Refusal]. vni is
// that of routers which do not say theirs, as those of old Flannel.
func ParseLease(value []byte, vni uint32) (Attrs, error) {
	var raw rawLease
	if len(value) > MaxValue {
		return Attrs{}, refuse(Oversize, "its value has %d bytes, more than %d", len(value), MaxValue)
	}
	if err := json.Unmarshal(value, &raw); err != nil {
		return Attrs{}, refuse(BadValue, "its value is not what it should be: %s", brief(err))
	}
	if len(raw.BackendType) > maxBackend {
		return Attrs{}, refuse(BadValue, "its backend %s is no name", quote(raw.BackendType))
	}
	a := Attrs{Backend: raw.BackendType}
	var err error
	if a.PublicIP, err = publicIP(raw.PublicIP, 32); err != nil {
		return Attrs{}, err
	}
	if raw.PublicIPv6 != nil {
		if a.PublicIPv6, err = publicIP(*raw.PublicIPv6, 128); err != nil {
			return Attrs{}, err
		}
	}
	if a.Backend != VXLAN {
		return a, nil // its data are those of another backend
	}
	if a.V4, err = parseRouter(raw.BackendData, vni); err != nil {
		return Attrs{}, err
	}
	a.V6, err = parseRouter(raw.BackendV6Data, vni)
	return a, err
}

// publicIP reads an address of a node; none and the unspecified one are none.
func publicIP(text string, bits int) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || a.BitLen() != bits:
		return netip.Addr{}, refuse(BadPublicIP, "its public address %s is not one of %d bits", quote(text), bits)
	case a.IsUnspecified():
		return netip.Addr{}, nil
	case !unicast(a):
		return netip.Addr{}, refuse(BadPublicIP, "its public address %v is no node's", a)
	}
	return a, nil
}

func parseRouter(data []byte, vni uint32) (Router, error) {
	if len(data) == 0 || bytes.Equal(data, []byte("null")) {
		return Router{}, nil
	}
	raw := rawRouter{VNI: vni}
	if err := json.Unmarshal(data, &raw); err != nil {
		return Router{}, refuse(BadValue, "its backend data are not what they should be: %s", brief(err))
	}
	mac, err := packet.ParseMAC(raw.VtepMAC)
	switch {
	case err != nil:
		return Router{}, refuse(BadMAC, "its VtepMAC %s is not a MAC address", quote(raw.VtepMAC))
	case mac.IsZero() || mac.IsMulticast():
		return Router{}, refuse(BadMAC, "its VtepMAC %v is no station's", mac)
	case raw.VNI > maxVNI:
		return Router{}, refuse(OtherVNI, "its VNI %d is above %d", raw.VNI, maxVNI)
	}
	return Router{raw.VNI, mac}, nil
}

// reaches says why the node of a lease cannot be reached for its subnet in the
// network.
func (a Attrs) reaches(s Subnet, n *Network) *Refusal {
	if a.Backend != n.Backend.Type {
		return refuse(OtherBackend, "its backend %s is not the network's %s", quote(a.Backend), n.Backend.Type)
	}
	families := []struct {
		has bool
		ip  netip.Addr
		r   Router
		ips string
	}{{s.V4.IsValid(), a.PublicIP, a.V4, "PublicIP"}, {s.V6.IsValid(), a.PublicIPv6, a.V6, "PublicIPv6"}}
	for _, f := range families {
		switch {
		case !f.has:
		case !f.ip.IsValid():
			return refuse(BadPublicIP, "it has no %s", f.ips)
		case a.Backend != VXLAN:
		case f.r.MAC.IsZero():
			return refuse(BadMAC, "it has no VtepMAC behind its %s", f.ips)
		case f.r.VNI != n.Backend.VNI:
			return refuse(OtherVNI, "its VNI is %d, the network's %d", f.r.VNI, n.Backend.VNI)
		}
	}
	return nil
}
