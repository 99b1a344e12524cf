package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// tree is the file that would say the same as the options, without lines.
func tree(options []*option, segment bool) *yaml.Node {
	sections := map[string]*yaml.Node{}
	root := &yaml.Node{Kind: yaml.MappingNode}
	section := func(name string) *yaml.Node {
		n, ok := sections[name]
		if !ok {
			n = &yaml.Node{Kind: yaml.MappingNode}
			sections[name] = n
			if name == "" {
				put(root, "segments", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}})
			} else {
				put(root, name, n)
			}
		}
		return n
	}
	for _, o := range options {
		if o.set && (segment || o.section != "") {
			put(section(o.section), o.key, o.node())
		}
	}
	return root
}

func put(mapping *yaml.Node, key string, value *yaml.Node) {
	mapping.Content = append(mapping.Content, text(key), value)
}

func text(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// node is the value of the option as it would stand in a file.
func (o *option) node() *yaml.Node {
	if o.kind == single || o.kind == toggle {
		return text(o.values[0])
	}
	seq := &yaml.Node{Kind: yaml.SequenceNode}
	for _, v := range o.values {
		item := text(v)
		if o.kind == pairs {
			item = o.pair(v)
		}
		seq.Content = append(seq.Content, item)
	}
	return seq
}

// pair is MAC=IP, IP=MAC or CIDR=IP=MAC as a mapping.
func (o *option) pair(s string) *yaml.Node {
	keys := []string{"mac", "dst"}
	switch o.key {
	case "neighbours":
		keys = []string{"ip", "mac"}
	case "prefixes":
		keys = []string{"prefix", "via", "mac"}
	}
	values := strings.SplitN(s, "=", len(keys))
	if len(values) < 2 {
		return text(s) // is refused as not being a mapping
	}
	m := &yaml.Node{Kind: yaml.MappingNode}
	for i, v := range values {
		put(m, keys[i], text(v))
	}
	return m
}

// named turns the paths of a file into the flags that gave the values.
func named(list []Problem) {
	for i := range list {
		p := &list[i]
		p.Path = "--" + flagOf(p.Path)
		if p.Path == "--static" && strings.Contains(p.Text, "is a single value") {
			p.Text = strings.Replace(p.Text, "a mapping with mac, dst", "MAC=IP or MAC=IP:PORT", 1)
		}
		if p.Path == "--neighbour" && strings.Contains(p.Text, "is a single value") {
			p.Text = strings.Replace(p.Text, "a mapping with ip, mac", "IP=MAC", 1)
		}
		if p.Path == "--prefix" && strings.Contains(p.Text, "is a single value") {
			p.Text = strings.Replace(p.Text, "a mapping with prefix, via, mac", "CIDR=IP=MAC or CIDR=IP:PORT=MAC", 1)
		}
	}
}

// flagOf is the flag behind a path; the segment as a whole is blamed for
// lacking a destination.
func flagOf(path string) string {
	key, ok := strings.CutPrefix(path, "segments[0].")
	section := ""
	if !ok {
		section, key, ok = strings.Cut(path, ".")
		if !ok {
			return "remote"
		}
	}
	if end := strings.IndexAny(key, "[."); end >= 0 {
		key = key[:end]
	}
	for _, o := range optionTable() {
		if o.section == section && o.key == key {
			return o.name
		}
	}
	return key
}
