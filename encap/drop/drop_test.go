package drop_test

import (
	"regexp"
	"testing"

	"vtepd/encap/drop"
)

// reasons are the words that scripts and runbooks know, and where each can
// stand in the counters. What is here keeps its name.
var reasons = []struct {
	reason drop.Reason
	name   string
	rx, tx bool
}{
	{drop.InvalidHeader, "invalid_header", true, false},
	{drop.VNINotFound, "vni_not_found", true, false},
	{drop.Truncated, "truncated", true, true},
	{drop.MACInvalidSource, "mac_invalid_source", true, false},
	{drop.LocalMAC, "local_mac", true, false},
	{drop.EntryExists, "entry_exists", true, false},
	{drop.SourceNotAccepted, "source_not_accepted", true, false},
	{drop.MartianSource, "martian_source", true, false},
	{drop.WrongInterface, "wrong_interface", true, false},
	{drop.InnerVLAN, "inner_vlan", true, true},
	{drop.ECN, "ecn", true, false},
	{drop.Oversize, "oversize", false, true},
	{drop.NoRemote, "no_remote", false, true},
	{drop.SendFailed, "send_failed", false, true},
	{drop.WriteFailed, "write_failed", true, false},
	{drop.Malformed, "malformed", true, true},
	{drop.BadChecksum, "bad_checksum", true, true},
	{drop.OtherHost, "otherhost", true, false},
	{drop.UnhandledProto, "unhandled_proto", true, false},
	{drop.Multicast, "multicast", false, true},
}

func TestReasons(t *testing.T) {
	for _, r := range reasons {
		if r.reason.String() != r.name || r.reason.Rx() != r.rx || r.reason.Tx() != r.tx {
			t.Errorf("%v: rx %v, tx %v, want %s: rx %v, tx %v", r.reason, r.reason.Rx(), r.reason.Tx(), r.name, r.rx, r.tx)
		}
	}
}

// TestEveryReasonIsAWord: all are known to the table above, have a name of
// their own that is a key of JSON and of shells, and a direction.
func TestEveryReasonIsAWord(t *testing.T) {
	if want := int(drop.Count) - 1; len(reasons) != want {
		t.Errorf("the table has %d reasons, want %d", len(reasons), want)
	}
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := make(map[string]bool)
	for r := drop.None + 1; r < drop.Count; r++ {
		name := r.String()
		if !word.MatchString(name) || seen[name] || !r.Rx() && !r.Tx() {
			t.Errorf("reason %d: name %q, rx %v, tx %v", r, name, r.Rx(), r.Tx())
		}
		seen[name] = true
	}
}

func TestNoReason(t *testing.T) {
	for r, name := range map[drop.Reason]string{drop.None: "none", drop.Count: "unknown", 255: "unknown"} {
		if r.String() != name || r.Rx() || r.Tx() {
			t.Errorf("%d: %q, rx %v, tx %v", uint8(r), r, r.Rx(), r.Tx())
		}
	}
}
