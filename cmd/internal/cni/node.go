package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/control"
	"vtepd/route/ipam"
)

// daemonTime is how long the daemon has to answer: a runtime waits for us, and
// "try again later" is an answer, too.
const daemonTime = 10 * time.Second

// A network is what an attachment is made of.
type network struct {
	pools []ipam.Pool
	mtu   int // 0 for the kernel's default
}

// network finds out subnets and MTU: those of the configuration, else the
// daemon's, else those of the subnet file. Where the daemon is down, the subnet
// file gives subnets only if the configuration names it: a file that a stopped
// daemon left says nothing about whether pods reach each other.
func (c *conf) network(ctx context.Context) (*network, error) {
	n := &network{pools: c.Subnets, mtu: c.MTU}
	if len(n.pools) > 0 && n.mtu > 0 {
		return n, nil
	}
	node, down := c.askDaemon(ctx)
	env, missing := readSubnetEnv(c.SubnetFile)
	if len(n.pools) == 0 {
		var subnets []netip.Prefix
		switch {
		case len(node.Subnets) > 0:
			subnets = node.Subnets
		case env != nil && (down == nil || c.FileNamed):
			subnets = env.Subnets
		default:
			return nil, c.noSubnet(node, down, missing)
		}
		pools, err := ipam.ParsePools(subnets)
		if err != nil {
			return nil, types.NewError(types.ErrInternal, "the node's subnets cannot be used", err.Error())
		}
		n.pools = pools
	}
	if n.mtu == 0 {
		n.mtu = node.MTU
	}
	if n.mtu == 0 && env != nil {
		n.mtu = env.MTU
	}
	r := new(reader)
	for _, p := range n.pools {
		r.checkFamilyMTU(p, n.mtu)
	}
	return n, r.err
}

// askDaemon returns what the daemon says of the node, or why it does not.
func (c *conf) askDaemon(ctx context.Context) (api.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, daemonTime)
	defer cancel()
	client := control.NewClient(c.Control)
	defer client.Close()
	return client.Node(ctx)
}

// noSubnet says why there is no subnet and what to do about it. Where that may
// end by itself the runtime is told to try again.
func (c *conf) noSubnet(node api.Node, down, missing error) error {
	switch {
	case down != nil:
		details := down.Error()
		if c.FileNamed && missing != nil {
			details += "; nor does subnetFile help: " + missing.Error()
		}
		return types.NewError(types.ErrTryAgainLater, "the node's subnet is not known: vtepd does not answer", details)
	case node.Waiting != "":
		return types.NewError(types.ErrTryAgainLater, "the node's subnet is not known yet", node.Waiting)
	default:
		return types.NewError(types.ErrInvalidNetworkConfig, "no subnet to take an address of",
			fmt.Sprintf("vtepd has none for this node, and subnetFile does not give one: %v; write \"subnet\" into the network configuration, "+
				"or cni: {subnet: ...} or flannel: into vtepd's, or start flanneld, which writes %s", missing, c.SubnetFile))
	}
}

// status answers STATUS: can ADD be served?
func (c *conf) status(ctx context.Context) error {
	_, err := c.network(ctx)
	var e *types.Error
	if errors.As(err, &e) {
		return types.NewError(types.ErrPluginNotAvailable, e.Msg, e.Details)
	}
	return err
}
