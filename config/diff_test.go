package config

import (
	"reflect"
	"testing"
)

func TestDiff(t *testing.T) {
	const base = "segments:\n- {vni: 1, remotes: [192.0.2.1]}\n- {vni: 2, group: ff05::1}\n"
	tests := []struct {
		name, file              string
		added, removed, changed []uint32
		log                     bool
		restart                 []string
	}{
		{name: "same", file: base},
		{name: "order and lines", file: "\n\nsegments:\n- {group: ff05::1, vni: 2}\n- {remotes: 192.0.2.1, vni: 1}\n"},
		{name: "one more", file: base + "- {vni: 3, remotes: []}\n", added: []uint32{3}},
		{name: "one less", file: "segments: {vni: 2, group: ff05::1}", removed: []uint32{1}},
		{name: "other VNI", file: "segments:\n- {vni: 4, remotes: [192.0.2.1]}\n- {vni: 2, group: ff05::1}",
			added: []uint32{4}, removed: []uint32{1}},
		{name: "device", file: "segments:\n- {vni: 1, remotes: [192.0.2.1], device: a}\n- {vni: 2, group: ff05::1}", changed: []uint32{1}},
		{name: "underlay", file: "underlay: {ttl: 9}\n" + base, changed: []uint32{1, 2}},
		{name: "default written out", file: "underlay: {ttl: auto, ageing: 5m}\n" + base},
		{name: "mode", file: "segments:\n- {vni: 1, mode: route, prefixes: []}\n- {vni: 2, group: ff05::1}", added: []uint32{1}, removed: []uint32{1}},
		{name: "level", file: base + "log: {level: debug}", log: true},
		{name: "restart", file: base + "log: {format: json}\ncontrol: {path: /x}\ndatapath: {tier: offload, workers: 2, spin: 0}",
			restart: []string{"control.path", "log.format", "datapath.tier", "datapath.workers", "datapath.spin"}},
	}
	vnis := func(list []Segment) (out []uint32) {
		for _, s := range list {
			out = append(out, s.VNI)
		}
		return out
	}
	for _, tt := range tests {
		d := Diff(must(t, base), must(t, tt.file))
		var changed []uint32
		for _, c := range d.Changed {
			if c.Old.VNI != c.New.VNI || same(c.Old, c.New) {
				t.Errorf("%s: %+v", tt.name, c)
			}
			changed = append(changed, c.New.VNI)
		}
		if !reflect.DeepEqual(vnis(d.Added), tt.added) || !reflect.DeepEqual(vnis(d.Removed), tt.removed) ||
			!reflect.DeepEqual(changed, tt.changed) || d.Log != tt.log || !reflect.DeepEqual(d.Restart, tt.restart) {
			t.Errorf("%s: %+v", tt.name, d)
		}
	}
}

// TestDiffPrefixes wants a changed prefix to be a changed segment.
func TestDiffPrefixes(t *testing.T) {
	file := func(via string) *Config {
		return must(t, "segments: {vni: 1, mode: route, prefixes: {prefix: 10.2.0.0/16, via: "+via+", mac: 02:00:00:00:00:02}}")
	}
	if d := Diff(file("192.0.2.2"), file("192.0.2.3")); len(d.Changed) != 1 {
		t.Errorf("%+v", d)
	}
	if d := Diff(file("192.0.2.2"), file("192.0.2.2")); len(d.Changed) != 0 {
		t.Errorf("%+v", d)
	}
}

func TestDiffFromNothing(t *testing.T) {
	d := Diff(&Config{}, must(t, "segments: {vni: 1, remotes: []}"))
	if len(d.Added) != 1 || d.Restart != nil {
		t.Errorf("%+v", d)
	}
}
