package underlay

import (
	"syscall"

	"golang.org/x/sys/unix"

	"vtepd/encap/offload"
	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/underlay/tunnelgso"
)

// maxOuter is the largest outer IP packet in bytes: its length has 16 bits
// (over IPv6 that is the payload's alone, but one bound does for both).
const maxOuter = 65535

// SendWhole implements [vtep.Sender]: one write of the super-frame, with all
// outer headers in its headroom, into the device of its egress interface.
func (s *Sender) SendWhole(t *vtep.Train, f *offload.Frame, l3 int) syscall.Errno {
	p := t.Path.(*path)
	d, tpl := p.tunnel.Device, p.templates[bit(t.DF)]
	if d == nil || tpl.Len()-packet.EthernetLen+f.Len > maxOuter || !d.Usable() {
		return vtep.ErrCut
	}
	// What was queued of the same flow must not be overtaken.
	s.Flush()
	pl, i := p.socket(t.Entropy, t.DF)
	ttl := t.TTL
	if ttl == 0 {
		ttl = p.tunnel.Hops
	}
	b := f.WithHeader(tunnelgso.HdrLen + tpl.Len())
	tunnelgso.PutHeader(b, &f.GSO, p.v6, tpl.Len(), tpl.L4(), l3)
	outer := b[tunnelgso.HdrLen:]
	tpl.Put(outer, f.Len, pl.ports[i], t.TOS, ttl)
	frames, _ := offload.WireFrames(f.Len, &f.GSO)
	if !p.v6 {
		tpl.Identify(outer, s.id)
		s.id += uint16(frames)
	}
	errno := d.Write(s.worker, b)
	switch errno {
	case 0:
		t.Account.Sent(frames, f.Len+(frames-1)*int(f.GSO.HdrLen), 0)
	case unix.EAGAIN: // no room for now; the sockets wait for theirs
		return vtep.ErrCut
	}
	return errno
}
