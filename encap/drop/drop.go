// Package drop names the reasons why a frame was not forwarded.
//
// The words are those of the kernel's vxlan device (SKB_DROP_REASON_VXLAN_* in
// include/net/dropreason-core.h) in lower case where it has one, so that a
// runbook written for the kernel's device reads the same here, and our own
// where it has none. They are what `vtepctl counters` prints.
package drop

// A Reason says why a frame was not forwarded. The zero value, None, means
// that it was. Reasons are small integers so that counters are arrays.
type Reason uint8

// The reasons. Which direction uses which is said by [Reason.Rx] and
// [Reason.Tx].
const (
	None Reason = iota
	// InvalidHeader is a datagram under 8 bytes or with the I flag clear
	// (RFC 7348 §5). No segment owns it.
	InvalidHeader
	// VNINotFound is a VNI that no segment on this socket has.
	VNINotFound
	// Truncated is an inner frame under 14 bytes, or one that ends within its IP
	// header.
	Truncated
	// MACInvalidSource is an inner source MAC that is zero or multicast.
	MACInvalidSource
	// LocalMAC is an inner source MAC that is our own device's: a loop.
	LocalMAC
	// EntryExists is an inner source MAC that a static entry places behind
	// another VTEP.
	EntryExists
	// SourceNotAccepted is an outer source that the accept list does not hold.
	SourceNotAccepted
	// MartianSource is an outer source that nobody can have: unspecified,
	// multicast, broadcast, loopback, or our own address.
	MartianSource
	// WrongInterface is a datagram that arrived by another interface than the
	// segment's underlay interface, or by one of our own devices.
	WrongInterface
	// InnerVLAN is an inner 802.1Q or 802.1ad tag where they are not passed
	// (RFC 7348 §6.1).
	InnerVLAN
	// ECN is outer CE over inner Not-ECT (RFC 6040 §4.2).
	ECN
	// Oversize is a frame too large for the path; we send no outer fragments.
	Oversize
	// NoRemote is a frame whose destination has no VTEP: unknown, and an empty
	// flood list; in a routed segment no prefix.
	NoRemote
	// SendFailed is a datagram that the kernel refused to send.
	SendFailed
	// WriteFailed is a frame that the device refused.
	WriteFailed
	// Malformed is a frame from the device whose offload fields or lengths
	// contradict its bytes, and in a routed segment, in both directions, what is
	// no IP packet by its own header.
	Malformed
	// BadChecksum is a super-frame whose inner checksum is wrong, so that it
	// cannot be split without making a bad checksum good.
	BadChecksum
	// OtherHost is an inner destination MAC that is not our VTEP's, where only
	// that is taken: in a routed segment. Broadcast and multicast are others', too.
	OtherHost
	// UnhandledProto is an inner frame that carries neither IPv4 nor IPv6 to a
	// routed segment: ARP, say.
	UnhandledProto
	// Multicast is an IP packet to a group from the device of a routed segment:
	// no VTEP is all of its members. A host that forwards sends such by itself.
	Multicast

	// Count is the number of reasons, None included: the length of an array
	// indexed by Reason.
	Count
)

const (
	rx = 1 << iota
	tx
)

var reasons = [Count]struct {
	name string
	dirs uint8
}{
	None:              {"none", 0},
	InvalidHeader:     {"invalid_header", rx},
	VNINotFound:       {"vni_not_found", rx},
	Truncated:         {"truncated", rx | tx},
	MACInvalidSource:  {"mac_invalid_source", rx},
	LocalMAC:          {"local_mac", rx},
	EntryExists:       {"entry_exists", rx},
	SourceNotAccepted: {"source_not_accepted", rx},
	MartianSource:     {"martian_source", rx},
	WrongInterface:    {"wrong_interface", rx},
	InnerVLAN:         {"inner_vlan", rx | tx},
	ECN:               {"ecn", rx},
	Oversize:          {"oversize", tx},
	NoRemote:          {"no_remote", tx},
	SendFailed:        {"send_failed", tx},
	WriteFailed:       {"write_failed", rx},
	Malformed:         {"malformed", rx | tx},
	BadChecksum:       {"bad_checksum", rx | tx},
	OtherHost:         {"otherhost", rx},
	UnhandledProto:    {"unhandled_proto", rx},
	Multicast:         {"multicast", tx},
}

// String returns the reason's name as counters and logs spell it.
func (r Reason) String() string {
	if r < Count {
		return reasons[r].name
	}
	return "unknown"
}

// Rx reports whether a datagram from the tunnel can be dropped for r.
func (r Reason) Rx() bool { return r < Count && reasons[r].dirs&rx != 0 }

// Tx reports whether a frame from the device can be dropped for r.
func (r Reason) Tx() bool { return r < Count && reasons[r].dirs&tx != 0 }
