package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Flannel says how this node is a member of a Flannel network on etcd.
type Flannel struct {
	Endpoints []string // of etcd: URLs with a port
	Prefix    string   // of its keys
	TLS       TLS
	Username  string
	// PasswordFile holds the password; see [ReadPassword].
	PasswordFile string
	Interface    string     // to the other nodes; "" for that of the default route
	PublicIP     netip.Addr // of this node; zero for that of the interface
	PublicIPv6   netip.Addr
	Device       string // "" for flannel.<VNI>
	SubnetFile   string
	RenewMargin  time.Duration // before a lease's end it is renewed
	Masquerade   bool          // what pods send out of the network
	Forward      string        // check, insert
}

// TLS names the files for connections to etcd, "" for none.
type TLS struct{ CA, Cert, Key string }

const (
	defaultEtcd     = "http://127.0.0.1:2379"
	minRenewMargin  = time.Minute // flanneld's limits
	maxRenewMargin  = 1439 * time.Minute
	maxEtcdPrefix   = 256
	maxEtcdURLs     = 64
	defaultSubnetAt = "/run/flannel/subnet.env"
)

func defaultFlannel() *Flannel {
	return &Flannel{
		Endpoints: []string{defaultEtcd}, Prefix: "/coreos.com/network", SubnetFile: defaultSubnetAt,
		RenewMargin: time.Hour, Masquerade: true, Forward: "check",
	}
}

// readFlannel reads `flannel` over what was, nil for the defaults.
func readFlannel(f field, was *Flannel) *Flannel {
	if !f.written() {
		return was
	}
	to := defaultFlannel()
	if was != nil {
		*to = *was
	}
	if f.isNull() {
		return to
	}
	keys := f.mapping([]string{
		"endpoints", "prefix", "tls", "username", "password_file", "interface", "public_ip", "public_ipv6",
		"device", "subnet_file", "renew_margin", "masquerade", "forward",
	})
	to.readStore(keys)
	to.readNode(keys)
	keys["subnet_file"].file(&to.SubnetFile)
	keys["renew_margin"].duration(&to.RenewMargin, maxRenewMargin)
	if to.RenewMargin < minRenewMargin {
		keys["renew_margin"].bad("%s is too short; write a duration from %s to %s", to.RenewMargin, minRenewMargin, maxRenewMargin)
	}
	keys["masquerade"].boolean(&to.Masquerade)
	keys["forward"].wordInto(&to.Forward, "check", "insert")
	return to
}

// readStore reads where etcd is and who we are to it.
func (to *Flannel) readStore(keys map[string]field) {
	if f := keys["endpoints"]; f.written() {
		to.Endpoints = f.endpoints()
	}
	keys["prefix"].etcdPrefix(&to.Prefix)
	tls := keys["tls"].mapping([]string{"ca", "cert", "key"})
	tls["ca"].file(&to.TLS.CA)
	tls["cert"].file(&to.TLS.Cert)
	tls["key"].file(&to.TLS.Key)
	if (to.TLS.Cert == "") != (to.TLS.Key == "") {
		keys["tls"].bad("cert and key belong together; write both or neither")
	}
	secure := slices.ContainsFunc(to.Endpoints, func(e string) bool { return strings.HasPrefix(e, "https:") })
	if to.TLS != (TLS{}) && !secure {
		keys["tls"].remark("no endpoint begins with https, so nothing of it is used")
	}
	if s, ok := keys["username"].text(); ok {
		to.Username = s
	}
	keys["password_file"].file(&to.PasswordFile)
	if to.Username != "" && to.PasswordFile == "" {
		keys["username"].bad("needs password_file, the file with the password")
	}
	if to.Username == "" && to.PasswordFile != "" {
		keys["password_file"].bad("needs username")
	}
}

// readNode reads how this node is reached.
func (to *Flannel) readNode(keys map[string]field) {
	for key, name := range map[string]*string{"interface": &to.Interface, "device": &to.Device} {
		if f := keys[key]; !f.isEmpty() {
			f.device(name)
		}
	}
	if f := keys["public_ip"]; !f.isEmpty() {
		f.publicIP(&to.PublicIP, 32)
	}
	if f := keys["public_ipv6"]; !f.isEmpty() {
		f.publicIP(&to.PublicIPv6, 128)
	}
}

