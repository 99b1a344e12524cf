package underlay

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"vtepd/encap"
)

// poolSize is how many source ports, and sockets, a pool has: enough for ECMP
// and RSS to spread, few enough to keep sendmmsg batches.
const poolSize = 64

// A poolKey is all that only a socket can hold: two segments with equal keys
// send through the same sockets. TTL, TOS, source address and interface go with
// each message.
type poolKey struct {
	v6      bool
	df      bool // IPv4
	noCsum  bool
	srcPort encap.PortRange
}

// A pool is a set of unconnected sockets bound to source ports. They receive
// nothing. They have no error queue, and so no error that one remote caused and
// another's datagram would meet (net/ipv4/udp.c, __udp4_lib_err).
type pool struct {
	key   poolKey
	fds   []int
	ports []uint16 // that fds are bound to
	refs  int      // guarded by Pools.mu
}

// Pools shares the sending sockets of all segments among all workers. Its
// methods may be called from any goroutine.
type Pools struct {
	mu    sync.Mutex
	pools map[poolKey]*pool
}

// NewPools makes an empty set of pools.
func NewPools() *Pools { return &Pools{pools: make(map[poolKey]*pool)} }

// Sockets returns how many sockets are open.
func (p *Pools) Sockets() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, pl := range p.pools {
		n += len(pl.fds)
	}
	return n
}

// get returns the pool for key, opened if there is none.
func (p *Pools) get(key poolKey) (*pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.pools[key]; pl != nil {
		pl.refs++
		return pl, nil
	}
	pl := &pool{key: key, refs: 1}
	if err := pl.open(); err != nil {
		return nil, errors.Join(err, pl.close())
	}
	p.pools[key] = pl
	return pl, nil
}

// put gives a pool back; the last one closes it.
func (p *Pools) put(pl *pool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.refs--; pl.refs > 0 {
		return nil
	}
	delete(p.pools, pl.key)
	return pl.close()
}

// open binds sockets to ports spread evenly over the range. Where a port is
// busy the next free one is taken.
func (pl *pool) open() error {
	size := pl.key.srcPort.Size()
	want := min(poolSize, size)
	port, last := 0, -1
	for i := range want {
		var fd int
		var err error
		for port = max(i*size/want, last+1); port < size; port++ {
			fd, err = pl.openPort(pl.key.srcPort.Min + uint16(port))
			if !errors.Is(err, unix.EADDRINUSE) {
				break
			}
		}
		if port == size {
			break // the rest of the range is busy
		}
		if err != nil {
			return fmt.Errorf("sending socket: %w", err)
		}
		last = port
		pl.fds = append(pl.fds, fd)
		pl.ports = append(pl.ports, pl.key.srcPort.Min+uint16(port))
	}
	if len(pl.fds) == 0 {
		return fmt.Errorf("no free source port in %d-%d", pl.key.srcPort.Min, pl.key.srcPort.Max)
	}
	return nil
}

func (pl *pool) openPort(port uint16) (int, error) {
	any := netip.IPv4Unspecified()
	if pl.key.v6 {
		any = netip.IPv6Unspecified()
	}
	fd, err := socket(any)
	if err != nil {
		return -1, err
	}
	o := options{fd: fd}
	if pl.key.v6 {
		o.set(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		// Never an outer fragment, and no belief in ICMP: anybody can send it.
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, ipPMTUDiscProbe)
		o.set(unix.IPPROTO_IPV6, ipv6DontFrag, 1)
		o.set(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0)
		// Flow label 0, as the kernel's device: the source port tells flows
		// apart, whoever sends.
		o.set(unix.IPPROTO_IPV6, ipv6AutoFlowLabel, 0)
		if pl.key.noCsum {
			o.set(unix.IPPROTO_UDP, udpNoCheck6Tx, 1)
		}
	} else {
		discover := ipPMTUDiscInterface
		if pl.key.df {
			discover = ipPMTUDiscProbe
		}
		o.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, discover)
		o.set(unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		if pl.key.noCsum {
			o.set(unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
		}
	}
	o.buffer(unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	o.do("filter", func() error { return dropAll(fd, pl.key.v6) })
	o.do("bind", func() error { return unix.Bind(fd, sockaddr(netip.AddrPortFrom(any, port))) })
	if o.err != nil {
		return -1, errors.Join(o.err, unix.Close(fd))
	}
	return fd, nil
}

func (pl *pool) close() error {
	var errs []error
	for _, fd := range pl.fds {
		errs = append(errs, unix.Close(fd))
	}
	pl.fds = nil
	return errors.Join(errs...)
}
