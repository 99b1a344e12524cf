package config

// Example is a commented file with every key, which [Parse] accepts.
func Example() string { return example }

const example = `# vtepd: every key with its meaning. Only vni and one of remotes, group,
# static and prefixes are required. One value may stand for a list; booleans are
# true/false or on/off; durations 300s, 5m. Check a file with:
# vtepd check --config FILE

# Given to all segments; each key may stand in a segment and overrides it there.
# Besides these: ttl tos df udp_csum udp6_zero_csum_tx udp6_zero_csum_rx accept
# learning ageing mtu vlan.
underlay:
  local: [192.0.2.1, "2001:db8::1"] # ours, one a family; default: the kernel chooses
  interface: eth0                   # frames leave and arrive by it; default: any
  port: 4789                        # UDP, ours and the remotes'
  srcport: 49152-65535              # outer source ports, chosen by the flow

segments:
  # A list of remotes, each of which gets broadcast and unknown frames.
  - vni: 42                         # 0-16777215
    device: vx42                    # at most 15 bytes; default vx<VNI>
    address: [10.99.0.1/24]         # of the device
    mtu: auto                       # follows the paths, or a number
    remotes:                        # IP, IPv4:PORT, [IPv6]:PORT; [] to fill it at run time
      - 192.0.2.2
      - 192.0.2.3:4790
      - {ip: "2001:db8::4", port: 4790, vni: 4242}

  # A multicast group, and the rest of the keys with their defaults or a sample.
  - vni: 43
    local: "2001:db8::1"
    interface: eth0
    port: 4789
    srcport: 49152-65535
    group: "ff05::100"
    learning: true                  # learn behind whom a MAC is
    ageing: 300s                    # a learned entry's time; 0 = never
    max_macs: 10000                 # learned entries, 1-16000000
    remote_share: 50                # percent of them that one remote may fill
    mac: 02:00:00:00:00:01          # of the device; default: made from the machine
    ttl: 64                         # auto (default), inherit or 1-255
    tos: inherit                    # or 0-255 without ECN bits, such as 0x28
    df: unset                       # outer Don't Fragment: unset, set, inherit
    udp_csum: true                  # outer checksum over IPv4
    udp6_zero_csum_tx: false        # send checksum 0 over IPv6
    udp6_zero_csum_rx: false        # accept checksum 0 over IPv6
    vlan: drop                      # inner VLAN tags: drop or pass
    accept: known                   # outer sources: known, any, or [192.0.2.0/24]
    bridge: br0                     # put the device into this bridge
    static:                         # at this VTEP, whatever is heard
      - {mac: 02:00:00:00:00:02, dst: "2001:db8::2"}
    neighbours:                     # overlay addresses, for suppress
      - {ip: 10.99.0.2, mac: 02:00:00:00:00:02}
    suppress: true                  # answer ARP and ND for known neighbours
    persist: false                  # keep the device at exit

  # A routed segment carries IP packets: its device has no Ethernet headers, and
  # prefixes say what is behind which VTEP. The longest one decides.
  - vni: 1
    mode: route                     # bridge (default) or route
    device: flannel.1
    address: [10.244.1.0/32]
    prefixes:                       # mac: of the peer's device (ip link show there)
      - {prefix: 10.244.2.0/24, via: 192.0.2.2, mac: 02:00:00:00:00:02}
      - {prefix: "2001:db8:2::/64", via: 192.0.2.2, mac: 02:00:00:00:00:02}

control:
  path: /run/vtepd/vtepd.sock       # for vtepctl

log:
  level: info                       # debug, info, warn, error
  format: console                   # or json

datapath:
  tier: auto                        # portable, offload, tunnel-gso, ebpf
  workers: auto                     # or 1-64
  spin: 50us                        # how long a worker polls before it sleeps

# Containers of this node, by the network plugin vtep-cni.
cni:
  enable: false                     # write 10-vtepd.conflist for container runtimes
  conf_dir: /etc/cni/net.d          # into this folder
  bin_dir: /opt/cni/bin             # where their plugins are; vtep-cni is put there
  version: 1.0.0                    # of the CNI specification: 0.3.1, 0.4.0, 1.0.0, 1.1.0
  subnet: [10.244.1.0/24]           # of the pods, where no control plane gives it

# This node in a Flannel network on etcd, beside flanneld on others. A file may
# have this alone. Only endpoints is required; "" is the default in brackets.
flannel:
  endpoints: ["http://127.0.0.1:2379"]
  prefix: /coreos.com/network       # of the network's keys
  tls: {ca: "", cert: "", key: ""}  # files, for https
  username: ""                      # for etcd with users
  password_file: ""                 # its first line; not readable by everyone
  interface: eth0                   # to the other nodes [that of the default route]
  public_ip: ""                     # by which they reach us [that of the interface]
  public_ipv6: ""
  device: ""                        # [flannel.<VNI>]
  subnet_file: /run/flannel/subnet.env
  renew_margin: 60m                 # before the lease's end; 1m-1439m
  masquerade: true                  # what pods send out of the network
  forward: check                    # say when a firewall drops pods' packets; insert: pass them
`
