package route

import (
	"cmp"
	"net/netip"
	"slices"

	"vtepd/encap/packet"
)

// A space holds what is of one kind in one segment.
type space struct {
	vni  uint32
	kind Kind
}

// A subject is what sources compete for in a space: the key without its VTEP
// where several VTEPs may hold one thing. The best source that says anything
// of a subject says all of it. A member of a flood list is a subject of its
// own, so the list is the union of what all sources say.
type subject struct {
	addr netip.Addr // of the VTEP of a RemoteVTEP, the Neighbor, the Prefix
	bits int16      // Prefix
	port uint16     // RemoteVTEP, like vni
	vni  uint32
	mac  packet.MAC // MAC
}

func (k *Key) space() space { return space{k.VNI, k.Kind} }

func (k *Key) subject() subject {
	switch k.Kind {
	case RemoteVTEP:
		return subject{addr: k.VTEP.Addr, port: k.VTEP.Port, vni: k.VTEP.VNI}
	case MAC:
		return subject{mac: k.MAC}
	case Neighbor:
		return subject{addr: k.IP}
	default:
		return subject{addr: k.Prefix.Addr(), bits: int16(k.Prefix.Bits())}
	}
}

// A group is what all sources say of one subject, by rank and then by
// VTEP, so that the best source's entries stand first and in order.
type group []Entry

// best returns the entries in force: those of the best source.
func (g group) best() group {
	n := 1
	for n < len(g) && g[n].Source == g[0].Source {
		n++
	}
	return g[:min(n, len(g))]
}

// elsewhere returns the entries in force that are behind VTEPs.
func (g group) elsewhere() group {
	if g = g.best(); len(g) > 0 && g[0].Source == Here {
		return nil
	}
	return g
}

// here returns the entries in force that are on our own ports.
func (g group) here() group {
	if g = g.best(); len(g) > 0 && g[0].Source != Here {
		return nil
	}
	return g
}

// find returns the place of the entry that a source has of a key, or where it
// would be.
func (r *ranks) find(g group, s Source, k Key) (int, bool) {
	return slices.BinarySearchFunc(g, k, func(e Entry, k Key) int {
		return cmp.Or(cmp.Compare(r[e.Source], r[s]), e.Key.VTEP.Compare(k.VTEP))
	})
}

// settle drops what was on our own ports and moved away: something that moves
// is here or there, and a control plane with a later sequence says there.
func (g group) settle() group {
	i := slices.IndexFunc(g, func(e Entry) bool { return e.Source == Here })
	if i < 0 || i+1 == len(g) || !g[i+1].supersedes(g[i]) {
		return g
	}
	return slices.Delete(g, i, i+1)
}

// supersedes reports whether e, which a control plane says, is later than what
// was heard on our own ports: by the higher sequence, and between two hosts
// that claim the same one by the lower address of the VTEP, so that both come
// to the same end (RFC 7432 §15.1).
func (e Entry) supersedes(here Entry) bool {
	if e.Key.Kind != MAC && e.Key.Kind != Neighbor || e.Key.MAC.IsMulticast() {
		return false
	}
	if e.Sticky != here.Sticky {
		return e.Sticky
	}
	if e.Seq != here.Seq {
		return e.Seq > here.Seq
	}
	return e.VTEP.Addr.Less(here.VTEP.Addr)
}

// diff appends to gone and came what leads from the entries before to those
// now. Both are in order of their VTEPs.
func diff(gone, came []Delta, before, now group) (_, _ []Delta) {
	for len(before) > 0 || len(now) > 0 {
		switch order(before, now) {
		case -1:
			gone = append(gone, Delta{Op: Removed, Old: before[0], Entry: before[0]})
			before = before[1:]
		case 1:
			came = append(came, Delta{Op: Added, Entry: now[0]})
			now = now[1:]
		default:
			if before[0] != now[0] {
				came = append(came, Delta{Op: Replaced, Old: before[0], Entry: now[0]})
			}
			before, now = before[1:], now[1:]
		}
	}
	return gone, came
}

// order says which of two lists has the next key: a with -1, b with 1, both
// with 0. An empty list comes last.
func order(a, b group) int {
	switch {
	case len(b) == 0:
		return -1
	case len(a) == 0:
		return 1
	}
	return a[0].Key.VTEP.Compare(b[0].Key.VTEP)
}
