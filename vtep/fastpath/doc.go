// Package fastpath forwards TCP connections inside the kernel: two tcx programs
// (bpf/fastpath.c) wrap what a segment's device sends and unwrap what its VTEPs
// send, for the remotes and MACs that a [Mirror] copies from the segment into
// their maps. Nothing is copied to user space and back. Everything else goes
// there as if the programs did not exist: other protocols, frames to unknown or
// several VTEPs, tags, fragments, what does not fit the path, what the programs
// are not sure of; and the first frame of each connection.
//
// # Order
//
// A connection takes one way. Its SYN goes to user space; the next frame is
// only sent when that has arrived, and so may take the fast path. When a frame of
// it has to go to user space all further ones do, until none came for 250 ms.
//
// # What the kernel cannot do
//
// bpf_skb_adjust_room (net/core/filter.c, Linux 6.18) leaves two things to be
// wished for. Growing a super-frame it cannot ask for an outer UDP checksum, so
// the datagrams have none, which over IPv4 is what RFC 7348 §5 recommends; the
// connection's own checksum covers what matters. Receivers join no such
// datagrams, so super-frames that would be cut on the way go through user space.
// Over IPv6 it would be an error, so all frames do. Shrinking one it does not
// clear the tunnel's bits, which a network card that it is forwarded to would
// take for orders; so only connections that end at a socket of this host are
// unwrapped here.
package fastpath
