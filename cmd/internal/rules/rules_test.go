// Package rules holds the rules of the house that a compiler does not keep:
// which package may import which, and what every package must have.
package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath, Dir, Doc string
	Imports, GoFiles     []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "vtepd/...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// layers are the floors of the house from the ground up. A package may import
// its own floor and those below.
var layers = []struct {
	name     string
	packages []string
}{
	{"bytes", []string{"vtepd/encap"}},
	{"state", []string{"vtepd/vtep", "vtepd/vtep/fdb", "vtepd/vtep/fib", "vtepd/route", "vtepd/route/static", "vtepd/config"}},
	{"I/O", []string{"vtepd/vtep/tap", "vtepd/vtep/underlay", "vtepd/route/path", "vtepd/route/bypass",
		"vtepd/route/claim", "vtepd/route/host", "vtepd/route/nft", "vtepd/route/ipam", "vtepd/route/flannel"}},
	{"control", []string{"vtepd/cmd/internal"}},
	{"commands", []string{"vtepd/cmd"}},
}

// floor returns the floor of an import path: that of its longest prefix.
func floor(path string) int {
	best, length := -1, 0
	for i, l := range layers {
		for _, p := range l.packages {
			if (path == p || strings.HasPrefix(path, p+"/")) && len(p) > length {
				best, length = i, len(p)
			}
		}
	}
	return best
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range list(t) {
		if floor(p.ImportPath) < 0 {
			t.Errorf("%s is on no floor: add it to layers", p.ImportPath)
		}
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "vtepd/") && floor(imp) > floor(p.ImportPath) {
				t.Errorf("%s (%s) imports %s (%s)", p.ImportPath, layers[floor(p.ImportPath)].name, imp, layers[floor(imp)].name)
			}
		}
	}
}

// forbidden imports, each with the packages that may have it and the reason.
var forbidden = []struct {
	imp    string
	except []string
	why    string
}{
	{"github.com/google/gopacket", []string{"vtepd/encap"}, "its decoders are unsafe on hostile bytes; encap uses it for outer headers only"},
	{"github.com/songgao/water", []string{"vtepd/vtep/tap"}, "vtep/tap contains its defects"},
	{"github.com/cilium/ebpf", []string{"vtepd/vtep/underlay/tunnelgso", "vtepd/vtep/fastpath"}, "programs for the kernel are what these two know"},
	{"github.com/google/nftables", []string{"vtepd/route/nft", "vtepd/route/bypass", "vtepd/cmd/internal/cni"}, "rules that we write are route/nft's, and the plugin's own for a network; bypass only looks"},
	{"github.com/mdlayher/netlink", []string{"vtepd/route/nft"}, "socket buffers for nftables; all other netlink is vishvananda's"},
	{"os/exec", []string{"vtepd/route/nft", "vtepd/route/flannel/etcd/etcdtest", "vtepd/cmd/internal"}, "the daemon runs nobody; only the tables of iptables-legacy have no other way"},
	{"github.com/spf13/cobra", []string{"vtepd/cmd/internal/ctl", "vtepd/cmd/vtepctl"}, "the daemon's flags are the file's keys; only vtepctl has a grammar"},
	{"go.etcd.io/etcd", []string{"vtepd/route/flannel/etcd"}, "a heavy dependency lives in one package"},
	{"google.golang.org/grpc", []string{"vtepd/route/flannel/etcd"}, "it comes with etcd's client"},
	{"go.uber.org/zap", []string{"vtepd/cmd", "vtepd/route/flannel/etcd"}, "the data path logs nothing; errors go up to who can say what they mean (etcd's client is told so by zap)"},
	{"net/http", []string{"vtepd/cmd"}, "the control API is the daemon's"},
	{"vtepd/route", []string{"vtepd/route", "vtepd/cmd"}, "the engine does not know where reachability came from"},
}

func TestForbiddenImports(t *testing.T) {
	for _, p := range list(t) {
		for _, imp := range p.Imports {
			for _, f := range forbidden {
				if (imp == f.imp || strings.HasPrefix(imp, f.imp+"/")) && !under(p.ImportPath, f.except) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imp, f.why)
				}
			}
		}
	}
}

func under(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if path == p || strings.HasPrefix(path, p+"/") {
			// encap's own sub-packages are pure.
			return p != "vtepd/encap" || path == p
		}
	}
	return false
}

func TestEveryPackageHasADoc(t *testing.T) {
	for _, p := range list(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// maxLines is the most a file of code may have; tests may be longer.
const maxLines = 400

func TestFilesAreShort(t *testing.T) {
	for _, p := range list(t) {
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(b, []byte("\n")); n > maxLines {
				t.Errorf("%s/%s has %d lines, more than %d", p.ImportPath, f, n, maxLines)
			}
		}
	}
}

func TestModuleHasNoReplace(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`(?m)^replace\b`).Match(b) {
		t.Error("go.mod has a replace directive")
	}
}

// TestLinksOfDocsExist follows the relative links of the documentation.
func TestLinksOfDocsExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)
	top := root(t)
	docs, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	adrs, err := filepath.Glob(filepath.Join(top, "docs", "adr", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(append(docs, adrs...), filepath.Join(top, "README.md")) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(b, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), target)); err != nil {
				t.Errorf("%s links to %s, which is not there", filepath.Base(f), target)
			}
		}
	}
}
