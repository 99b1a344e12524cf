package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/route"
	"vtepd/route/flannel"
	"vtepd/route/flannel/etcd"
	"vtepd/route/nft"
)

// retryJoin is how long after a failure the segment of a network is tried
// again.
const retryJoin = 2 * time.Second

// A member is this node in a Flannel network. Its methods may be called from
// any goroutine.
type member struct {
	d      *Daemon
	conf   *config.Flannel
	log    *zap.Logger
	store  *etcd.Store
	source *flannel.Source
	wake   chan struct{} // what is wanted changed

	mu      sync.Mutex
	joined  *flannel.Joined // nil before the lease is acquired
	up      uplink          // of joined
	next    uplink          // that was there at the last look, and is taken if it stays
	away    string          // why there is none
	device  string          // that is in force, "" for none
	mtu     int             // FLANNEL_MTU
	problem string          // why what is wanted is not in force
}

// newMember makes the member that the configuration describes. It does not
// need etcd yet.
func newMember(d *Daemon, conf *config.Flannel) (*member, error) {
	m := &member{d: d, conf: conf, log: d.log.Named("flannel"), wake: make(chan struct{}, 1)}
	o := etcd.Options{Endpoints: conf.Endpoints, Prefix: conf.Prefix, Username: conf.Username}
	var err error
	if o.TLS, err = etcd.LoadTLS(conf.TLS.CA, conf.TLS.Cert, conf.TLS.Key); err != nil {
		return nil, fmt.Errorf("flannel.tls: %w", err)
	}
	if conf.PasswordFile != "" {
		if o.Password, err = config.ReadPassword(conf.PasswordFile); err != nil {
			return nil, fmt.Errorf("flannel.password_file: %w", err)
		}
	}
	if m.store, err = etcd.New(o); err != nil {
		return nil, err
	}
	before, err := flannel.ReadEnv(conf.SubnetFile)
	if err != nil {
		m.log.Warn("the old subnet file is of no use", zap.Error(err))
	}
	m.source = flannel.NewSource(flannel.Options{
		Store: m.store, Node: m.node, Before: before.Subnet, RenewMargin: conf.RenewMargin,
		Joined: m.setJoined, Apply: d.take, Say: m.say,
	})
	return m, nil
}

// run keeps this node in the network until ctx ends. The lease and subnet.env
// stay.
func (m *member) run(ctx context.Context) error {
	m.d.SetPodSubnets(api.Flannel, &PodSubnets{Waiting: "this node has no lease in the Flannel network yet; `vtepctl lease show` says why"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.source.Run(ctx)
	}()
	m.keep(ctx)
	err := m.store.Close() // ends what waits for etcd
	<-done
	return err
}

// node says how other nodes reach this one.
func (m *member) node(n *flannel.Network) (flannel.Node, error) {
	m.mu.Lock()
	up, joined := m.up, m.joined
	m.mu.Unlock()
	if joined == nil {
		var err error
		if up, err = findUplink(m.conf.Interface); err != nil {
			return flannel.Node{}, err
		}
	}
	node := flannel.Node{PublicIP: m.conf.PublicIP, PublicIPv6: m.conf.PublicIPv6}
	if !node.PublicIP.IsValid() {
		node.PublicIP = up.v4
	}
	if !node.PublicIPv6.IsValid() {
		node.PublicIPv6 = up.v6
	}
	if n.Backend.Type == flannel.HostGW {
		// Others make it the next hop of a plain route.
		for _, a := range []netip.Addr{m.conf.PublicIP, m.conf.PublicIPv6} {
			if a.IsValid() && !up.has(a) {
				return node, fmt.Errorf("%v is not an address of %s: host-gw goes by plain routes and does not work through NAT", a, up.name)
			}
		}
	}
	device := m.deviceName(n)
	node.MAC = stableMAC([]netip.Addr{node.PublicIP, node.PublicIPv6}, n.Backend.VNI, device)
	if joined != nil {
		node.MAC = joined.Node.MAC // a node that moves stays the same router
	}
	m.mu.Lock()
	m.up = up
	m.mu.Unlock()
	return node, nil
}

func (m *member) deviceName(n *flannel.Network) string {
	if m.conf.Device != "" {
		return m.conf.Device
	}
	return fmt.Sprintf("flannel.%d", n.Backend.VNI)
}

func (m *member) setJoined(j flannel.Joined) {
	m.mu.Lock()
	m.joined = &j
	m.mu.Unlock()
	m.nudge()
}

// nudge asks for what is wanted to be put in force. It never waits.
func (m *member) nudge() {
	select {
	case m.wake <- struct{}{}:
	default: // keep comes to it
	}
}

// keep puts in force what was joined, and tries again where that fails.
func (m *member) keep(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-retry.C:
		case <-look.C:
			if !m.look() {
				continue
			}
		}
		if err := m.force(); err != nil {
			m.failed(err)
			retry.Reset(retryJoin)
		}
	}
}

