package conflist

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// options are those of folders of their own, with a plugin that is ours.
func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	o := Options{ConfDir: filepath.Join(dir, "a", "net.d"), BinDir: filepath.Join(dir, "b", "bin"), Version: "1.0.0",
		Control: "/run/vtepd/vtepd.sock", DefaultControl: "/run/vtepd/vtepd.sock", Program: filepath.Join(dir, "vtep-cni")}
	out, err := exec.Command("go", "build", "-o", o.Program, program).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return o
}

const plain = `{
  "cniVersion": "1.0.0",
  "name": "vtepd",
  "plugins": [
    {
      "type": "vtep-cni"
    }
  ]
}
`

func TestWrite(t *testing.T) {
	o := options(t)
	write := func(what string, changes bool, want string) {
		t.Helper()
		changed, err := Write(o)
		if got := text(err); changed != changes || !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: changed %v, %q, want %v, %q", what, changed, got, changes, want)
		}
	}
	write("first", true, "")
	holds(t, o.Path(), plain)
	write("again", false, "")
	must(t, os.WriteFile(filepath.Join(o.BinDir, "portmap"), nil, 0o755))
	must(t, os.WriteFile(filepath.Join(o.BinDir, "bandwidth"), nil, 0o644)) // not a program
	o.Control = "/run/other.sock"
	write("another socket, and portmap", true, "")
	holds(t, o.Path(), strings.Replace(plain, `"type": "vtep-cni"
    }`, `"type": "vtep-cni",
      "control": "/run/other.sock"
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }`, 1))
	for _, foreign := range []string{"", "x", `{"name":"cbr0","plugins":[{"type":"flannel"}]}`, `{"name":"vtepd","plugins":[{"type":"bridge"}]}`} {
		must(t, os.WriteFile(o.Path(), []byte(foreign), 0o644))
		write("somebody else's conflist", false, "10-vtepd.conflist is not vtepd's and is left alone")
		holds(t, o.Path(), foreign)
	}
	entries, err := os.ReadDir(o.ConfDir)
	must(t, err)
	if len(entries) != 1 {
		t.Errorf("left in the folder: %v", entries)
	}
}

func TestPlugin(t *testing.T) {
	o := options(t)
	target := filepath.Join(o.BinDir, Plugin)
	must(t, os.MkdirAll(o.BinDir, 0o755))
	must(t, os.WriteFile(target, []byte("#!/bin/sh\n"), 0o755))
	_, err := Write(o)
	if !strings.Contains(text(err), "vtep-cni is not vtepd's and is left alone") {
		t.Errorf("%v", err)
	}
	holds(t, target, "#!/bin/sh\n")
	if _, err := os.Stat(o.Path()); err == nil {
		t.Error("a conflist without a plugin")
	}
	must(t, os.Remove(target))
	_, err = Write(o)
	must(t, err)
	// An older one of ours, here one with a tail, is replaced.
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("old")
	must(t, err)
	must(t, f.Close())
	changed, err := Write(o)
	must(t, err)
	program, err := os.ReadFile(o.Program)
	must(t, err)
	if holds(t, target, string(program)); !changed {
		t.Error("nothing changed")
	}
	// Without one beside the daemon that which is there serves.
	must(t, os.Remove(o.Program))
	changed, err = Write(o)
	if must(t, err); changed {
		t.Error("something changed")
	}
	must(t, os.Remove(target))
	if _, err = Write(o); !strings.Contains(text(err), "vtep-cni is missing, and beside vtepd there is none to copy") {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(o.Program, []byte("x"), 0o755))
	if _, err = Write(o); !strings.Contains(text(err), "is not the vtep-cni of a vtepd") {
		t.Errorf("%v", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if string(b) != want {
		t.Errorf("%s holds %d bytes %.300q, want %d", path, len(b), b, len(want))
	}
}
