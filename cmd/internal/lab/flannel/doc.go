// Package flannel makes laboratories of Flannel networks: an etcd, a router
// between two underlay networks, nodes on both sides of it, and pods behind the
// nodes. A node is vtepd, flanneld, or the kernel's devices programmed as
// flanneld programs them. Tests and `make lab-flannel` are built on it.
//
// Node n has the address 192.0.2.n and 2001:db8::n on u0, or 198.51.100.n and
// 2001:db8:1::n when it is off-link; etcd is at 192.0.2.100. Everything is in
// namespaces of one lab and goes with it.
package flannel
