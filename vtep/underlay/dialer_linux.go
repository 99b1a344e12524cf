package underlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"vtepd/encap"
	"vtepd/vtep"
	"vtepd/vtep/underlay/tunnelgso"
)

// DF says which outer Don't Fragment bits a segment needs.
type DF uint8

// The values of DF.
const (
	DFUnset DF = iota
	DFSet
	DFBoth // as each datagram says
)

// A DialSpec says how a segment sends. It is comparable: equal specs need no
// new sockets.
type DialSpec struct {
	V4, V6      netip.Addr // our outer addresses; zero where there is none
	IfIndex     int        // interface that unicast leaves by; 0 for the routes' choice
	GroupIf     int        // interface that groups leave by; 0 as IfIndex
	SrcPort     encap.PortRange
	NoChecksum  bool // outer checksum 0 over IPv4
	NoChecksum6 bool // over IPv6
	DF          DF
}

// A Dialer compiles paths for one segment. It implements [vtep.Dialer].
type Dialer struct {
	spec  DialSpec
	pools *Pools
	v4    [2]*pool // by DF bit; nil where it is not needed
	v6    *pool

	tunnels atomic.Pointer[map[netip.AddrPort]Tunnel]
}

// A Tunnel is how super-frames reach a VTEP whole. It is comparable.
type Tunnel struct {
	Device *tunnelgso.Device // of the interface that the route to it leaves by
	Hops   uint8             // outer TTL where a train leaves it to the kernel
}

// SetTunnels says which VTEPs super-frames reach whole; the map is the Dialer's
// from here on. It holds for the paths that are compiled
// after it. Segments with an outer checksum only may have any: a receiver joins
// no datagrams without one.
func (d *Dialer) SetTunnels(m map[netip.AddrPort]Tunnel) { d.tunnels.Store(&m) }

// Tunnels returns what SetTunnels was given last. It must not be changed.
func (d *Dialer) Tunnels() map[netip.AddrPort]Tunnel {
	if m := d.tunnels.Load(); m != nil {
		return *m
	}
	return nil
}

// SourcePorts returns the source ports of IPv4 datagrams, which the inner flow
// chooses from, nil where they depend on each datagram's DF bit. They must not
// be changed.
func (d *Dialer) SourcePorts() []uint16 {
	switch {
	case d.v4[0] == nil && d.v4[1] == nil, d.v4[0] != nil && d.v4[1] != nil:
		return nil
	case d.v4[0] != nil:
		return d.v4[0].ports
	}
	return d.v4[1].ports
}

// Checksums reports whether datagrams over the given family have an outer UDP
// checksum.
func (s *DialSpec) Checksums(v6 bool) bool {
	if v6 {
		return !s.NoChecksum6
	}
	return !s.NoChecksum
}

// Dialer opens what spec needs. It is closed when no worker uses its paths any
// more.
func (p *Pools) Dialer(spec DialSpec) (_ *Dialer, err error) {
	d := &Dialer{spec: spec, pools: p}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if spec.V4.IsValid() {
		for df := range d.v4 {
			if spec.DF == DFBoth || (spec.DF == DFSet) == (df == 1) {
				key := poolKey{df: df == 1, noCsum: spec.NoChecksum, srcPort: spec.SrcPort}
				if d.v4[df], err = p.get(key); err != nil {
					return nil, err
				}
			}
		}
	}
	if spec.V6.IsValid() {
		if d.v6, err = p.get(poolKey{v6: true, noCsum: spec.NoChecksum6, srcPort: spec.SrcPort}); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Close gives the sockets back. Calling it again does nothing.
func (d *Dialer) Close() error {
	var errs []error
	for _, pl := range []**pool{&d.v4[0], &d.v4[1], &d.v6} {
		if *pl != nil {
			errs = append(errs, d.pools.put(*pl))
			*pl = nil
		}
	}
	return errors.Join(errs...)
}

// A path is how datagrams reach one remote. It is immutable.
type path struct {
	remote    netip.AddrPort
	v6        bool
	pools     [2]*pool           // by DF bit
	templates [2]*encap.Template // by DF bit
	tunnel    Tunnel             // for super-frames; without Device they are cut
	control   []byte             // source address and interface, as a control message
	name      unix.RawSockaddrInet6
	nameLen   uint32
}

// Remote implements [vtep.Path].
func (p *path) Remote() netip.AddrPort { return p.remote }

// Header implements [vtep.Path].
func (p *path) Header() encap.Header { return p.templates[0].Header() }

// Path implements [vtep.Dialer]. It makes no system call.
func (d *Dialer) Path(remote netip.AddrPort, vni uint32) (vtep.Path, error) {
	p := &path{remote: remote, v6: remote.Addr().Is6()}
	src := d.spec.V4
	if p.v6 {
		src = d.spec.V6
		p.pools = [2]*pool{d.v6, d.v6}
	} else {
		p.pools = d.v4
		for df := range p.pools {
			if p.pools[df] == nil {
				p.pools[df] = d.v4[1-df]
			}
		}
	}
	if !src.IsValid() || p.pools[0] == nil {
		return nil, fmt.Errorf("no local address of the family of %v", remote.Addr())
	}
	for i := range p.templates {
		var err error
		p.templates[i], err = encap.NewTemplate(encap.Outer{Src: src, Dst: remote.Addr(), SrcPort: d.spec.SrcPort.Min,
			DstPort: remote.Port(), VNI: vni, TTL: 64, DF: p.pools[i].key.df, Checksum: d.spec.Checksums(p.v6)})
		if err != nil {
			return nil, err
		}
	}
	p.tunnel = d.Tunnels()[remote]
	ifIndex := d.spec.IfIndex
	if remote.Addr().IsMulticast() && d.spec.GroupIf != 0 {
		ifIndex = d.spec.GroupIf
	}
	p.control = packetInfo(src, ifIndex)
	p.setName(remote, ifIndex)
	return p, nil
}

// packetInfo is the control message that chooses source address and
// interface.
func packetInfo(src netip.Addr, ifIndex int) []byte {
	if src.Is4() {
		data := make([]byte, 12) // struct in_pktinfo
		binary.NativeEndian.PutUint32(data, uint32(ifIndex))
		copy(data[4:], src.AsSlice())
		return appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, data)
	}
	data := make([]byte, 20) // struct in6_pktinfo
	copy(data, src.AsSlice())
	binary.NativeEndian.PutUint32(data[16:], uint32(ifIndex))
	return appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, data)
}

// setName writes the destination as the kernel reads it.
func (p *path) setName(remote netip.AddrPort, ifIndex int) {
	if !p.v6 {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(&p.name))
		v4.Family, v4.Port, v4.Addr = unix.AF_INET, swap(remote.Port()), remote.Addr().As4()
		p.nameLen = unix.SizeofSockaddrInet4
		return
	}
	p.name.Family, p.name.Port, p.name.Addr = unix.AF_INET6, swap(remote.Port()), remote.Addr().As16()
	if a := remote.Addr(); a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() {
		p.name.Scope_id = uint32(ifIndex)
	}
	p.nameLen = unix.SizeofSockaddrInet6
}

// socket returns the socket for a flow: its pool and its index in it.
func (p *path) socket(entropy uint16, df bool) (pl *pool, i int) {
	pl = p.pools[bit(df)]
	return pl, int(uint32(entropy) * uint32(len(pl.fds)) >> 16)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
