package daemon

import (
	"context"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"vtepd/cmd/internal/api"
	"vtepd/cmd/internal/conflist"
	"vtepd/cmd/internal/control"
	"vtepd/config"
)

// PodSubnets are the subnets that a control plane gave this node for its pods.
type PodSubnets struct {
	// Subnets are without host bits; none while they are not known.
	Subnets []netip.Prefix
	// MTU is that of the segment pods talk over, in bytes.
	MTU int
	// Waiting says why there are no subnets yet, as a sentence for people.
	Waiting string
}

// node is what the daemon knows of this node's pods. It is guarded by
// [Daemon.mu].
type node struct {
	given  map[api.Source]PodSubnets // by control planes
	taken  string                    // the conflist that was written
	failed error                     // why it was not
}

// SetPodSubnets is told by a control plane which subnets this node has, also
// before it has any: while one is there, `cni.subnet` does not count. nil says
// that the control plane is gone.
func (d *Daemon) SetPodSubnets(source api.Source, s *PodSubnets) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s == nil {
		delete(d.node.given, source)
	} else {
		d.node.given[source] = *s
	}
	d.tellRuntimes()
}

// Node implements [api.Backend].
func (d *Daemon) Node() api.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.nodeNow()
}

// nodeNow is Node for those who hold d.mu.
func (d *Daemon) nodeNow() api.Node {
	n := api.Node{Conflist: d.node.taken}
	// Of the control planes only Flannel gives subnets so far.
	if s, ok := d.node.given[api.Flannel]; ok {
		n.Subnets, n.MTU, n.Waiting = s.Subnets, s.MTU, s.Waiting
		if len(n.Subnets) > 0 {
			n.Source, n.Waiting = api.Flannel, ""
		}
		return n
	}
	n.MTU = d.podMTU()
	if n.Subnets = d.cfg.CNI.Subnet; len(n.Subnets) > 0 {
		n.Source = api.Config
	}
	return n
}

// podMTU is the least MTU of the devices that pods may talk over: those of
// routed segments, and where there are none those of all.
func (d *Daemon) podMTU() int {
	least := map[config.Mode]int{}
	for _, s := range d.segments {
		if n := least[s.cfg.Mode]; n == 0 || s.deviceMTU < n {
			least[s.cfg.Mode] = s.deviceMTU
		}
	}
	if n := least[config.Routed]; n != 0 {
		return n
	}
	return least[config.Bridged]
}

// nodeStatus is the part of the status about pods, nil where nobody gives or
// asks for subnets. It holds d.mu.
func (d *Daemon) nodeStatus() (n *api.Node, problems []string) {
	if len(d.node.given) == 0 && !d.cfg.CNI.Enable && len(d.cfg.CNI.Subnet) == 0 {
		return nil, nil
	}
	now := d.nodeNow()
	if d.node.failed != nil {
		problems = append(problems, "cni: "+d.node.failed.Error())
	}
	if d.cfg.CNI.Enable && len(now.Subnets) == 0 && now.Waiting == "" {
		problems = append(problems, "cni: no subnet for this node's pods; write cni: {subnet: ...}, or subnet into the network configuration")
	}
	return &now, problems
}

// tellRuntimes writes the conflist when the configuration asks for it. While a
// control plane has yet to give a subnet there is none: its presence is what
// tells a runtime that pods can start. One that was written stays. It holds
// d.mu.
func (d *Daemon) tellRuntimes() {
	c := d.cfg.CNI
	now := d.nodeNow()
	if !c.Enable || len(now.Subnets) == 0 && len(d.node.given) > 0 {
		return
	}
	o := conflist.Options{ConfDir: c.ConfDir, BinDir: c.BinDir, Version: c.Version, Program: conflist.Beside(),
		Control: d.cfg.Control.Path, DefaultControl: control.DefaultPath}
	changed, err := conflist.Write(o)
	if err != nil {
		if d.node.failed == nil || d.node.failed.Error() != err.Error() {
			d.log.Error("container runtimes not told", zap.Error(err))
		}
		d.node.failed = err
		return
	}
	d.node.failed, d.node.taken = nil, o.Path()
	if changed {
		d.log.Info("container runtimes told", zap.String("conflist", o.Path()), zap.String("plugins", c.BinDir))
	}
}

// retryRuntimes is how long after a failure runtimes are told again.
const retryRuntimes = 5 * time.Second

// keepTelling tells runtimes again where that failed, until ctx ends.
func (d *Daemon) keepTelling(ctx context.Context) error {
	tick := time.NewTicker(retryRuntimes)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.mu.Lock()
			if d.node.failed != nil {
				d.tellRuntimes()
			}
			d.mu.Unlock()
		}
	}
}

// followCNI takes up what a new configuration says of pods. It holds d.mu.
func (d *Daemon) followCNI(diff *config.Change) {
	if !diff.CNI {
		return
	}
	d.node.failed = nil
	if !d.cfg.CNI.Enable {
		d.node.taken = ""
	}
	d.tellRuntimes()
}
