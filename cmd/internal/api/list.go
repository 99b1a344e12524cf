package api

import "encoding/json"

// A List is a slice that is `[]` in JSON when it is empty, never null, so that
// scripts can iterate without asking.
type List[T any] []T

// MarshalJSON implements [json.Marshaler].
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// A Tally counts by name. It is `{}` in JSON when it is empty, never null.
type Tally map[string]uint64

// MarshalJSON implements [json.Marshaler].
func (t Tally) MarshalJSON() ([]byte, error) {
	if t == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]uint64(t))
}

// Sum returns the sum over all names.
func (t Tally) Sum() uint64 {
	var sum uint64
	for _, n := range t {
		sum += n
	}
	return sum
}
