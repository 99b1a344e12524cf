// Labflannel is what `make lab-flannel` runs: a Flannel network in network
// namespaces, with etcd, two nodes of vtepd, one of flanneld and a pod on each.
// It says what to try and stays until Ctrl-C.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vtepd/cmd/internal/lab"
	"vtepd/cmd/internal/lab/flannel"
)

// configs are the networks to choose from.
func configs() map[string]string {
	const families = `"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd44:244::/48",`
	return map[string]string{
		"vxlan":          `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`,
		"dual":           `{` + families + `"Backend":{"Type":"vxlan"}}`,
		"direct-routing": `{` + families + `"Backend":{"Type":"vxlan","DirectRouting":true}}`,
		"host-gw":        `{` + families + `"Backend":{"Type":"host-gw"}}`,
	}
}

func main() {
	bin := flag.String("bin", "bin", "`folder` of vtepd and vtepctl")
	flanneld := flag.String("flanneld", "out/tools/flanneld", "`path` of flanneld")
	network := flag.String("network", "dual", "vxlan, dual, direct-routing or host-gw")
	once := flag.Bool("once", false, "leave when everything reaches everything")
	flag.Parse()
	if err := run(*bin, *flanneld, *network, *once); err != nil {
		fmt.Fprintf(os.Stderr, "lab-flannel: %v\n", err)
		os.Exit(1)
	}
}

func run(bin, flanneld, network string, once bool) (err error) {
	config, ok := configs()[network]
	if !ok {
		return fmt.Errorf("there is no network %q; see -h", network)
	}
	for _, path := range []*string{&bin, &flanneld} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if _, err := os.Stat(flanneld); err != nil {
		return fmt.Errorf("%w; `.ci/deps flanneld` builds it", err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() {
		fmt.Println("\ncleaning up")
		err = errors.Join(err, l.Close())
	}()
	done := make(chan error, 1)
	p := &play{options: flannel.Options{Bin: bin, Flanneld: flanneld, Config: config}}
	go func() { done <- p.up(l) }()
	select {
	case err := <-done:
		if err != nil || once {
			return err
		}
	case <-stop:
		return <-done // what is half made cannot be removed
	}
	<-stop
	return nil
}

// A play is the network that is played with.
type play struct {
	options flannel.Options
	nodes   []*flannel.Node
	pods    []*flannel.Pod
}

// up makes everything and says what to try.
func (p *play) up(l *lab.Lab) error {
	fmt.Println("etcd, with the network's configuration:")
	fmt.Println(" ", p.options.Config)
	n, err := flannel.New(l, p.options)
	if err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		node, err := n.Node(name)
		if err != nil {
			return err
		}
		p.nodes = append(p.nodes, node)
		if err := p.start(node); err != nil {
			return err
		}
	}
	if err := p.reach(); err != nil {
		return err
	}
	p.say(n)
	return nil
}

// start runs flanneld on the last node and vtepd on the others.
func (p *play) start(n *flannel.Node) error {
	if n.Name == "c" {
		fmt.Println("node c# flanneld", strings.Join(n.FlanneldArgs(), " "))
		if err := n.RunFlanneld(); err != nil {
			return err
		}
	} else {
		fmt.Printf("node %s# vtepd run %s\n", n.Name, strings.Join(n.VtepdArgs(), " "))
		if err := n.RunVtepd(); err != nil {
			return err
		}
	}
	pod, err := n.Pod()
	p.pods = append(p.pods, pod)
	return err
}

// reach waits until each pod reaches each other one.
func (p *play) reach() error {
	for _, from := range p.pods {
		for _, to := range p.pods {
			if from == to {
				continue
			}
			for _, addr := range to.Addrs() {
				if err := from.PingUntil(addr.String(), 20*time.Second); err != nil {
					return fmt.Errorf("pod of %s to pod of %s: %w", from.Node.Name, to.Node.Name, err)
				}
			}
		}
	}
	fmt.Println("each pod reaches each other one")
	return nil
}

// say prints what there is and what to try.
func (p *play) say(n *flannel.Network) {
	fmt.Printf("\n%-6s %-10s %-20s %-14s %s\n", "node", "runs", "namespace", "address", "pod")
	for i, node := range p.nodes {
		runs := "vtepd"
		if node.Vtepd == nil {
			runs = "flanneld"
		}
		fmt.Printf("%-6s %-10s %-20s %-14v %s %v\n", node.Name, runs, node.Host.Name, node.V4, p.pods[i].Name, p.pods[i].Addrs())
	}
	a, c := p.nodes[0], p.nodes[2]
	in := func(h *lab.Host, command string) string { return "  ip netns exec " + h.Name + " " + command }
	ctl := func(words string) string {
		return fmt.Sprintf("  %s --control %s %s", filepath.Join(p.options.Bin, "vtepctl"), a.Vtepd.Control(), words)
	}
	etcdctl := in(n.Etcd.Host, "env ETCDCTL_API=3 etcdctl --endpoints "+flannel.URL+" ")
	podC := p.pods[2]
	for _, line := range []string{
		"\nto try, in another terminal:", "",
		"# from a pod behind vtepd to one behind flanneld",
		in(p.pods[0].Host, fmt.Sprintf("ping -c 3 -M do -s %d %v", min(p.pods[0].MTU, podC.MTU)-28, podC.V4)),
		in(podC.Host, "iperf3 -s -D -1"),
		in(p.pods[0].Host, fmt.Sprintf("iperf3 -c %v -t 3", podC.V4)),
		"# what node a knows, and what it wrote into the kernel",
		ctl("lease show"), ctl("route show"), ctl("status"), ctl("counters"),
		in(a.Host, "ip route"), in(a.Host, "nft list table inet vtepd"),
		"# the store, as flanneld and vtepd write it",
		etcdctl + "get --prefix " + flannel.Prefix,
		"# delete the lease of node c: flanneld exits, and node a has nothing of it left",
		etcdctl + "del " + flannel.Subnets + keyOf(n, c),
		"# the wire between the nodes",
		in(a.Host, "tcpdump -ni u0 udp port 8472"),
		"# etcd goes, pods go on talking (kill -CONT brings it back)",
		fmt.Sprintf("  kill -STOP %d", n.Etcd.PID()),
		"\nCtrl-C ends it and removes everything",
	} {
		fmt.Println(line)
	}
}

func keyOf(n *flannel.Network, node *flannel.Node) string {
	key, _, err := n.Etcd.LeaseOf(node)
	if err != nil {
		return err.Error()
	}
	return "'" + key + "'"
}
