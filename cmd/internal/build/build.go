// Package build says which build of vtepd this is.
package build

import "runtime/debug"

// Version is set by the linker (see the Makefile); empty for a plain
// `go build` or `go install`.
var Version string

// String returns the version: what the linker set, else the module version or
// the commit that Go recorded.
func String() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}
