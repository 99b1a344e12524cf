package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A field is a node of the file with its place. The zero field stands for a
// key that is not written: reading it changes nothing.
type field struct {
	*report
	node *yaml.Node
	line int
	path string
}

// newField refuses what makes a configuration say more, or other, than a
// reader sees at that place.
func newField(r *report, n *yaml.Node, line int, path string) field {
	f := field{r, n, line, path}
	switch {
	case n.Kind == yaml.AliasNode:
		f.bad("an alias (*%s) is not allowed; write the value out", n.Value)
	case n.Anchor != "":
		f.bad("an anchor (&%s) is not allowed; write the value out where it is used", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		f.bad("a tag (%s) is not allowed; write the value alone", n.Tag)
	}
	return f
}

func (f field) written() bool { return f.node != nil }

func (f field) bad(format string, args ...any) { f.refuse(f.line, f.path, format, args...) }

func (f field) remark(format string, args ...any) { f.warn(f.line, f.path, format, args...) }

func (f field) isNull() bool {
	return f.node.Kind == yaml.ScalarNode && f.node.ShortTag() == "!!null"
}

// wrongKind says what stands there in place of want. An alias is refused
// already.
func (f field) wrongKind(want string) {
	switch {
	case f.node.Kind == yaml.AliasNode:
	case f.isNull():
		f.bad("has no value; write %s, or leave the key out", want)
	case f.node.Kind == yaml.ScalarNode:
		f.bad("%s is a single value; write %s", quote(f.node.Value), want)
	case f.node.Kind == yaml.MappingNode:
		f.bad("is a mapping; write %s (an IPv6 address needs quotes)", want)
	default:
		f.bad("is a list; write %s", want)
	}
}

// text is the field as one value.
func (f field) text() (string, bool) {
	if !f.written() {
		return "", false
	}
	if f.node.Kind != yaml.ScalarNode || f.isNull() {
		f.wrongKind("one value")
		return "", false
	}
	return f.node.Value, true
}

// list is the field as a list; one value may stand for a list.
func (f field) list() []field {
	if !f.written() {
		return nil
	}
	switch {
	case f.node.Kind == yaml.AliasNode, f.isNull():
		f.wrongKind("a list ([] for an empty one)")
		return nil
	case f.node.Kind != yaml.SequenceNode:
		return []field{f}
	}
	items := make([]field, len(f.node.Content))
	for i, n := range f.node.Content {
		items[i] = newField(f.report, n, n.Line, fmt.Sprintf("%s[%d]", f.path, i))
	}
	return items
}

// mapping is the field as a mapping, of which only the named keys are known.
func (f field) mapping(known []string) map[string]field {
	if !f.written() {
		return nil
	}
	if f.node.Kind != yaml.MappingNode {
		f.wrongKind("a mapping with " + some(known))
		return nil
	}
	fields := make(map[string]field, len(f.node.Content)/2)
	for i := 0; i+1 < len(f.node.Content); i += 2 {
		key, value := f.node.Content[i], f.node.Content[i+1]
		if !f.goodKey(key, known) {
			continue
		}
		path := f.join(key.Value)
		if first, ok := fields[key.Value]; ok {
			f.refuse(key.Line, path, "is given twice, also %s; keep one", at(first.line))
			continue
		}
		line := value.Line
		if value.Kind == yaml.ScalarNode && value.Value == "" {
			line = key.Line // an empty value has no place of its own
		}
		fields[key.Value] = newField(f.report, value, line, path)
	}
	return fields
}

func (f field) join(key string) string {
	if f.path == "" {
		return key
	}
	return f.path + "." + key
}

// goodKey refuses a key that is no known word.
func (f field) goodKey(key *yaml.Node, known []string) bool {
	name := key.Value
	switch {
	case key.Kind != yaml.ScalarNode, key.Anchor != "", key.Style&yaml.TaggedStyle != 0:
		f.refuse(key.Line, f.path, "a key must be a plain word, without anchor, alias or tag")
	case name == "<<":
		f.refuse(key.Line, f.path, "a merge key (<<) is not allowed; write the keys out")
	case slices.Contains(known, name):
		return true
	default:
		f.refuse(key.Line, f.join(printable(name)), "%s", unknownKey(name, known))
	}
	return false
}

// printable keeps a foreign key from breaking the line it is reported on.
func printable(key string) string {
	if q := quote(key); q != `"`+key+`"` || key == "" || strings.ContainsAny(key, " :.") {
		return q
	}
	return key
}
