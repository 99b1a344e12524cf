package differential

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// classes names source ports in the order they first appear: A, B, ... Which
// port a flow has is each one's own hash; which flows share one is not.
func (o *outcome) classes() map[uint16]string {
	m := map[uint16]string{}
	for _, e := range o.events {
		if e.packet == nil || e.packet.fragment != "" {
			continue
		}
		if _, ok := m[e.packet.sport]; !ok {
			m[e.packet.sport] = string(rune('A' + len(m)))
		}
		if e.packet.sport < 49152 {
			m[e.packet.sport] = fmt.Sprint(e.packet.sport, ", out of range")
		}
	}
	return m
}

// usualHeader is a VXLAN header with our VNI.
var usualHeader = fmt.Sprintf("08000000%06x00", ourVNI)

// words are an event as sequences write it: where, of which step, and what is
// not usual about it.
func (o *outcome) words(e *event, classes map[uint16]string) string {
	w := []string{fmt.Sprintf("#%d", e.step)}
	switch {
	case e.refused:
		return "refused" + w[0]
	case e.aged != "":
		return e.aged + " aged" + w[0]
	}
	p := e.packet
	if p == nil {
		return strings.Join(append([]string{"dev" + w[0]}, o.changes(e.sent, e.dev)...), " ")
	}
	w[0] = p.to + w[0]
	note := func(unusual bool, format string, args ...any) {
		if unusual {
			w = append(w, fmt.Sprintf(format, args...))
		}
	}
	note(p.tos != "00", "tos=%s", p.tos)
	note(p.ttl != "64", "ttl=%s", p.ttl)
	note(p.df, "df")
	note(p.label != 0, "label=%d", p.label)
	if p.fragment != "" {
		return strings.Join(append(w, "fragment"), " ")
	}
	note(p.port != vxlanPort, "port=%d", p.port)
	note(p.csum != "good", "csum=%s", p.csum)
	note(p.header != usualHeader, "header=%s", p.header)
	note(classes[p.sport] != "A", "sport=%s", classes[p.sport])
	return strings.Join(append(w, o.changes(e.sent, p.inner)...), " ")
}

// changes says what is different about an inner frame that came out from the
// one that was sent.
func (o *outcome) changes(sent, got []byte) []string {
	if bytes.Equal(sent, got) {
		return nil
	}
	mtu := func(name string, v int) []string {
		if v == full(o.v6)-14 {
			return []string{name}
		}
		return []string{fmt.Sprintf("%s=%d", name, v)}
	}
	if len(got) != len(sent) && len(got) > 42 {
		switch {
		case got[12] == 8 && got[13] == 0 && got[23] == 1 && got[34] == 3 && got[35] == 4:
			return mtu("fragneeded", int(binary.BigEndian.Uint16(got[40:])))
		case len(got) > 62 && got[12] == 0x86 && got[20] == 58 && got[54] == 2:
			return mtu("toobig", int(binary.BigEndian.Uint32(got[58:])))
		}
		return []string{"changed"}
	}
	if tos, ok := onlyTOS(sent, got); ok {
		return []string{"inner-tos=" + hex8(tos)}
	}
	return []string{"changed"}
}

// onlyTOS reports whether two frames differ in the TOS or traffic class alone,
// and what it is now. The IPv4 header checksum must be right, unless it was
// not.
func onlyTOS(sent, got []byte) (uint8, bool) {
	if len(got) != len(sent) || len(got) < 34 || !bytes.Equal(sent[:12], got[:12]) {
		return 0, false
	}
	l3 := 14
	for sent[l3-2] == 0x81 && len(got) >= l3+38 {
		l3 += 4
	}
	b := slices.Clone(sent)
	switch {
	case sent[l3-2] == 0x08 && sent[l3-1] == 0x00:
		if fold(sum16(sent[l3:l3+20])) == 0xffff && fold(sum16(got[l3:l3+20])) != 0xffff {
			return 0, false
		}
		b[l3+1], b[l3+10], b[l3+11] = got[l3+1], got[l3+10], got[l3+11]
		return got[l3+1], bytes.Equal(b, got)
	case sent[l3-2] == 0x86 && sent[l3-1] == 0xdd:
		b[l3], b[l3+1] = got[l3]&0xf|b[l3]&0xf0, got[l3+1]&0xf0|b[l3+1]&0xf
		return got[l3]<<4 | got[l3+1]>>4, bytes.Equal(b, got)
	}
	return 0, false
}

