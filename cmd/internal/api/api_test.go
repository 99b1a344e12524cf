package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"vtepd/encap/drop"
)

func TestFlushTakes(t *testing.T) {
	yes, no := true, false
	vni := uint32(7)
	entry := func(state State, source Source) FDBEntry {
		return FDBEntry{Ifname: "vx42", Segment: 42, Dst: netip.MustParseAddr("192.0.2.2"), Port: 4789, VNI: 7, State: state, Source: source}
	}
	learned, operator := entry(Dynamic, Learned), entry(Dynamic, Operator)
	static, permanent := entry(Static, Operator), entry(Permanent, Operator)
	config, flannel := entry(Static, Config), entry(Dynamic, Flannel)
	all := []FDBEntry{learned, operator, static, permanent, config, flannel}
	for _, test := range []struct {
		name  string
		flush FDBFlush
		takes []FDBEntry
	}{
		{"nothing said", FDBFlush{}, []FDBEntry{learned, operator}},
		{"all", FDBFlush{All: true}, []FDBEntry{learned, operator, static, permanent}},
		{"dynamic", FDBFlush{Dynamic: &yes}, []FDBEntry{learned, operator}},
		{"nodynamic", FDBFlush{Dynamic: &no}, nil},
		{"static", FDBFlush{Static: &yes}, []FDBEntry{static}},
		{"static dynamic", FDBFlush{Static: &yes, Dynamic: &yes}, []FDBEntry{learned, operator, static}},
		{"all static", FDBFlush{All: true, Static: &yes}, []FDBEntry{static}},
		{"all nostatic", FDBFlush{All: true, Static: &no}, []FDBEntry{learned, operator, permanent}},
		{"nopermanent", FDBFlush{Permanent: &no}, []FDBEntry{learned, operator}},
		{"all static nopermanent", FDBFlush{All: true, Static: &yes, Permanent: &no}, []FDBEntry{static}},
		{"dev", FDBFlush{Selector: Device("vx42")}, []FDBEntry{learned, operator}},
		{"another dev", FDBFlush{Selector: Device("vx43"), All: true}, nil},
		{"another segment", FDBFlush{Selector: Segment(43), All: true}, nil},
		{"dst", FDBFlush{Dst: netip.MustParseAddr("192.0.2.2"), Port: 4789, VNI: &vni}, []FDBEntry{learned, operator}},
		{"another dst", FDBFlush{Dst: netip.MustParseAddr("192.0.2.3"), All: true}, nil},
		{"another port", FDBFlush{Port: 4790, All: true}, nil},
		{"another vni", FDBFlush{VNI: new(uint32), All: true}, nil},
	} {
		var takes []string
		for _, e := range all {
			if test.flush.Takes(&e) {
				takes = append(takes, fmt.Sprint(e.State, " ", e.Source))
			}
		}
		var want []string
		for _, e := range test.takes {
			want = append(want, fmt.Sprint(e.State, " ", e.Source))
		}
		if fmt.Sprint(takes) != fmt.Sprint(want) {
			t.Errorf("%s takes %v, not %v", test.name, takes, want)
		}
	}
}

func TestNothingIsNull(t *testing.T) {
	b, err := json.Marshal(struct {
		L List[int]
		T Tally
		C Counters
	}{})
	const want = `{"L":[],"T":{},"C":{"segments":[],"drops":{"rx":{},"tx":{}},"events":{}}}`
	if err != nil || string(b) != want {
		t.Errorf("got %s, error %v", b, err)
	}
}

func TestDropsAreComplete(t *testing.T) {
	var none, rx, tx [drop.Count]uint64
	segment, host := SegmentDrops(&none, &none), HostDrops(&none)
	for r := drop.None + 1; r < drop.Count; r++ {
		_, mine := segment.Rx[r.String()]
		_, unowned := host.Rx[r.String()]
		if r.Rx() && mine == unowned {
			t.Errorf("%v: of a segment %v, of none %v", r, mine, unowned)
		}
		if _, sent := segment.Tx[r.String()]; sent != r.Tx() {
			t.Errorf("%v: among the sent ones %v", r, sent)
		}
		rx[r], tx[r] = 1, 1
	}
	// What is counted in the wrong place is shown, so that sums stay true.
	segment, host = SegmentDrops(&rx, &tx), HostDrops(&rx)
	const all = uint64(drop.Count) - 1
	if segment.Rx.Sum() != all || segment.Tx.Sum() != all || host.Rx.Sum() != all {
		t.Errorf("of %d drops %v and %v are left", all, segment, host)
	}
}

func TestAsError(t *testing.T) {
	if AsError(nil) != nil {
		t.Error("no error became one")
	}
	e := Refusedf("table %d is full", 1)
	if got := AsError(fmt.Errorf("add: %w", e)); got != e {
		t.Errorf("got %v", got)
	}
	if got := AsError(errors.New("fire")); got.Kind != Internal || got.Text != "fire" {
		t.Errorf("got %v", got)
	}
	e.Problems = []string{"f:1: a", "f:2: b"}
	if got := e.Error(); got != "table 1 is full\nf:1: a\nf:2: b" {
		t.Errorf("got %q", got)
	}
	if Usagef("x").Kind != Usage || NotFoundf("x").Kind != NotFound {
		t.Error("wrong kind")
	}
}

func TestSelector(t *testing.T) {
	both := Selector{Device: "vx42", Segment: new(uint32)}
	*both.Segment = 42
	for text, s := range map[string]Selector{
		"any segment": {}, "dev vx42": Device("vx42"), "segment 42": Segment(42), "dev vx42 segment 42": both,
	} {
		if s.String() != text || !s.Matches("vx42", 42) || s.IsZero() != (text == "any segment") {
			t.Errorf("%q: %v", text, s)
		}
		if s.Matches("vx43", 43) != s.IsZero() {
			t.Errorf("%q matches another", text)
		}
	}
}
