package underlay

import (
	"unsafe"

	"vtepd/encap"
	"vtepd/encap/packet"
	"vtepd/vtep"
	"vtepd/vtep/underlay/tunnelgso"
)

// minCopies is from how many remotes on a frame is written once and copied by
// the kernel: what a write costs more than a message, two copies save
// (BenchmarkFlood).
const minCopies = 2

// copied returns the headers of a train that the kernel copies to many remotes,
// nil where the sockets send it: the same paths take super-frames whole, so that
// nothing is bypassed. It looks at the path and at what all copies of the frame
// have in common, never at what else is queued: a flow has one way to a remote.
func (p *path) copied(t *vtep.Train) *encap.Template {
	tpl := p.templates[bit(t.DF)]
	if t.Copies < minCopies || p.tunnel.Device == nil || len(t.Payload) > t.SegSize ||
		tpl.Len()-packet.EthernetLen+len(t.Payload)-encap.HeaderLen > maxOuter || !p.tunnel.Device.Copies() {
		return nil
	}
	return tpl
}

// sendCopies sends message first, and those behind it that are copies of it for
// the same device in the same family, by one write. Between them are only other
// copies of the frame, so nothing is overtaken. What the kernel did not take is
// left for the socket, which knows the reason.
func (s *Sender) sendCopies(first int) {
	m := &s.msgs[first]
	d, payload := m.path.tunnel.Device, s.iovs[m.first].Base
	if !d.Copies() { // since it was queued
		m.copied = nil
		return
	}
	n := 0
	for i := first; i < s.n && n < tunnelgso.MaxCopies; i++ {
		c := &s.msgs[i]
		if s.iovs[c.first].Base != payload {
			break
		}
		if c.copied != nil && c.path.tunnel.Device == d && c.path.v6 == m.path.v6 {
			s.putHead(d.Head(s.worker, n), c)
			s.order[n] = i
			n++
		}
	}
	s.id++ // equal for all: they differ in their destination
	inner := unsafe.Slice(payload, m.bytes)[encap.HeaderLen:]
	errno := d.Copy(s.worker, n, m.copied.Len(), m.copied.L4(), inner)
	for k, i := range s.order[:n] {
		c := &s.msgs[i]
		c.copied = nil
		if errno == 0 && d.Copied(s.worker, k) {
			c.sent = true
			s.account(c, 0)
		}
	}
}

// putHead writes the outer headers of a message.
func (s *Sender) putHead(b []byte, m *message) {
	ttl := m.ttl
	if ttl == 0 {
		ttl = m.path.tunnel.Hops
	}
	m.copied.Put(b, m.bytes-encap.HeaderLen, m.port, m.tos, ttl)
	m.copied.Identify(b, s.id)
}
