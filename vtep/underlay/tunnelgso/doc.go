// Package tunnelgso sends whole super-frames under one outer header. It writes
// them, with outer Ethernet, IP, UDP and VXLAN headers in front, into a TAP
// device of its own (UDP-tunnel GSO on TUN/TAP, Linux ≥ 6.17); a program of six
// instructions at the device's tcx ingress hook hands them to the kernel's
// neighbour resolution on the egress interface, which cuts them as late as it
// can: in the NIC, or never on a veth.
//
// Facts and traps are in the kernel's drivers/net/tun_vnet.h and
// include/linux/virtio_net.h.
package tunnelgso
