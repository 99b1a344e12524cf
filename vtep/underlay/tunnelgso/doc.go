// Package tunnelgso sends whole super-frames under one outer header. It writes
// them, with outer Ethernet, IP, UDP and VXLAN headers in front, into a TAP
// device of its own (UDP-tunnel GSO on TUN/TAP, Linux ≥ 6.17); a program at the
// device's tcx ingress hook hands them to the kernel's neighbour resolution on
// the egress interface, which cuts them as late as it can: in the NIC, or never
// on a veth.
//
// A frame for many remotes is written once: the program makes a copy under each
// of the headers that it finds in memory it shares with us.
//
// Facts and traps are in the kernel's drivers/net/tun_vnet.h,
// include/linux/virtio_net.h and net/core/filter.c.
package tunnelgso
