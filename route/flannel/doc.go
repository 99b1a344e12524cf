// Package flannel is the source of reachability that a Flannel network is: the
// nodes' leases in a shared store, of which one is ours. It speaks the formats
// of flanneld v0.28 to the byte (keys, values, subnet.env), takes and keeps
// this node's lease, and turns the leases of the others into batches of
// prefixes.
//
// The pure part is what the store holds: [ParseNetwork], [ParseSubnet],
// [ParseLease], [Choose], [Env]. A [Source] is the life of one node on a
// [Store]. It logs nothing: what happens is told to [Options.Say], what is
// wanted of the daemon to [Options.Joined]. The store's contents are hostile:
// what cannot be is refused by name, counted, and disturbs nothing else.
package flannel
