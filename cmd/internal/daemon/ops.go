package daemon

import (
	"net/netip"

	"vtepd/cmd/internal/api"
	"vtepd/config"
	"vtepd/encap/packet"
	"vtepd/route"
	"vtepd/vtep"
	"vtepd/vtep/fdb"
)

// one returns the segment that a change is for. It holds d.mu.
func (d *Daemon) one(sel api.Selector) (*segment, error) {
	segs, err := d.chosen(sel)
	switch {
	case err != nil:
		return nil, err
	case len(segs) == 0:
		return nil, api.NotFoundf("there is no segment")
	case len(segs) > 1:
		var names []string
		for _, s := range segs {
			names = append(names, s.cfg.Device)
		}
		return nil, api.Usagef("there are %d segments: say which with `dev` or `segment` (%s)", len(segs), join(names))
	}
	return segs[0], nil
}

// bridged returns the bridged segment that a change is for; what says in a few
// words what is changed. It holds d.mu.
func (d *Daemon) bridged(sel api.Selector, what string) (*segment, error) {
	s, err := d.one(sel)
	if err == nil && s.cfg.Mode == config.Routed {
		err = api.Refusedf("%s is a routed segment and has no %s: it has prefixes (vtepctl route)", s.cfg.Device, what)
	}
	return s, err
}

// target fills in what a destination leaves to the segment, and makes sure
// that frames can be sent there.
func (s *segment) target(ip netip.Addr, port uint16, vni *uint32) (route.VTEP, error) {
	v := route.VTEP{Addr: ip.Unmap(), Port: port, VNI: s.cfg.VNI}
	if port == 0 {
		v.Port = s.cfg.Port
	}
	if vni != nil {
		v.VNI = *vni
	}
	switch {
	case v.Addr.IsMulticast():
		return v, api.Refusedf("%v is a group: it takes `group` in the configuration, which joins it", v.Addr)
	case !v.Addr.IsValid() || v.Addr.IsUnspecified():
		return v, api.Usagef("%v cannot be the address of a VTEP", v.Addr)
	}
	if _, err := s.dialer.Path(netip.AddrPortFrom(v.Addr, v.Port), v.VNI); err != nil {
		return v, api.Refusedf("%v cannot be reached from segment %d: %v", v.Addr, s.cfg.VNI, err)
	}
	return v, nil
}

// FDBChange implements [api.Backend].
func (d *Daemon) FDBChange(c api.FDBChange) (api.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, err := d.bridged(c.Selector, "FDB")
	if err != nil {
		return api.Result{}, err
	}
	switch {
	case c.Op == api.OpDel:
		return d.fdbDel(s, c)
	case c.MAC.IsZero():
		return d.floodPut(s, c)
	}
	v, err := s.target(c.Dst, c.Port, c.VNI)
	if err != nil {
		return api.Result{}, err
	}
	have := d.macEntries(s.cfg.VNI, c.MAC)
	switch {
	case c.Op == api.OpAppend && !c.MAC.IsMulticast():
		return api.Result{}, api.Refusedf("%v is a unicast MAC, which is behind one VTEP: use replace", c.MAC)
	case c.Op == api.OpAdd && len(have) > 0:
		return api.Result{}, api.Refusedf("%v has an entry from %s already, to %v: use replace", c.MAC, apiSource(have[0].Source), have[0].VTEP.Addr)
	case c.Op == api.OpAppend:
		for _, e := range have {
			if e.VTEP == v {
				return api.Result{}, api.Refusedf("%v goes to %v already", c.MAC, v.Addr)
			}
		}
	}
	if c.State == api.Dynamic && !c.MAC.IsMulticast() {
		return d.fdbPutDynamic(s, c.MAC, v)
	}
	state := route.Permanent
	if c.State == api.Static {
		state = route.Static
	}
	if c.Op == api.OpReplace && c.MAC.IsMulticast() {
		d.remove(s, keysOf(have))
	}
	d.apply(route.Batch{Source: route.Operator, Add: []route.Entry{route.MACEntry(s.cfg.VNI, c.MAC, v, state)}})
	d.follow(s, nil)
	return api.Result{Changed: 1}, nil
}

// fdbPutDynamic puts an entry that ages: it is the FDB's alone, like a learned
// one.
func (d *Daemon) fdbPutDynamic(s *segment, mac packet.MAC, v route.VTEP) (api.Result, error) {
	have := d.macEntries(s.cfg.VNI, mac)
	if len(have) > 0 && have[0].Source != route.Config && have[0].Source != route.Operator {
		return api.Result{}, api.Refusedf("%v has an entry from %s, which one that ages does not replace: use static or permanent",
			mac, apiSource(have[0].Source))
	}
	r := d.remove(s, keysOf(have))
	err := s.engine.Change(func(c *vtep.Change) error {
		return c.PutMAC(mac, fdb.Dynamic, fdb.Operator, d.engine.Now(), vtep.VTEP(v))
	})
	if err != nil {
		return api.Result{}, api.Refusedf("%v", err)
	}
	d.follow(s, nil)
	return api.Result{Changed: 1, Note: r.Note}, nil
}

