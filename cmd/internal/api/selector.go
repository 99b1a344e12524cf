package api

import "fmt"

// A Selector chooses segments by device or VNI. Both may be given and must
// then agree. The zero value chooses all of them where something is shown, and
// the only one there is where something is changed.
type Selector struct {
	Device  string  `json:"dev,omitempty"`
	Segment *uint32 `json:"segment,omitempty"`
}

// Device returns the Selector for the segment with the device of that name.
func Device(name string) Selector { return Selector{Device: name} }

// Segment returns the Selector for the segment with the VNI.
func Segment(vni uint32) Selector { return Selector{Segment: &vni} }

// IsZero reports whether nothing was selected.
func (s Selector) IsZero() bool { return s.Device == "" && s.Segment == nil }

// Matches reports whether s chooses the segment with that device and VNI.
func (s Selector) Matches(device string, vni uint32) bool {
	return (s.Device == "" || s.Device == device) && (s.Segment == nil || *s.Segment == vni)
}

// String returns the selector in the words of the command line, for messages.
func (s Selector) String() string {
	switch {
	case s.Device != "" && s.Segment != nil:
		return fmt.Sprintf("dev %s segment %d", s.Device, *s.Segment)
	case s.Device != "":
		return "dev " + s.Device
	case s.Segment != nil:
		return fmt.Sprintf("segment %d", *s.Segment)
	}
	return "any segment"
}
