package apitest

import (
	"slices"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
)

// Fill puts n learned entries into vx42, with MACs that count up.
func (b *Backend) Fill(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range n {
		e := b.entries[3]
		e.MAC = packet.MAC{0x0a, 0, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}
		b.entries = append(b.entries, e)
	}
}

// FDB implements [api.Backend].
func (b *Backend) FDB(s api.Selector, emit func(api.FDBEntry) error) error {
	if err := known(s); err != nil {
		return err
	}
	b.mu.Lock()
	entries := slices.Clone(b.entries)
	b.mu.Unlock()
	for _, e := range entries {
		if !s.Matches(e.Ifname, e.Segment) {
			continue
		}
		if err := emit(e); err != nil {
			return err
		}
	}
	return nil
}

// FDBGet implements [api.Backend].
func (b *Backend) FDBGet(s api.Selector, mac packet.MAC) ([]api.FDBEntry, error) {
	var found []api.FDBEntry
	err := b.FDB(s, func(e api.FDBEntry) error {
		if e.MAC == mac {
			found = append(found, e)
		}
		return nil
	})
	if err == nil && found == nil {
		err = api.NotFoundf("%v is not in the FDB", mac)
	}
	return found, err
}

// FDBChange implements [api.Backend].
func (b *Backend) FDBChange(c api.FDBChange) (api.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("FDBChange", c)
	name, vni, err := one(c.Selector)
	if err != nil {
		return api.Result{}, err
	}
	has := func(e api.FDBEntry) bool { return e.MAC == c.MAC && e.Ifname == name }
	i := slices.IndexFunc(b.entries, has)
	if c.Op == api.OpDel {
		if i < 0 {
			return api.Result{}, api.NotFoundf("%v is not in the FDB of %s", c.MAC, name)
		}
		return b.deleted(has), nil
	}
	if c.Op == api.OpAdd && i >= 0 && b.entries[i].Source != api.Learned {
		return api.Result{}, api.Refusedf("%v is in the FDB of %s already; use replace", c.MAC, name)
	}
	if c.Op != api.OpAppend {
		b.entries = slices.DeleteFunc(b.entries, has)
	}
	e := api.FDBEntry{MAC: c.MAC, Ifname: name, Segment: vni, Dst: c.Dst, Port: c.Port, VNI: vni,
		State: c.State, Source: api.Operator, Flags: []string{"self"}}
	if c.VNI != nil {
		e.VNI = *c.VNI
	}
	if c.Port == 0 {
		e.Port = 4789
	}
	b.entries = append(b.entries, e)
	b.emit(api.Event{Kind: api.KindFDB, Action: api.Added, FDB: &e})
	return api.Result{Changed: 1}, nil
}

// deleted takes entries out of the FDB. It holds b.mu.
func (b *Backend) deleted(which func(api.FDBEntry) bool) api.Result {
	var r api.Result
	b.entries = slices.DeleteFunc(b.entries, func(e api.FDBEntry) bool {
		if !which(e) {
			return false
		}
		r.Changed++
		if e.Source == api.Config {
			r.Note = api.NoteNamed
		}
		b.emit(api.Event{Kind: api.KindFDB, Action: api.Deleted, FDB: &e})
		return true
	})
	return r
}

// FDBFlush implements [api.Backend].
func (b *Backend) FDBFlush(f api.FDBFlush) (api.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("FDBFlush", f)
	if err := known(f.Selector); err != nil {
		return api.Result{}, err
	}
	return b.deleted(func(e api.FDBEntry) bool { return f.Takes(&e) }), nil
}

// Remotes implements [api.Backend].
func (b *Backend) Remotes(s api.Selector) ([]api.Remote, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var chosen []api.Remote
	for _, r := range b.remotes {
		if s.Matches(r.Ifname, r.Segment) {
			chosen = append(chosen, r)
		}
	}
	return chosen, known(s)
}

// RemoteChange implements [api.Backend].
func (b *Backend) RemoteChange(c api.RemoteChange) (api.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("RemoteChange", c)
	name, vni, err := one(c.Selector)
	if err != nil {
		return api.Result{}, err
	}
	i := slices.IndexFunc(b.remotes, func(r api.Remote) bool { return r.IP == c.IP && r.Ifname == name })
	if c.Op == api.OpAdd {
		r := api.Remote{IP: c.IP, Port: c.Port, VNI: vni, Ifname: name, Segment: vni, Source: api.Operator, Flood: true, MTU: 1450}
		b.remotes = append(b.remotes, r)
		b.emit(api.Event{Kind: api.KindRemote, Action: api.Added, Remote: &r})
		return api.Result{Changed: 1}, nil
	}
	if i < 0 {
		return api.Result{}, api.NotFoundf("%s does not flood to %v", name, c.IP)
	}
	result := api.Result{Changed: 1}
	if b.remotes[i].Source == api.Config {
		result.Note = api.NoteNamed
	}
	b.remotes = slices.Delete(b.remotes, i, i+1)
	return result, nil
}

// Neighbours implements [api.Backend].
func (b *Backend) Neighbours(s api.Selector) ([]api.Neighbour, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var chosen []api.Neighbour
	for _, n := range b.neigh {
		if s.Matches(n.Ifname, n.Segment) {
			chosen = append(chosen, n)
		}
	}
	return chosen, known(s)
}

// NeighChange implements [api.Backend].
func (b *Backend) NeighChange(c api.NeighChange) (api.Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.called("NeighChange", c)
	name, vni, err := one(c.Selector)
	if err != nil {
		return api.Result{}, err
	}
	has := func(n api.Neighbour) bool { return n.IP == c.IP && n.Ifname == name }
	i := slices.IndexFunc(b.neigh, has)
	switch {
	case c.Op == api.OpDel && i < 0:
		return api.Result{}, api.NotFoundf("%v is no neighbour on %s", c.IP, name)
	case c.Op == api.OpAdd && i >= 0:
		return api.Result{}, api.Refusedf("%v is a neighbour on %s already; use replace", c.IP, name)
	}
	b.neigh = slices.DeleteFunc(b.neigh, has)
	if c.Op != api.OpDel {
		n := api.Neighbour{IP: c.IP, MAC: c.MAC, Ifname: name, Segment: vni, State: api.Permanent, Source: api.Operator}
		b.neigh = append(b.neigh, n)
		b.emit(api.Event{Kind: api.KindNeigh, Action: api.Added, Neigh: &n})
	}
	return api.Result{Changed: 1}, nil
}
