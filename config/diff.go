package config

import "reflect"

// A Change is what differs between two configurations.
type Change struct {
	Added, Removed []Segment
	Changed        []SegmentChange
	Log            bool     // the log level differs
	CNI            bool     // what container runtimes are told differs
	Flannel        bool     // flannel.masquerade or flannel.forward differs
	Restart        []string // keys that differ and take effect only by a restart
}

// A SegmentChange is a VNI that is in both configurations and not the same.
type SegmentChange struct{ Old, New Segment }

// Diff compares two configurations. Segments are matched by VNI; their order
// and lines do not count; one whose mode differs is removed and another one
// added. An old one that is the zero Config is no running
// configuration, so nothing needs a restart then.
func Diff(old, next *Config) Change {
	var c Change
	before := make(map[uint32]Segment, len(old.Segments))
	for _, s := range old.Segments {
		before[s.VNI] = s
	}
	for _, s := range next.Segments {
		was, ok := before[s.VNI]
		delete(before, s.VNI)
		switch {
		case !ok:
			c.Added = append(c.Added, s)
		case was.Mode != s.Mode:
			c.Added, c.Removed = append(c.Added, s), append(c.Removed, was)
		case !same(was, s):
			c.Changed = append(c.Changed, SegmentChange{was, s})
		}
	}
	for _, s := range old.Segments {
		if _, gone := before[s.VNI]; gone {
			c.Removed = append(c.Removed, s)
		}
	}
	c.Log = old.Log.Level != next.Log.Level
	c.CNI = !reflect.DeepEqual(old.CNI, next.CNI)
	if o, n := old.Flannel, next.Flannel; o != nil && n != nil {
		c.Flannel = o.Masquerade != n.Masquerade || o.Forward != n.Forward
	}
	if old.Control.Path != "" {
		c.Restart = restart(old, next)
	}
	return c
}

// same compares what segments say, not where.
func same(a, b Segment) bool {
	a.Line, b.Line = 0, 0
	return reflect.DeepEqual(a, b)
}

// restart lists the keys that a running daemon cannot follow.
func restart(old, next *Config) []string {
	var keys []string
	add := func(key string, differs bool) {
		if differs {
			keys = append(keys, key)
		}
	}
	add("control.path", old.Control.Path != next.Control.Path)
	add("log.format", old.Log.Format != next.Log.Format)
	add("datapath.tier", old.Datapath.Tier != next.Datapath.Tier)
	add("datapath.workers", old.Datapath.Workers != next.Datapath.Workers)
	add("datapath.spin", old.Datapath.Spin != next.Datapath.Spin)
	return append(keys, old.Flannel.restart(next.Flannel)...)
}
