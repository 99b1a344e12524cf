package overlay

import (
	"fmt"
	"path/filepath"
)

// openVSwitch runs an ovsdb-server and an ovs-vswitchd of its own in each
// host, with run folders of their own. The userspace datapath does its
// tunnelling itself, so the wire is a port of a bridge (br-wire) that has the
// underlay address; br0 is the overlay.
func openVSwitch(p *Pair) error {
	if err := needs("ovs-vswitchd", "openvswitch-switch"); err != nil {
		return err
	}
	p.Version = firstLine(p.A, "ovs-vswitchd", "--version")
	return p.each(func(s side) error { return s.openVSwitch() })
}

const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

func (s side) openVSwitch() error {
	dir, err := s.folder("ovs")
	if err != nil {
		return err
	}
	db, sock := filepath.Join(dir, "conf.db"), "unix:"+filepath.Join(dir, "db.sock")
	env := []string{"OVS_RUNDIR=" + dir, "OVS_LOGDIR=" + dir, "OVS_DBDIR=" + dir}
	if err := s.commands([]string{"ovsdb-tool", "create", db, ovsSchema}); err != nil {
		return err
	}
	if _, err := s.run("env", append(env, "ovsdb-server", db, "--remote=p"+sock, "--unixctl="+filepath.Join(dir, "ovsdb.ctl"), "-vconsole:warn")...); err != nil {
		return err
	}
	vsctl := func(args ...string) []string {
		return append([]string{"ovs-vsctl", "--timeout=10", "--db=" + sock}, args...)
	}
	if err := s.commands(vsctl("--no-wait", "--retry", "init")); err != nil {
		return err
	}
	if _, err := s.run("env", append(env, "ovs-vswitchd", sock, "--unixctl="+filepath.Join(dir, "vswitchd.ctl"), "-vconsole:warn")...); err != nil {
		return err
	}
	err = s.commands(
		vsctl("add-br", "br-wire", "--", "set", "bridge", "br-wire", "datapath_type=netdev", "--", "add-port", "br-wire", "u0"),
		vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "--", "add-port", "br0", "vx0",
			"--", "set", "interface", "vx0", "type=vxlan", "options:remote_ip="+s.peerWire, fmt.Sprintf("options:key=%d", vni)),
		[]string{"ip", "addr", "flush", "dev", "u0"},
		[]string{"ip", "addr", "add", s.wire + "/24", "dev", "br-wire"},
		[]string{"ip", "link", "set", "br-wire", "mtu", fmt.Sprint(s.pair.MTU), "up"})
	if err != nil {
		return err
	}
	return s.device("br0", s.pair.MTU-overhead)
}