// fdbDel deletes the entries of a MAC, all or those to one destination.
func (d *Daemon) fdbDel(s *segment, c api.FDBChange) (api.Result, error) {
	if c.MAC.IsZero() {
		return d.remoteDel(s, c.Dst, c.Port, c.VNI)
	}
	var have []route.Entry
	for _, e := range d.macEntries(s.cfg.VNI, c.MAC) {
		if matches(vtep.VTEP(e.VTEP), c.Dst, c.Port, c.VNI) {
			have = append(have, e)
		}
	}
	r := d.remove(s, keysOf(have))
	if len(have) > 0 || c.MAC.IsMulticast() {
		return r, missing(r, have, "no entry for %v", c.MAC)
	}
	e, ok := s.engine.FDB().Get(c.MAC)
	if !ok {
		return r, api.NotFoundf("no entry for %v on %s", c.MAC, s.cfg.Device)
	}
	if at := s.engine.RemoteAt(e.Dest); at != nil && !matches(at.VTEP(), c.Dst, c.Port, c.VNI) {
		return r, api.NotFoundf("%v is at %v, not at %v", c.MAC, at.VTEP().Addr, c.Dst)
	}
	err := s.engine.Change(func(ch *vtep.Change) error {
		ch.DelMAC(c.MAC)
		return nil
	})
	return api.Result{Changed: 1}, err
}

// remove takes entries away from the file and the operator. What the file
// names comes back with its next snapshot, and the result says so. What a
// control plane says is not ours to take back.
func (d *Daemon) remove(s *segment, keys []route.Key) api.Result {
	var r api.Result
	for _, k := range keys {
		named, put := d.table.Has(route.Config, k), d.table.Has(route.Operator, k)
		if named {
			r.Note = api.NoteNamed
			// The operator's entry hides the file's: the file's goes first, so
			// that it does not come back for a moment.
			d.apply(route.Batch{Source: route.Config, Remove: []route.Key{k}})
		}
		if put {
			d.apply(route.Batch{Source: route.Operator, Remove: []route.Key{k}})
		}
		if named || put {
			r.Changed++
		}
	}
	if r.Changed > 0 {
		d.follow(s, nil) // the narrowest path may have gone with them
	}
	return r
}

// missing says why nothing was removed of the entries that were there: they
// are a control plane's, or there were none.
func missing(r api.Result, have []route.Entry, format string, args ...any) error {
	switch {
	case r.Changed > 0:
		return nil
	case len(have) > 0:
		return api.Refusedf("the entry is from %s, which takes it back itself; an entry of yours takes its place: use replace",
			apiSource(have[0].Source))
	}
	return api.NotFoundf(format, args...)
}

func keysOf(es []route.Entry) []route.Key {
	out := make([]route.Key, 0, len(es))
	for _, e := range es {
		out = append(out, e.Key)
	}
	return out
}

// matches reports whether v is what a request names; what it leaves out is
// any.
func matches(v vtep.VTEP, ip netip.Addr, port uint16, vni *uint32) bool {
	return (!ip.IsValid() || v.Addr == ip.Unmap()) && (port == 0 || v.Port == port) && (vni == nil || v.VNI == *vni)
}

// FDBFlush implements [api.Backend].
func (d *Daemon) FDBFlush(f api.FDBFlush) (api.Result, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	segs, err := d.chosen(f.Selector)
	if err != nil {
		return api.Result{}, err
	}
	n := 0
	for _, s := range segs {
		n += s.engine.FDB().DeleteIf(func(e fdb.Entry) bool {
			if e.State != fdb.Dynamic {
				return false
			}
			entry := d.unicastEntry(s, e)
			return f.Takes(&entry)
		})
		var keys []route.Key
		if s.cfg.Mode == config.Routed {
			continue
		}
		for _, e := range d.table.Segment(s.cfg.VNI, route.RemoteVTEP, route.MAC) {
			entry := s.listEntry(e)
			if f.Takes(&entry) {
				keys = append(keys, e.Key)
			}
		}
		if len(keys) > 0 {
			d.apply(route.Batch{Source: route.Operator, Remove: keys})
			d.follow(s, nil)
			n += len(keys)
		}
	}
	return api.Result{Changed: n}, nil
}
