package control

import (
	"net/http"
	"slices"

	"vtepd/cmd/internal/api"
	"vtepd/encap/packet"
)

func (h *handler) version(http.ResponseWriter, *request) (any, error) {
	return h.backend.Version(), nil
}

func (h *handler) status(http.ResponseWriter, *request) (any, error) {
	return h.backend.Status(), nil
}

func (h *handler) node(http.ResponseWriter, *request) (any, error) {
	return h.backend.Node(), nil
}

func (h *handler) segments(_ http.ResponseWriter, r *request) (any, error) {
	s, err := r.selector()
	if err != nil {
		return nil, err
	}
	chosen := api.List[api.SegmentStatus]{}
	for _, seg := range h.backend.Segments() {
		if s.Matches(seg.Device, seg.VNI) {
			chosen = append(chosen, seg)
		}
	}
	if len(chosen) == 0 && !s.IsZero() {
		return nil, api.NotFoundf("no segment is %v", s)
	}
	return chosen, nil
}

func (h *handler) leases(http.ResponseWriter, *request) (any, error) {
	return api.List[api.Lease](h.backend.Leases()), nil
}

func (h *handler) counters(_ http.ResponseWriter, r *request) (any, error) {
	s, err := r.selector()
	if err != nil {
		return nil, err
	}
	return answer(h.backend.Counters(s))
}

func (h *handler) fdb(w http.ResponseWriter, r *request) (any, error) {
	s, err := r.selector()
	if err != nil {
		return nil, err
	}
	if r.values.Has("mac") {
		mac, err := packet.ParseMAC(r.values.Get("mac"))
		if err != nil {
			return nil, api.Usagef("mac: %v", err)
		}
		return list(h.backend.FDBGet(s, mac))
	}
	return nil, streamArray(w, func(emit func(api.FDBEntry) error) error { return h.backend.FDB(s, emit) })
}

func (h *handler) fdbChange(_ http.ResponseWriter, r *request) (any, error) {
	// The zero MAC is the flood list, so a MAC that was forgotten is not it.
	var document struct {
		api.FDBChange
		MAC *packet.MAC `json:"mac"`
	}
	c := &document.FDBChange
	if err := r.change(&document, &c.Op, api.OpAdd, api.OpAppend, api.OpReplace, api.OpDel); err != nil {
		return nil, err
	}
	if document.MAC == nil {
		return nil, api.Usagef("mac: a MAC is missing")
	}
	c.MAC = *document.MAC
	if err := checkVNIs(c.Segment, c.VNI); err != nil {
		return nil, err
	}
	if err := checkAddr(&c.Dst, c.Op != api.OpDel); err != nil {
		return nil, err
	}
	if c.State == "" {
		c.State = api.Permanent
	}
	if !c.State.Valid() {
		return nil, api.Usagef("state: %q is none of dynamic, static, permanent", c.State)
	}
	return answer(h.backend.FDBChange(*c))
}

func (h *handler) fdbFlush(_ http.ResponseWriter, r *request) (any, error) {
	var f api.FDBFlush
	if err := r.document(&f); err != nil {
		return nil, err
	}
	if err := checkVNIs(f.Segment, f.VNI); err != nil {
		return nil, err
	}
	if err := checkAddr(&f.Dst, false); err != nil {
		return nil, err
	}
	return answer(h.backend.FDBFlush(f))
}

func (h *handler) remotes(_ http.ResponseWriter, r *request) (any, error) {
	s, err := r.selector()
	if err != nil {
		return nil, err
	}
	return list(h.backend.Remotes(s))
}

func (h *handler) remoteChange(_ http.ResponseWriter, r *request) (any, error) {
	var c api.RemoteChange
	if err := r.change(&c, &c.Op, api.OpAdd, api.OpDel); err != nil {
		return nil, err
	}
	if err := checkVNIs(c.Segment, c.VNI); err != nil {
		return nil, err
	}
	if err := checkAddr(&c.IP, true); err != nil {
		return nil, err
	}
	return answer(h.backend.RemoteChange(c))
}

func (h *handler) neighbours(_ http.ResponseWriter, r *request) (any, error) {
	s, err := r.selector()
	if err != nil {
		return nil, err
	}
	return list(h.backend.Neighbours(s))
}

func (h *handler) neighChange(_ http.ResponseWriter, r *request) (any, error) {
	var c api.NeighChange
	if err := r.change(&c, &c.Op, api.OpAdd, api.OpReplace, api.OpDel); err != nil {
		return nil, err
	}
	if err := checkVNIs(c.Segment); err != nil {
		return nil, err
	}
	if err := checkAddr(&c.IP, true); err != nil {
		return nil, err
	}
	if c.IP.IsMulticast() {
		return nil, api.Usagef("%v: a group has no neighbour entry", c.IP)
	}
	if c.Op != api.OpDel && (c.MAC.IsZero() || c.MAC.IsMulticast()) {
		return nil, api.Usagef("mac: a neighbour has a unicast MAC, not %v", c.MAC)
	}
	return answer(h.backend.NeighChange(c))
}

func (h *handler) reload(_ http.ResponseWriter, r *request) (any, error) {
	return answer(h.backend.Reload(r.Context()))
}

func (h *handler) logLevel(_ http.ResponseWriter, r *request) (any, error) {
	var document struct {
		Level string `json:"level"`
	}
	if err := r.document(&document); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, document.Level) {
		return nil, api.Usagef("level: %q is none of debug, info, warn, error", document.Level)
	}
	if err := h.backend.SetLogLevel(document.Level); err != nil {
		return nil, err
	}
	return api.Result{Changed: 1}, nil
}
