package daemon

import (
	"slices"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/route"
)

// setPlane says which segment a control plane wants, nil for none. It returns
// when that is in force; on an error nothing changed.
func (d *Daemon) setPlane(source route.Source, s *config.Segment) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	was, had := d.planes[source]
	if s != nil {
		d.planes[source] = *s
	} else {
		delete(d.planes, source)
	}
	err := d.put(d.file)
	if err != nil {
		delete(d.planes, source)
		if had {
			d.planes[source] = was
		}
	}
	return err
}

// withPlanes is a configuration with the segments that control planes want
// besides. It holds d.mu.
func (d *Daemon) withPlanes(c *config.Config) (*config.Config, error) {
	if len(d.planes) == 0 {
		return c, nil
	}
	out := *c
	out.Segments = slices.Clone(c.Segments)
	for source, p := range d.planes {
		for _, s := range out.Segments {
			if s.VNI == p.VNI {
				return nil, api.Refusedf("segment %d is that of %s, too; give it another vni", s.VNI, source)
			}
			if s.Device == p.Device {
				return nil, api.Refusedf("the device %s of segment %d is that of %s, too; give one of them another name", s.Device, s.VNI, source)
			}
		}
		out.Segments = append(out.Segments, p)
	}
	slices.SortStableFunc(out.Segments[len(c.Segments):], func(a, b config.Segment) int { return int(a.VNI) - int(b.VNI) })
	return &out, nil
}
