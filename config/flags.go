package config

import (
	"errors"
	"flag"
	"strings"
)

// Flags are the flags of `vtepd run`: one segment without a file, and what may
// override a file. The zero Flags is ready for [Flags.Register].
type Flags struct{ options []*option }

// An option is one flag. It keeps its text: the same code as for a file reads
// it, so that both mean the same.
type option struct {
	name    string // of the flag
	section string // "" for the segment
	key     string // of the file
	kind    optionKind
	usage   string

	values []string
	set    bool
}

type optionKind uint8

const (
	single optionKind = iota
	toggle            // may stand without a value
	list              // may be repeated, or be separated by commas
	pairs             // a list of A=B, or A=B=C
)

// optionTable is all flags, as INTERFACE.md has them.
func optionTable() []*option {
	return append(segmentOptions(), []*option{
		{name: "control", section: "control", key: "path", usage: "the control socket's `PATH` (default " + defaultControl + ")"},
		{name: "log-level", section: "log", key: "level", usage: "`debug|info|warn|error` (default info)"},
		{name: "log-format", section: "log", key: "format", usage: "`console|json` (default console)"},
		{name: "tier", section: "datapath", key: "tier", usage: "`auto|portable|offload|tunnel-gso|ebpf` (default auto)"},
		{name: "workers", section: "datapath", key: "workers", usage: "`auto|N` forwarding threads (default auto)"},
		{name: "flannel-etcd", section: "flannel", key: "endpoints", kind: list, usage: "join the Flannel network on etcd at `URL,...`"},
		{name: "flannel-prefix", section: "flannel", key: "prefix", usage: "`PREFIX` of the network's keys (default /coreos.com/network)"},
		{name: "flannel-interface", section: "flannel", key: "interface", usage: "`IF` to the other nodes (default that of the default route)"},
		{name: "public-ip", section: "flannel", key: "public_ip", usage: "our IPv4 address `IP` for them (default that of the interface)"},
		{name: "public-ipv6", section: "flannel", key: "public_ipv6", usage: "our IPv6 address `IP` for them (default that of the interface)"},
		{name: "subnet-file", section: "flannel", key: "subnet_file", usage: "`PATH` of subnet.env (default " + defaultSubnetAt + ")"},
		{name: "spin", section: "datapath", key: "spin", usage: "`DURATION` a worker polls before it sleeps (default 50us)"},
	}...)
}

func segmentOptions() []*option {
	return []*option{
		{name: "vni", key: "vni", usage: "the segment's `N`, 0-16777215 (required)"},
		{name: "mode", key: "mode", usage: "`bridge|route`: carry Ethernet frames or IP packets (default bridge)"},
		{name: "device", key: "device", usage: "`NAME` of the TAP or TUN device (default vx<VNI>)"},
		{name: "local", key: "local", kind: list, usage: "our outer address `IP`, one a family (default: the kernel chooses)"},
		{name: "interface", key: "interface", usage: "the underlay device `IF`"},
		{name: "remote", key: "remotes", kind: list, usage: "a VTEP `IP[:PORT]`; empty for none yet"},
		{name: "group", key: "group", usage: "multicast group `IP`"},
		{name: "prefix", key: "prefixes", kind: pairs, usage: "a routed prefix's place `CIDR=IP[:PORT]=MAC`; empty for none yet"},
		{name: "port", key: "port", usage: "UDP port `N` (default 4789)"},
		{name: "address", key: "address", kind: list, usage: "address `CIDR` of the device"},
		{name: "mac", key: "mac", usage: "`MAC` of the device"},
		{name: "mtu", key: "mtu", usage: "`N|auto` of the device (default auto)"},
		{name: "learning", key: "learning", kind: toggle, usage: "learn sources (default true)"},
		{name: "ageing", key: "ageing", usage: "`DURATION` after which a learned entry goes, 0 for never (default 300s)"},
		{name: "max-macs", key: "max_macs", usage: "at most `N` learned entries (default 10000)"},
		{name: "remote-share", key: "remote_share", usage: "`PERCENT` of them that one remote may fill (default 50)"},
		{name: "ttl", key: "ttl", usage: "outer TTL `N|auto|inherit` (default auto)"},
		{name: "tos", key: "tos", usage: "outer TOS `N|inherit` (default inherit)"},
		{name: "df", key: "df", usage: "outer Don't Fragment `unset|set|inherit` (default unset)"},
		{name: "udp-csum", key: "udp_csum", kind: toggle, usage: "outer checksum over IPv4 (default true)"},
		{name: "udp6-zero-csum-tx", key: "udp6_zero_csum_tx", kind: toggle, usage: "send checksum 0 over IPv6"},
		{name: "udp6-zero-csum-rx", key: "udp6_zero_csum_rx", kind: toggle, usage: "accept checksum 0 over IPv6"},
		{name: "srcport", key: "srcport", usage: "outer source ports `MIN-MAX` (default 49152-65535)"},
		{name: "vlan", key: "vlan", usage: "inner VLAN tags: `drop|pass` (default drop)"},
		{name: "accept", key: "accept", kind: list, usage: "outer sources: `known|any|CIDR,...` (default known)"},
		{name: "bridge", key: "bridge", usage: "put the device into bridge `BR`"},
		{name: "static", key: "static", kind: pairs, usage: "a MAC's place `MAC=IP[:PORT]`"},
		{name: "neighbour", key: "neighbours", kind: pairs, usage: "an overlay address `IP=MAC`"},
		{name: "suppress", key: "suppress", kind: toggle, usage: "answer ARP and ND for known neighbours"},
		{name: "persist", key: "persist", kind: toggle, usage: "keep the device at exit"},
	}
}

