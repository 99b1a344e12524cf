package config

import (
	"net/netip"
	"path/filepath"
	"strings"
)

// CNI says what container runtimes on this node are told.
type CNI struct {
	// Enable writes a network configuration into ConfDir, and sees to the
	// plugin in BinDir.
	Enable  bool
	ConfDir string
	BinDir  string
	// Version is that of the CNI specification which the configuration is in.
	Version string
	// Subnet are the node's pod subnets where no control plane gives them,
	// without host bits.
	Subnet []netip.Prefix
}

// cniVersions are those that the plugin speaks.
func cniVersions() []string { return []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} }

func defaultCNI() CNI {
	return CNI{ConfDir: "/etc/cni/net.d", BinDir: "/opt/cni/bin", Version: "1.0.0"}
}

// readCNI reads `cni`.
func readCNI(f field, to *CNI) {
	keys := f.mapping([]string{"enable", "conf_dir", "bin_dir", "version", "subnet"})
	keys["enable"].boolean(&to.Enable)
	keys["conf_dir"].folder(&to.ConfDir)
	keys["bin_dir"].folder(&to.BinDir)
	keys["version"].wordInto(&to.Version, cniVersions()...)
	for _, f := range keys["subnet"].list() {
		if p, ok := f.podSubnet(); ok {
			to.addSubnet(f, p)
		}
	}
}

// podSubnet reads a subnet with room for a gateway and a pod.
func (f field) podSubnet() (netip.Prefix, bool) {
	const hostBits = 2
	p, ok := f.prefix(false)
	if !ok {
		return p, false
	}
	switch a := p.Addr(); {
	case a.Zone() != "", a.IsMulticast(), a.IsLoopback(), a.IsLinkLocalUnicast(), p.Masked().Addr().IsUnspecified():
		f.bad("%s has no addresses that pods may have; write a subnet such as 10.244.1.0/24", p)
	case a.BitLen()-p.Bits() < hostBits:
		f.bad("%s is too small: a gateway and one pod take at least a /%d", p, a.BitLen()-hostBits)
	default:
		return p.Masked(), true
	}
	return p, false
}

func (c *CNI) addSubnet(f field, p netip.Prefix) {
	const most = 64
	if len(c.Subnet) == most {
		f.bad("more than %d subnets; write fewer and larger ones", most)
		return
	}
	for _, other := range c.Subnet {
		if other.Overlaps(p) {
			f.bad("%s overlaps %s; keep one of them", p, other)
			return
		}
	}
	c.Subnet = append(c.Subnet, p)
}

// folder reads the path of a folder.
func (f field) folder(to *string) {
	s, ok := f.text()
	switch {
	case !ok:
	case !filepath.IsAbs(s):
		f.bad("%s does not begin with a slash; write the whole path of a folder", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		f.bad("%s has a control character, which is surely not meant", quote(s))
	default:
		*to = filepath.Clean(s)
	}
}

// hasControlPlane tells whether the file is complete without a segment.
func hasControlPlane(top map[string]field) bool {
	return top["cni"].written() || top["flannel"].written()
}
