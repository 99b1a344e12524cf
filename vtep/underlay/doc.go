// Package underlay is the wire side of the data path: UDP sockets that receive
// for the VTEP, and pools of UDP sockets that send for it from many source
// ports. It knows datagrams and the kernel's socket interface, and nothing of
// MACs.
//
// Reading and writing are our own recvmmsg and sendmmsg on raw descriptors,
// without Go's poller; golang.org/x/net joins groups and makes socket filters.
package underlay
