package daemon

import "vtepd/vtep/underlay"

// A tier is how frames cross between devices, engine and wire; see
// docs/architecture.md.
type tier struct {
	name    string // portable or offload
	why     string // why it is not a faster one
	offload bool   // devices carry a virtio_net_hdr and super-frames
	segment bool   // sends use UDP_SEGMENT
	gro     bool   // receives use UDP_GRO
}

// chooseTier probes what the kernel offers and picks the fastest tier that was
// not forbidden.
func chooseTier(wanted string) tier {
	t := tier{name: "portable"}
	if wanted == "portable" {
		t.why = "the configuration says portable"
		return t
	}
	gso, gro := underlay.ProbeGSO(), underlay.ProbeGRO()
	t.segment, t.gro = gso == nil, gro == nil
	t.name, t.offload = "offload", true
	switch {
	case gso != nil:
		t.why = gso.Error() + ": datagrams are sent one by one"
	case gro != nil:
		t.why = gro.Error() + ": datagrams are received one by one"
	}
	return t
}

// capabilities are what was found, for status.
func (t *tier) capabilities() []string {
	var out []string
	for _, c := range []struct {
		has  bool
		name string
	}{{t.offload, "vnet_hdr"}, {t.segment, "udp_segment"}, {t.gro, "udp_gro"}} {
		if c.has {
			out = append(out, c.name)
		}
	}
	return out
}
