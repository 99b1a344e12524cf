package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile        = 4 << 20
	maxWorkers     = 64
	maxSpin        = time.Second
	maxSocketPath  = 107 // sun_path less the final zero
	defaultControl = "/run/vtepd/vtepd.sock"
	defaultSpin    = 50 * time.Microsecond
)

// Parse reads a configuration; name is what messages call it. The error is a
// [*Problems] with all that is wrong.
func Parse(name string, data []byte) (*Config, error) {
	r := &report{file: name}
	root := document(r, data)
	if root == nil {
		return nil, r.err()
	}
	c := build(r, root)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// document is the root of the only document in data, or nil with a problem.
func document(r *report, data []byte) (root *yaml.Node) {
	if len(data) > maxFile {
		r.refuse(0, "", "is larger than %d MiB, which is no configuration", maxFile>>20)
		return nil
	}
	// The parser is not ours, and a reload must not end the daemon.
	defer func() {
		if p := recover(); p != nil {
			r.refuse(0, "", "cannot be read as YAML: %v", p)
			root = nil
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}
	case err != nil:
		r.syntax(err, data)
		return nil
	}
	if err := dec.Decode(&more); err == nil {
		r.refuse(more.Line, "", "a second document starts here; keep one")
		return nil
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err, data)
		return nil
	}
	if len(doc.Content) != 1 {
		r.refuse(1, "", "is not a YAML document")
		return nil
	}
	if isEmpty(doc.Content[0]) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}
	}
	return doc.Content[0]
}

// isEmpty is a document of comments.
func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.ShortTag() == "!!null"
}

// syntax moves the line of the parser's error to where ours stands. It names
// none for the first line and for an alias of nothing.
func (r *report) syntax(err error, data []byte) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 1
	if m := regexp.MustCompile(`^line (\d+): (?s:(.*))$`).FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1]) // digits only
		text = m[2]
	} else if m := regexp.MustCompile(`^unknown anchor '(.*)'`).FindStringSubmatch(text); m != nil {
		line += bytes.Count(data[:max(bytes.Index(data, []byte("*"+m[1])), 0)], []byte("\n"))
		text = "an alias (*" + m[1] + ") is not allowed; write the value out"
	}
	r.refuse(line, "", "not YAML: %s", strings.Join(strings.Fields(text), " "))
}

// build makes the configuration of a root node. What it returns counts only
// when the report has no problems.
func build(r *report, root *yaml.Node) *Config {
	c := defaults()
	top := newField(r, root, root.Line, "").mapping([]string{"underlay", "segments", "control", "log", "datapath", "flannel", "cni"})
	if top == nil {
		return c
	}
	readGlobals(top, c)
	underlay := top["underlay"].mapping(underlayKeys())
	checkUnderlay(underlay)
	var drafts []*draft
	items := top["segments"].list()
	for _, f := range items {
		if d := readSegment(f, underlay); d != nil {
			drafts = append(drafts, d)
			c.Segments = append(c.Segments, d.Segment)
		}
	}
	readCNI(top["cni"], &c.CNI)
	if len(items) == 0 && len(r.problems) == 0 && !hasControlPlane(top) {
		line := max(top["segments"].line, 1)
		r.refuse(line, "segments", "there is none; write at least one, such as {vni: 42, remotes: [192.0.2.2]}")
	}
	checkAll(drafts)
	checkFlannel(top["flannel"], c)
	c.warnings = sorted(r.warnings)
	return c
}

// checkUnderlay reports what is wrong in underlay even when every segment
// overrides it.
func checkUnderlay(fields map[string]field) {
	d := &draft{Segment: defaultSegment(), fields: fields}
	d.readOuter()
	numberOr(fields["mtu"], &d.MTU, "auto", 68, 65535)
	d.warnMTU()
	fields["learning"].boolean(&d.Learning)
	fields["ageing"].duration(&d.Ageing, maxAgeing)
}

func defaults() *Config {
	return &Config{
		Control:  Control{Path: defaultControl},
		Log:      Log{Level: "info", Format: "console"},
		Datapath: Datapath{Tier: "auto", Spin: defaultSpin},
		CNI:      defaultCNI(),
	}
}

// readGlobals reads what belongs to no segment.
func readGlobals(top map[string]field, c *Config) {
	control := top["control"].mapping([]string{"path"})
	control["path"].socket(&c.Control.Path)

	log := top["log"].mapping([]string{"level", "format"})
	log["level"].wordInto(&c.Log.Level, "debug", "info", "warn", "error")
	log["format"].wordInto(&c.Log.Format, "console", "json")

	datapath := top["datapath"].mapping([]string{"tier", "workers", "spin"})
	datapath["tier"].wordInto(&c.Datapath.Tier, "auto", "portable", "offload", "tunnel-gso", "ebpf")
	numberOr(datapath["workers"], &c.Datapath.Workers, "auto", 1, maxWorkers)
	datapath["spin"].duration(&c.Datapath.Spin, maxSpin)

	c.Flannel = readFlannel(top["flannel"], c.Flannel)
}

// socket reads the path of a unix socket.
func (f field) socket(to *string) {
	s, ok := f.text()
	switch {
	case !ok:
	case s == "":
		f.bad("is empty; write a path such as %s", defaultControl)
	case len(s) > maxSocketPath:
		f.bad("%s is %d bytes long; a socket's path has at most %d", quote(s), len(s), maxSocketPath)
	case strings.ContainsRune(s, 0):
		f.bad("%s has a zero byte, which no path has", quote(s))
	default:
		*to = s
	}
}
