package differential

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A fault is one textual change of our engine that breaks one rule, and the
// sequence that must find it.
type fault struct {
	name     string
	file     string // from the top of the repository
	old, new string // old must stand there exactly once
	batch    string // category, name
	sequence string
}

func faults() []fault {
	const tolocal, fromlocal, table, slots = "vtep/tolocal.go", "vtep/fromlocal.go", "vtep/fdb/table.go", "vtep/fdb/slots.go"
	return []fault{
		{"a frame does not refresh its MAC's age", slots, "s.metas[i].CompareAndSwap(meta, fresh)", "_ = fresh",
			"learn, move, age, a MAC that is heard stays", "a MAC that is heard stays"},
		{"a move is not followed", table, "s.words[i].Store(m<<16 | uint64(d))\n\tt.stats.Moved++", "t.stats.Moved++",
			"learn, move, age, as usual", "a MAC heard elsewhere moves at once"},
		{"the limit of learned MACs does not hold", table, "if t.learned >= t.limits.Max {", "if false {",
			"learn, move, age, at most two MACs", "the third is not learned but forwarded"},
		{"a static entry is overridden from the wire", table, "case e.State != Dynamic:\n\t\treturn Conflict", "case false:",
			"static, as usual", "it is not overridden from the wire"},
		{"what came from the tunnel is flooded into it", tolocal, "frames, bytes := w.deliver(a, d, frame)",
			"frames, bytes := w.deliver(a, d, frame)\n\tif p.Dst.IsMulticast() {\n\t\tw.frame.Buf, w.frame.Off = w.reads, 256\n" +
				"\t\tw.frame.Len = copy(w.reads[256:], frame)\n\t\t_ = w.frameFromLocal(a, &w.frame)\n\t\tw.flush()\n\t}",
			"flood, two remotes", "no copy of a broadcast from the tunnel goes into it"},
		{"the first of the flood list is left out", fromlocal, "for _, r := range list {", "for _, r := range list[1:] {",
			"flood, two remotes", "a broadcast"},
		{"our own MAC is not a loop", tolocal, "case p.Src == opts.MAC:", "case false:",
			"self and loop, as usual", "our own MAC from the tunnel is a loop"},
		{"CE around Not-ECT passes", "encap/packet/ecn.go", "return outer != ce", "return true",
			"ECN, out of the tunnel", "Not-ECT in CE, udp"},
		{"the outer ECN is lost", "encap/packet/ecn.go", "if merged != inner {", "if false {",
			"ECN, out of the tunnel", "ECT(0) in CE, udp6"},
		{"CE is sent as CE", "encap/packet/ecn.go", "ecn = ect0", "ecn = ce",
			"ECN, into the tunnel", "CE, udp"},
		{"the TTL is not inherited", fromlocal, "e.ttl = p.TTL", "e.ttl = opts.TTL",
			"TTL and TOS, both inherited", "from an IPv4 packet"},
		{"the TOS is not inherited", fromlocal, "base = p.TOS", "base = opts.TOS",
			"TTL and TOS, both inherited", "all of DSCP"},
		{"the I flag is not looked at", "encap/header.go", "len(b) < HeaderLen || b[0]&0x08 == 0", "len(b) < HeaderLen",
			"header faults, as usual", "no I flag"},
		{"a multicast source is taken", tolocal, "case p.Src.IsMulticast() || p.Src.IsZero():", "case p.Src.IsZero():",
			"inner faults, out of the tunnel", "a multicast source"},
		{"the limit of a path is a byte too small", "encap/mtu.go", "return OverlayMTU(pathMTU, v6) + 14", "return OverlayMTU(pathMTU, v6) + 13",
			"sizes, device as large as the path", "the largest"},
		{"all flows have one source port", fromlocal, "e.entropy = p.FlowHash(b)", "e.entropy = 1",
			"source port, as usual", "another port is another flow"},
	}
}

// build builds vtepd with the fault and returns the folder it is in.
func (f *fault) build(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../..", f.file))
	must(t, err)
	text, err := os.ReadFile(path)
	must(t, err)
	if n := strings.Count(string(text), f.old); n != 1 {
		t.Fatalf("%s has %q %d times, want once", f.file, f.old, n)
	}
	dir := t.TempDir()
	copied := filepath.Join(dir, "faulty.go")
	must(t, os.WriteFile(copied, []byte(strings.Replace(string(text), f.old, f.new, 1)), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: copied}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600))
	out, err := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"),
		"-ldflags=-s -w", "-o", filepath.Join(dir, "vtepd"), "vtepd/cmd/vtepd").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, os.Symlink(filepath.Join(bin, "vtepctl"), filepath.Join(dir, "vtepctl")))
	return dir
}

// TestPlantedFaults breaks one rule of the engine at a time and plays the
// sequence that is about the rule: it must report a difference.
func TestPlantedFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a vtepd for each fault; run without -short")
	}
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			all := batches()
			i := slices.IndexFunc(all, func(b batch) bool { return b.category+", "+b.name == f.batch })
			if i < 0 {
				t.Fatalf("there is no batch %q", f.batch)
			}
			b := &all[i]
			b.sequences = slices.DeleteFunc(b.sequences, func(q sequence) bool { return q.name != f.sequence })
			if len(b.sequences) != 1 {
				t.Fatalf("%d sequences %q, want one", len(b.sequences), f.sequence)
			}
			s := newStage(t, b.families()[0] == "IPv6", subject{"vtepd", f.build(t), "auto"})
			must(t, s.play(b, func(_ *sequence, problems []string) {
				for _, p := range problems {
					if strings.HasPrefix(p, kernelDiffers) {
						t.Error(p)
					} else {
						t.Log(p)
					}
				}
				if len(problems) == 0 {
					t.Error("it is not found")
				}
			}))
		})
	}
}