// publicIP reads an address of one family by which other nodes reach us.
func (f field) publicIP(to *netip.Addr, bits int) {
	if !f.written() {
		return
	}
	ip, ok := f.unicastAddr()
	switch {
	case !ok:
	case ip.BitLen() != bits && bits == 32:
		f.bad("%s is no IPv4 address; write it as public_ipv6", ip)
	case ip.BitLen() != bits:
		f.bad("%s is no IPv6 address; write it as public_ip", ip)
	case ip.IsLoopback(), ip.IsLinkLocalUnicast():
		f.bad("%s is not an address that other nodes can reach", ip)
	default:
		*to = ip
	}
}

// endpoints reads etcd's URLs.
func (f field) endpoints() []string {
	var out []string
	known := seen[string]{}
	items := f.list()
	if len(items) == 0 {
		f.bad("is empty; write at least one URL such as %s", defaultEtcd)
	}
	if len(items) > maxEtcdURLs {
		f.bad("has %d URLs; at most %d are taken", len(items), maxEtcdURLs)
		return nil
	}
	for _, item := range items {
		s, ok := item.etcdURL()
		if !ok {
			continue
		}
		if line, ok := known.first(s, item.line); !ok {
			item.remark("%s is already given %s; it is taken once", s, at(line))
			continue
		}
		out = append(out, s)
	}
	return out
}

func (f field) etcdURL() (string, bool) {
	s, ok := f.text()
	if !ok {
		return "", false
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		f.bad("%s is not a URL such as %s", quote(hidePassword(s)), defaultEtcd)
	case u.User != nil:
		f.bad("has a name or password in it; write username and password_file")
	case u.Port() == "":
		f.bad("%s has no port; etcd's is usually 2379", quote(s))
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		f.bad("%s has more than host and port; the keys' place is prefix", quote(s))
	default:
		return u.Scheme + "://" + u.Host, true
	}
	return "", false
}

// hidePassword keeps what stands before an @ out of messages.
func hidePassword(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "..." + s[i:]
	}
	return s
}

func (f field) etcdPrefix(to *string) {
	s, ok := f.text()
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	switch {
	case !ok:
	case !strings.HasPrefix(s, "/") || strings.Trim(s, "/") == "":
		f.bad("%s is not a place of keys such as /coreos.com/network", quote(s))
	case len(s) > maxEtcdPrefix || strings.ContainsFunc(s, control):
		f.bad("%s is longer than %d bytes or has control characters", quote(s), maxEtcdPrefix)
	default:
		*to = strings.TrimRight(s, "/")
	}
}

// isEmpty tells whether "" is written.
func (f field) isEmpty() bool { return f.is("") && !f.isNull() }

// file reads the path of a file; "" is none.
func (f field) file(to *string) {
	s, ok := f.text()
	switch {
	case !ok:
	case s == "":
		*to = ""
	case !filepath.IsAbs(s):
		f.bad("%s does not begin with a slash; write the whole path of a file", quote(s))
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		f.bad("%s has a control character, which is surely not meant", quote(s))
	default:
		*to = filepath.Clean(s)
	}
}

// checkFlannel holds `flannel` against the segments.
func checkFlannel(f field, c *Config) {
	if c.Flannel == nil {
		return
	}
	for _, s := range c.Segments {
		if c.Flannel.Device != "" && s.Device == c.Flannel.Device {
			f.bad("device %s is that of a segment; name another", s.Device)
		}
	}
	if c.Flannel.SubnetFile == "" {
		f.bad("subnet_file is empty; CNI plugins need one, such as %s", defaultSubnetAt)
	}
}

// restart lists the keys of flannel that take a restart: who we are in the
// network is said once.
func (to *Flannel) restart(next *Flannel) []string {
	if to == nil || next == nil {
		if to == next {
			return nil
		}
		return []string{"flannel"}
	}
	var keys []string
	for _, k := range []struct {
		key     string
		differs bool
	}{
		{"endpoints", !slices.Equal(to.Endpoints, next.Endpoints)}, {"prefix", to.Prefix != next.Prefix}, {"tls", to.TLS != next.TLS},
		{"username", to.Username != next.Username}, {"password_file", to.PasswordFile != next.PasswordFile},
		{"interface", to.Interface != next.Interface}, {"public_ip", to.PublicIP != next.PublicIP},
		{"public_ipv6", to.PublicIPv6 != next.PublicIPv6}, {"device", to.Device != next.Device},
		{"subnet_file", to.SubnetFile != next.SubnetFile}, {"renew_margin", to.RenewMargin != next.RenewMargin},
	} {
		if k.differs {
			keys = append(keys, "flannel."+k.key)
		}
	}
	return keys
}
