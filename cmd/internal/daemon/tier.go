package daemon

import (
	"vtepd/vtep/fastpath"
	"vtepd/vtep/underlay"
	"vtepd/vtep/underlay/tunnelgso"
)

// A tier is how frames cross between devices, engine and wire; see
// docs/architecture.md.
type tier struct {
	name    string // portable, offload, tunnel-gso or ebpf
	why     string // why it is not a faster one
	offload bool   // devices carry a virtio_net_hdr and super-frames
	segment bool   // sends use UDP_SEGMENT
	gro     bool   // receives use UDP_GRO
	whole   bool   // super-frames may leave whole
	fast    bool   // connections may take the fast path
	forced  bool   // also by interfaces that do not cut them themselves
}

// chooseTier probes what the kernel offers and picks the fastest tier that was
// not forbidden.
func chooseTier(wanted string) tier {
	gso, gro := underlay.ProbeGSO(), underlay.ProbeGRO()
	// In every tier: without it nothing tells the segments of a UDP
	// super-frame that a kernel peer sent whole.
	t := tier{name: "portable", gro: gro == nil}
	if wanted == "portable" {
		t.why = "the configuration says portable"
		return t
	}
	t.segment = gso == nil
	t.name, t.offload = "offload", true
	if wanted == "offload" {
		t.why = "the configuration says offload"
	} else if err := tunnelgso.Probe(); err != nil {
		t.why = err.Error()
	} else {
		t.name, t.whole, t.forced = "tunnel-gso", true, wanted == "tunnel-gso"
	}
	switch {
	case wanted == "tunnel-gso" && t.whole:
		t.why = "the configuration says tunnel-gso"
	case wanted == "auto" || wanted == "ebpf":
		t.fast = true // unless the programs do not load: openFastPath
	}
	switch {
	case gso != nil:
		t.why = gso.Error() + ": datagrams are sent one by one"
	case gro != nil:
		t.why = gro.Error() + ": datagrams are received one by one"
	}
	return t
}

// openFastPath loads the programs of the fast path, if the tier has one; if they
// do not load the tier is the next slower one.
func (d *Daemon) openFastPath() {
	if !d.tier.fast {
		return
	}
	k, err := fastpath.Open()
	if err != nil {
		d.tier.fast = false
		if d.tier.whole {
			d.tier.why = err.Error()
		}
		return
	}
	d.tier.name = "ebpf"
	d.fast = newFastPath(k, d.engine.Now)
}

// capabilities are what was found, for status.
func (t *tier) capabilities() []string {
	var out []string
	for _, c := range []struct {
		has  bool
		name string
	}{{t.offload, "vnet_hdr"}, {t.segment, "udp_segment"}, {t.gro, "udp_gro"}, {t.whole, "tunnel_gso"}, {t.fast, "tcx"}} {
		if c.has {
			out = append(out, c.name)
		}
	}
	return out
}