// summary is the outcome as sequences write it.
func (o *outcome) summary() string {
	classes := o.classes()
	var w []string
	for i := range o.events {
		w = append(w, o.words(&o.events[i], classes))
	}
	s := strings.Join(w, ", ")
	if s == "" {
		s = "nothing"
	}
	if len(o.fdb) > 0 {
		s += " | " + strings.Join(o.fdb, ", ")
	}
	return s
}

// differences compares an outcome with the reference's, frame by frame and
// field by field.
func (o *outcome) differences(ref *outcome, name string) (out []string) {
	for i, step := range ref.steps {
		at := fmt.Sprintf("step %d (%s)", i+1, step)
		a, b := ref.of(i+1), o.of(i+1)
		if len(a) != len(b) {
			out = append(out, fmt.Sprintf("%s: %d frames of the kernel (%s), %d of %s (%s)", at, len(a), ref.list(a), len(b), name, o.list(b)))
			continue
		}
		for j := range a {
			fa, fb := ref.fields(&a[j]), o.fields(&b[j])
			for k := range min(len(fa), len(fb)) {
				if fa[k] != fb[k] {
					out = append(out, fmt.Sprintf("%s: frame %d (%s): %s: kernel %s, %s %s", at, j+1, ref.list(a[j:j+1]), fa[k].name, fa[k].value, name, fb[k].value))
				}
			}
			if d := bytesDiffer(a[j].inner(), b[j].inner()); d != "" && len(fa) == len(fb) {
				out = append(out, fmt.Sprintf("%s: frame %d (%s): inner bytes: %s", at, j+1, ref.list(a[j:j+1]), d))
			}
		}
	}
	if !slices.Equal(ref.fdb, o.fdb) {
		out = append(out, fmt.Sprintf("FDB: kernel %q, %s %q", ref.fdb, name, o.fdb))
	}
	return out
}

// of returns the events of a step.
func (o *outcome) of(step int) (out []event) {
	for _, e := range o.events {
		if e.step == step {
			out = append(out, e)
		}
	}
	return out
}

func (o *outcome) list(es []event) string {
	var w []string
	for i := range es {
		w = append(w, o.words(&es[i], o.classes()))
	}
	return strings.Join(w, ", ")
}

func (e *event) inner() []byte {
	if e.packet != nil {
		return e.packet.inner
	}
	return e.dev
}

type field struct{ name, value string }

// fields are all of an event that must be equal, but for the inner bytes.
func (o *outcome) fields(e *event) []field {
	p := e.packet
	switch {
	case e.refused:
		return []field{{"where", "refused"}}
	case e.aged != "":
		return []field{{"where", e.aged + " aged"}}
	case p == nil:
		return []field{{"where", "out of the device"}}
	}
	return []field{
		{"where", "to VTEP " + p.to}, {"Ethernet addresses", p.mac}, {"TOS", p.tos}, {"TTL", p.ttl}, {"DF", fmt.Sprint(p.df)},
		{"flow label", fmt.Sprint(p.label)}, {"fragment", p.fragment}, {"source port", o.classes()[p.sport]},
		{"destination port", fmt.Sprint(p.port)}, {"UDP checksum", p.csum}, {"VXLAN header", p.header},
	}
}

// bytesDiffer says where two frames differ first.
func bytesDiffer(kernel, ours []byte) string {
	if bytes.Equal(kernel, ours) {
		return ""
	}
	n := min(len(kernel), len(ours))
	for i := range n {
		if kernel[i] != ours[i] {
			return fmt.Sprintf("byte %d is %02x from the kernel, %02x from us (%d and %d bytes)\nkernel % x\nours   % x", i, kernel[i], ours[i], len(kernel), len(ours), kernel, ours)
		}
	}
	return fmt.Sprintf("%d bytes from the kernel, %d from us", len(kernel), len(ours))
}
