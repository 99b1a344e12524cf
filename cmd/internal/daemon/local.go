package daemon

import (
	"vtepd/config"
	"vtepd/route"
)

// maxStations is how many MACs and addresses of our own ports are kept for
// sources that advertise them.
const maxStations = 100_000

// publish tells sources what this host offers: its segments as they are now. A
// segment whose device is gone offers nothing until it is made again. It holds
// d.mu.
func (d *Daemon) publish() {
	out := make([]route.Segment, 0, len(d.segments))
	for _, s := range d.segments {
		if s.failed {
			continue
		}
		out = append(out, route.Segment{VNI: s.cfg.VNI, Device: s.cfg.Device, Routed: s.cfg.Mode == config.Routed,
			V4: s.v4, V6: s.v6, Port: s.cfg.Port, MAC: s.dev.MAC, MTU: s.deviceMTU})
	}
	d.local.SetSegments(out)
}
