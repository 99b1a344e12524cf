// Package cni is the network plugin vtep-cni: what a container runtime calls,
// once a command, to give a container's network namespace an interface in the
// node's pod subnet (the Container Network Interface specification 1.1).
//
// It asks the daemon for subnet and MTU and does the rest by itself: addresses
// from [vtepd/route/ipam], a veth pair into a bridge. What it made it finds
// again by names derived from the attachment, so DEL and GC need neither the
// daemon nor the container's namespace.
package cni
