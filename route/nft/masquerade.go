package nft

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A Network is one that pods have addresses of.
type Network struct {
	Network netip.Prefix
	// Own is this node's part of it.
	Own netip.Prefix
}

// kubeMark is set by kube-proxy on packets that it masquerades itself.
const kubeMark = 0x4000

// Masquerade gives packets between a network's pods and everybody else the
// address of the interface that they leave by. The rules are Flannel's, in its
// order (pkg/trafficmngr/iptables/iptables.go, masqRules):
// what a pod of this node says to the network, and what the network or anybody
// from outside says to a pod of this node, stays as it is; what else comes from
// the network and is no multicast, and what comes from outside into the network,
// is masqueraded.
func Masquerade(networks ...Network) Contribution {
	c := Chain{Name: "postrouting", Base: &Base{Type: nftables.ChainTypeNAT, Hook: *nftables.ChainHookPostrouting,
		Priority: *nftables.ChainPriorityNATSource}}
	const why = "vtepd masq"
	if len(networks) > 0 {
		c.Rules = append(c.Rules, rule(why, marked(kubeMark), then(verdict(expr.VerdictReturn, ""))))
	}
	for _, n := range networks {
		v := family(n.Network.Addr())
		leave, masq := then(verdict(expr.VerdictReturn, "")), then(&expr.Masq{FullyRandom: true})
		multicast := netip.MustParsePrefix("224.0.0.0/4")
		if n.Network.Addr().Is6() {
			multicast = netip.MustParsePrefix("ff00::/8")
		}
		c.Rules = append(c.Rules,
			rule(why, v, in(source, n.Own, false), in(destination, n.Network, false), leave),
			rule(why, v, in(source, n.Network, false), in(destination, n.Own, false), leave),
			rule(why, v, in(source, n.Network, true), in(destination, n.Own, false), leave),
			rule(why, v, in(source, n.Network, false), in(destination, multicast, true), masq),
			rule(why, v, in(source, n.Network, true), in(destination, n.Network, false), masq))
	}
	return Contribution{Chains: []Chain{c}}
}
