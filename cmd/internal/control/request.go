package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"net/url"
	"slices"
	"strconv"

	"vtepd/cmd/internal/api"
)

// maxVNI is the largest VNI: 24 bits (RFC 7348 §5).
const maxVNI = 1<<24 - 1

// repeated is the one query parameter that may be there several times.
const repeated = "kind"

// query parses a query, of which every parameter must be known.
func query(raw string, known []string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, api.Usagef("query: %v", err)
	}
	for name, vs := range values {
		if !slices.Contains(known, name) {
			return nil, api.Usagef("query: no such parameter: %q", name)
		}
		if len(vs) > 1 && name != repeated {
			return nil, api.Usagef("query: %s is there %d times", name, len(vs))
		}
	}
	return values, nil
}

// selector reads a Selector from the request's parameters.
func (r *request) selector() (api.Selector, error) {
	s := api.Device(r.values.Get("dev"))
	if !r.values.Has("segment") {
		return s, nil
	}
	text := r.values.Get("segment")
	vni, err := strconv.ParseUint(text, 10, 32)
	if err != nil || vni > maxVNI {
		return s, api.Usagef("segment: %q is not a VNI, 0 to %d", text, maxVNI)
	}
	n := uint32(vni)
	s.Segment = &n
	return s, nil
}

// document reads the body into v: one JSON object with no field that is not
// known, and nothing behind it.
func (r *request) document(v any) error {
	if !bytes.HasPrefix(bytes.TrimSpace(r.body), []byte("{")) { // null would be taken for an empty one
		return badBody(errors.New("a JSON object is needed"))
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badBody(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badBody(errors.New("more than one JSON value"))
	}
	return nil
}

// change reads a request to change something and checks its operation.
func (r *request) change(document any, op *api.Op, known ...api.Op) error {
	if err := r.document(document); err != nil {
		return err
	}
	if !slices.Contains(known, *op) {
		return api.Usagef("op: %q is none of %v", *op, known)
	}
	return nil
}

// checkVNIs refuses what does not fit 24 bits.
func checkVNIs(vnis ...*uint32) error {
	for _, v := range vnis {
		if v != nil && *v > maxVNI {
			return api.Usagef("%d is not a VNI, 0 to %d", *v, maxVNI)
		}
	}
	return nil
}

// checkAddr brings an address to the one form the daemon uses, and refuses
// what can be nobody's.
func checkAddr(a *netip.Addr, required bool) error {
	*a = a.Unmap()
	switch {
	case !a.IsValid() && required:
		return api.Usagef("an IP address is missing")
	case a.IsValid() && a.IsUnspecified():
		return api.Usagef("%v is nobody's address", *a)
	case a.Zone() != "":
		return api.Usagef("%v: an address with a zone is not supported", *a)
	}
	return nil
}

// answer is what an endpoint returns for what the Backend returned.
func answer[T any](v T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

func list[T any](v []T, err error) (any, error) { return answer(api.List[T](v), err) }
