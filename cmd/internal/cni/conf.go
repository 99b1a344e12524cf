package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"vtepd/cmd/internal/control"
	"vtepd/route/ipam"
)

// The defaults of the network configuration.
const (
	defaultBridge     = "cni0"
	defaultDataDir    = "/var/lib/cni/vtepd"
	defaultSubnetFile = "/run/flannel/subnet.env"
)

// A conf is a network configuration, checked.
type conf struct {
	Version     string // of the specification, in which the runtime wants its result
	Name        string // of the network
	Subnets     []ipam.Pool
	Bridge      string
	MTU         int // 0 to ask for it
	IsGateway   bool
	HairpinMode bool
	IPMasq      bool
	Control     string
	SubnetFile  string
	// FileNamed says that the configuration names SubnetFile: then it serves
	// also when the daemon is down.
	FileNamed bool
	DataDir   string
	DNS       types.DNS

	// Prev is the result that the runtime got from ADD, for CHECK.
	Prev json.RawMessage
	// Valid are the attachments that GC leaves alone.
	Valid []types.GCAttachment
}

// parseConf reads what the runtime wrote on stdin. Keys that are not ours are
// the runtime's or another plugin's and are left alone (SPEC.md, section 1).
func parseConf(data []byte) (*conf, error) {
	keys := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &keys); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "the network configuration is not a JSON object", err.Error())
	}
	c := &conf{Bridge: defaultBridge, IsGateway: true, HairpinMode: true, Control: control.DefaultPath,
		SubnetFile: defaultSubnetFile, DataDir: defaultDataDir}
	r := reader{keys: keys}
	r.read("cniVersion", &c.Version, "a version such as 1.0.0")
	r.read("name", &c.Name, "a name")
	r.read("bridge", &c.Bridge, "the name of a bridge")
	r.read("isGateway", &c.IsGateway, "true or false")
	r.read("hairpinMode", &c.HairpinMode, "true or false")
	r.read("ipMasq", &c.IPMasq, "true or false")
	r.read("control", &c.Control, "the path of the daemon's socket")
	c.FileNamed = r.read("subnetFile", &c.SubnetFile, "the path of a file")
	r.read("dataDir", &c.DataDir, "the path of a folder")
	r.read("dns", &c.DNS, "an object with nameservers, domain, search, options")
	r.read("prevResult", &c.Prev, "a result")
	if !r.read("cni.dev/valid-attachments", &c.Valid, "a list of {containerID, ifname}") {
		r.read("cni.dev/attachments", &c.Valid, "a list of {containerID, ifname}") // its name in the first text of 1.1
	}
	var mtu json.Number
	if r.read("mtu", &mtu, "a number of bytes") {
		c.MTU = r.mtu(mtu)
	}
	c.Subnets = r.subnets()
	r.checkAll(c)
	if r.err != nil {
		return nil, r.err
	}
	return c, nil
}

// A reader takes keys out of an object and keeps the first complaint.
type reader struct {
	keys map[string]json.RawMessage
	err  error
}

func (r *reader) bad(key, format string, args ...any) {
	if r.err == nil {
		r.err = types.NewError(types.ErrInvalidNetworkConfig, key+": "+fmt.Sprintf(format, args...), "")
	}
}

// read reads a key and reports whether it is there. JSON's null is as good as
// no key.
func (r *reader) read(key string, into any, want string) bool {
	raw, ok := r.keys[key]
	if !ok || string(raw) == "null" {
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		r.bad(key, "%.100s is not %s", raw, want)
		return false
	}
	return true
}

// The MTUs that a device takes (include/uapi/linux/if_ether.h, ETH_MIN_MTU and
// ETH_MAX_MTU).
const minMTU, maxMTU = 68, 65535

func (r *reader) mtu(n json.Number) int {
	mtu, err := n.Int64()
	if err != nil || mtu != 0 && (mtu < minMTU || mtu > maxMTU) { // other plugins write 0 for their default
		r.bad("mtu", "%s is not a number from %d to %d", n, minMTU, maxMTU)
		return 0
	}
	return int(mtu)
}

// subnets reads one CIDR or a list of them.
func (r *reader) subnets() []ipam.Pool {
	const key, want, most = "subnet", "a CIDR such as 10.244.1.0/24, or a list of them", 64
	var texts []string
	if raw := r.keys[key]; strings.HasPrefix(string(raw), "[") {
		r.read(key, &texts, want)
	} else {
		texts = make([]string, 1)
		if !r.read(key, &texts[0], want) {
			return nil
		}
	}
	if len(texts) > most {
		r.bad(key, "%d subnets are too many; at most %d", len(texts), most)
		return nil
	}
	var subnets []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			r.bad(key, "%.100q is not %s", text, want)
			return nil
		}
		subnets = append(subnets, p)
	}
	pools, err := ipam.ParsePools(subnets)
	if err != nil {
		r.bad(key, "%v", err)
	}
	return pools
}

// checkAll is what the types do not say.
func (r *reader) checkAll(c *conf) {
	if err := utils.ValidateInterfaceName(c.Bridge); err != nil {
		r.bad("bridge", "%.40q is not a device name: %s", c.Bridge, err.Msg)
	}
	for _, path := range []struct{ key, path string }{{"control", c.Control}, {"subnetFile", c.SubnetFile}, {"dataDir", c.DataDir}} {
		if !filepath.IsAbs(path.path) || strings.ContainsRune(path.path, 0) {
			r.bad(path.key, "%.200q is not a path that begins with a slash", path.path)
		}
	}
	if _, err := ipam.Open(c.DataDir, c.Name); r.err == nil && err != nil {
		r.bad("name", "%v", err)
	}
	for _, p := range c.Subnets {
		r.checkFamilyMTU(p, c.MTU)
	}
}

// minMTU6 is the least a link of IPv6 carries (RFC 8200 §5); the kernel turns
// IPv6 off below it.
const minMTU6 = 1280

func (r *reader) checkFamilyMTU(p ipam.Pool, mtu int) {
	if !p.Is4() && mtu != 0 && mtu < minMTU6 {
		r.bad("mtu", "%d is too small for IPv6 (subnet %v), which takes at least %d", mtu, p.Subnet(), minMTU6)
	}
}
