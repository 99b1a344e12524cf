package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vtepd/route/flannel/etcd/etcdtest"
)

// vtepd runs the command in this process.
func vtepd(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = command(args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestSubnetInit(t *testing.T) {
	c := etcdtest.Start(t, etcdtest.Options{})
	run := func(line string) (int, string, string) {
		return vtepd(append([]string{"subnet", "init", "--etcd", c.Endpoints()[0]}, strings.Fields(line)...)...)
	}
	const key = "/coreos.com/network/config"
	code, out, errs := run("--network 10.244.0.0/16 --backend vxlan")
	if want := `{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}`; code != 0 || errs != "" || out != key+" = "+want+"\n" || c.Ctl("get", key) != key+"\n"+want {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, _, errs := run("--network 10.1.0.0/16 --backend host-gw"); code != 1 || !strings.Contains(errs, "--force overwrites it") || strings.Contains(c.Ctl("get", key), "10.1.0.0") {
		t.Errorf("%d %s", code, errs)
	}
	if code, _, errs := run("--network 10.1.2.3/16 --network6 fd44::/48 --subnet-len 26 --backend vxlan --vni 7 --port 4789 --direct-routing --force"); code != 0 ||
		c.Ctl("get", key) != key+"\n"+`{"Network":"10.1.0.0/16","SubnetLen":26,"EnableIPv6":true,"IPv6Network":"fd44::/48","Backend":{"Type":"vxlan","VNI":7,"Port":4789,"DirectRouting":true}}` {
		t.Errorf("%d %s: %s", code, errs, c.Ctl("get", key))
	}
	if code, _, errs := run("--network 10.1.0.0/16 --backend host-gw --prefix /other"); code != 0 || !strings.Contains(c.Ctl("get", "/other/config"), `{"Type":"host-gw"}`) {
		t.Errorf("%d %s", code, errs)
	}
	for _, flag := range []string{"--vni 1", "--port 8472", "--direct-routing"} {
		if code, _, errs := run("--force --network 10.1.0.0/16 --backend host-gw " + flag); code != 1 || !strings.Contains(errs, "those of the backend vxlan") {
			t.Errorf("host-gw %s: %d %s", flag, code, errs)
		}
	}
	if code, _, errs := run("--force --network 10.1.0.0/16 --backend vxlan --vni -5"); code != 1 || !strings.Contains(errs, "--vni -5") {
		t.Errorf("%d %s", code, errs)
	}
	c.Kill(0)
	if code, _, errs := run("--network 10.1.0.0/16 --backend vxlan"); code != 2 || !strings.Contains(errs, "does not answer") || !strings.Contains(errs, "connection refused") {
		t.Errorf("without etcd: %d %s", code, errs)
	}
}

func TestSubnetInitSecure(t *testing.T) {
	id := etcdtest.NewIdentity(t)
	c := etcdtest.Start(t, etcdtest.Options{TLS: id})
	for _, line := range []string{"user add root:secret", "user grant-role root root", "auth enable"} {
		c.Ctl(strings.Fields(line)...)
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"subnet", "init", "--etcd", c.Endpoints()[0], "--network", "10.244.0.0/16", "--backend", "vxlan",
		"--ca", id.CA, "--cert", id.Cert, "--key", id.Key, "--username", "root", "--password-file", password}
	if code, out, errs := vtepd(args...); code != 0 {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if err := os.WriteFile(password, []byte("guess\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := vtepd(append(args, "--force")...); code != 2 || strings.Contains(errs, "guess") {
		t.Errorf("a wrong password: %d %s", code, errs)
	}
}

func TestSubnetInitRefused(t *testing.T) {
	for line, want := range map[string]string{
		"":                      "name the pods' addresses",
		"--network 10.0.0.0/16": "--backend vxlan or --backend host-gw",
		"--network x --backend vxlan --etcd http://127.0.0.1:1":                          `--network: "x" is not a prefix`,
		"--network 10.0.0.0/16 --backend udp":                                            `backend "udp" is none`,
		"--network 10.0.0.0/16 --backend vxlan":                                          "name etcd with --etcd URL",
		"--network 10.0.0.0/16 --backend vxlan --etcd 127.0.0.1:2379":                    "is not a URL",
		"--network 10.0.0.0/29 --backend vxlan --etcd http://127.0.0.1:1":                "too small",
		"--network 10.0.0.0/16 --backend vxlan --etcd http://127.0.0.1:1 --username u":   "belong together",
		"--network 10.0.0.0/16 --backend vxlan --etcd http://127.0.0.1:1 --cert /none":   "belong together",
		"--network 10.0.0.0/16 --backend vxlan --etcd http://127.0.0.1:1 --ca /none":     "no such file",
		"--network 10.0.0.0/16 --backend vxlan --etcd http://127.0.0.1:1 --vni 99999999": "VNI 99999999",
		"--network 10.0.0.0/16 --backend vxlan --etcd http://127.0.0.1:1 --gbp":          "not defined: -gbp",
		"--network 10.0.0.0/16 --backend vxlan --etcd http://127.0.0.1:1 leftover":       "unexpected argument",
	} {
		if code, _, errs := vtepd(append([]string{"subnet", "init"}, strings.Fields(line)...)...); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s, want %s", line, code, errs, want)
		}
	}
	if code, out, _ := vtepd("subnet", "init", "--help"); code != 0 || !strings.Contains(out, "-network6") {
		t.Errorf("%d %s", code, out)
	}
}