// failed tells a problem once.
func (m *member) failed(err error) {
	m.mu.Lock()
	news := m.problem != err.Error()
	m.problem = err.Error()
	m.mu.Unlock()
	if news {
		m.log.Error("the network's segment is not in force, tried again", zap.Error(err))
	}
}

// force makes the segment of the network, and says in subnet.env that pods can
// come.
func (m *member) force() error {
	m.mu.Lock()
	j, up := m.joined, m.up
	m.mu.Unlock()
	if j == nil {
		return nil
	}
	mtu := j.Network.MTU(up.mtu)
	segment, device := (*config.Segment)(nil), ""
	if j.Network.Backend.Type == flannel.VXLAN {
		segment = m.segment(j, up, mtu)
		device = segment.Device
	}
	if err := m.d.setPlane(route.Flannel, segment); err != nil {
		return err
	}
	m.mu.Lock()
	m.device, m.mtu = device, mtu
	m.mu.Unlock()
	m.d.wakeRoutes()
	masquerade := m.conf.Masquerade
	if c := m.d.configuration().Flannel; c != nil {
		masquerade = c.Masquerade
	}
	e := flannel.Env{Subnet: j.Subnet, MTU: mtu, IPMasq: masquerade, Network: j.Network.V4.Prefix, IPv6Network: j.Network.V6.Prefix}
	if err := e.Write(m.conf.SubnetFile); err != nil {
		return fmt.Errorf("flannel.subnet_file: %w", err)
	}
	m.d.SetPodSubnets(api.Flannel, &PodSubnets{Subnets: valid(j.Subnet.V4, j.Subnet.V6), MTU: mtu})
	m.mu.Lock()
	m.problem = ""
	m.mu.Unlock()
	m.log.Info("joined the network", zap.Stringer("subnet", j.Subnet), zap.String("backend", j.Network.Backend.Type),
		zap.String("dev", device), zap.String("interface", up.name), zap.Int("mtu", mtu), zap.String("subnet_file", m.conf.SubnetFile))
	return nil
}

// segment is the routed segment of the network.
func (m *member) segment(j *flannel.Joined, up uplink, mtu int) *config.Segment {
	b := j.Network.Backend
	s := config.RoutedSegment(b.VNI, m.deviceName(j.Network))
	s.Port, s.MTU, s.MAC = b.Port, mtu, j.Node.MAC
	s.Interface = m.conf.Interface
	if j.Network.V4.Enabled() {
		s.Local = append(s.Local, up.local(j.Node.PublicIP, up.v4))
		s.Address = append(s.Address, netip.PrefixFrom(j.Subnet.V4.Addr(), 32))
	}
	if j.Network.V6.Enabled() {
		s.Local = append(s.Local, up.local(j.Node.PublicIPv6, up.v6))
		s.Address = append(s.Address, netip.PrefixFrom(j.Subnet.V6.Addr(), 128))
	}
	return &s
}

// place is the interface to the other nodes, the zero one before this node is
// one of them.
func (m *member) place() uplink {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.joined == nil {
		return uplink{}
	}
	return m.up
}

// networks are the pods' addresses, and which of them are ours.
func (m *member) networks() (out []nft.Network) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.joined == nil {
		return nil
	}
	n, s := m.joined.Network, m.joined.Subnet
	if n.V4.Enabled() {
		out = append(out, nft.Network{Network: n.V4.Prefix, Own: s.V4})
	}
	if n.V6.Enabled() {
		out = append(out, nft.Network{Network: n.V6.Prefix, Own: s.V6})
	}
	return out
}

// errNoAddress is that of an interface that is not set up yet.
var errNoAddress = errors.New("it has no address that other nodes can reach")