// Register defines the flags in fs.
func (f *Flags) Register(fs *flag.FlagSet) {
	f.options = optionTable()
	for _, o := range f.options {
		fs.Var(o, o.name, o.usage)
	}
}

// Given tells whether a flag of the segment was given, which excludes a file.
func (f *Flags) Given() bool {
	for _, o := range f.options {
		if o.set && o.section == "" {
			return true
		}
	}
	return false
}

// Config is the configuration that the flags make, the same as that of a file
// with one segment. The error is a [*Problems] that names flags.
func (f *Flags) Config() (*Config, error) {
	r := new(report)
	switch name := f.flannelFlag(); {
	case f.joins():
	case name != "":
		r.refuse(0, "--"+name, "needs --flannel-etcd, or a file with flannel in it")
	case !f.Given():
		r.refuse(0, "--vni", "no segment is given; name a file with --config, a segment with --vni and --remote, or a Flannel network with --flannel-etcd")
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	c := build(r, tree(f.options, true))
	named(r.problems)
	named(c.warnings)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// joins tells whether flags name a Flannel network.
func (f *Flags) joins() bool {
	for _, o := range f.options {
		if o.set && o.name == "flannel-etcd" {
			return true
		}
	}
	return false
}

// flannelFlag is a flag that only means something in a Flannel network, or "".
func (f *Flags) flannelFlag() string {
	for _, o := range f.options {
		if o.set && o.section == "flannel" {
			return o.name
		}
	}
	return ""
}

// Apply is c with what flags say that are no segment's. Each was checked when
// it was set.
func (f *Flags) Apply(c *Config) (*Config, error) {
	next := *c
	r := new(report)
	if name := f.flannelFlag(); name != "" && c.Flannel == nil && !f.joins() {
		r.refuse(0, "--"+name, "needs --flannel-etcd, or flannel in the file")
		return nil, r.err()
	}
	root := tree(f.options, false)
	readGlobals(newField(r, root, 0, "").mapping([]string{"control", "log", "datapath", "flannel"}), &next)
	named(r.problems)
	return &next, r.err()
}

// String is the value as it was given; a nil one is asked for by package flag.
func (o *option) String() string {
	if o == nil {
		return ""
	}
	return strings.Join(o.values, ",")
}

// IsBoolFlag lets a switch stand without a value.
func (o *option) IsBoolFlag() bool { return o.kind == toggle }

// Set takes a value. Those that may override a file are checked here, the
// others as a whole by [Flags.Config].
func (o *option) Set(s string) error {
	o.set = true
	switch {
	case o.kind != list && o.kind != pairs:
		o.values = []string{s}
	case s != "":
		o.values = append(o.values, strings.Split(s, ",")...)
	}
	if o.section == "" {
		return nil
	}
	r := new(report)
	top := newField(r, tree([]*option{o}, false), 0, "").mapping([]string{o.section})
	readGlobals(top, defaults())
	if len(r.problems) > 0 {
		return errors.New(r.problems[0].Text)
	}
	return nil
}
