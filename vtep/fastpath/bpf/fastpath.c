// SPDX-License-Identifier: Apache-2.0
//
// The in-kernel path of TCP connections that user space has seen begin. Two
// tcx programs: from_local at the egress of a segment's device, to_local at the
// ingress of the interface that the underlay arrives by. Whatever they are not
// sure of goes on to user space (TCX_NEXT), which decides as if they were not
// there; they drop nothing.
//
// Both read what user space wrote into the maps: remotes, who may send, which
// MACs are behind whom. They write only counters, the time a MAC was heard, the
// flows and where trains went.
//
// layout.go has the structs, too.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// Verdicts of tcx programs (enum tcx_action_base, Linux 6.6), which older headers
// do not have.
#define TCX_NEXT (-1)
#define TCX_DROP 2

// Flags of bpf_skb_adjust_room (Linux 6.5), the same.
#define DECAP_L3_IPV6 (1ULL << 8)

#define MAX_REMOTES 4096
#define MAX_MACS 65536
#define MAX_FLOWS 65536
#define MAX_PORTS 64
#define MAX_TRAINS 16384 // a power of two

#define VXLAN_LEN 8
#define OUTER_IP (ETH_HLEN + 20)
#define OVERHEAD (20 + 8 + VXLAN_LEN + ETH_HLEN) // what stands between outer and inner IP header
#define INNER_ETH (ETH_HLEN + OVERHEAD - ETH_HLEN)
#define MAX_OUTER 65535

// A flow whose frames went to user space takes the fast path again when none came for
// so long: what user space still had of it has left by then.
#define DRAINED 250000000ULL // ns

// Flags of a remote.
#define TOS_INHERIT 1
#define DF_SET 2
#define WHOLE 4 // super-frames leave as they are

struct remote {
	__u8 src[4], dst[4];      // outer addresses
	__u32 device;             // interface index of the segment's device
	__u32 egress;             // and of the underlay's interface
	__be32 vni;               // as the header has it
	__be16 port;              // UDP destination port
	__u16 frame_limit;        // largest inner frame that the path carries, bytes
	__u16 device_limit;       // largest inner frame that the device takes, bytes
	__u8 tos, ttl, flags;
	__u8 unused;
	__u16 ports;              // number of source ports
	__be16 port_of[MAX_PORTS];
};

struct mac_key {
	__u32 device;
	__u8 mac[ETH_ALEN];
	__u16 zero;
};

struct mac {
	__u32 remote;             // index
	__u32 heard;              // when, in units of 2^27 ns (134 ms)
};

struct peer_key {
	__u8 src[4], dst[4];
	__be32 vni;
	__be16 port;
	__u16 zero;
};

struct traffic {
	__u64 rx_frames, rx_bytes, tx_frames, tx_bytes; // wire frames and inner bytes
};

struct flow_key {
	__u32 device;
	__be16 sport, dport;
	__u8 src[16], dst[16];    // IPv4 in the first four bytes
};

struct flow {
	__u64 last;               // ns: a frame went to user space; 0 while all take the fast path
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_REMOTES);
	__type(key, __u32);
	__type(value, struct remote);
} remotes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_REMOTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct peer_key);
	__type(value, __u32);
} peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_MACS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mac_key);
	__type(value, struct mac);
} macs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

// When a train of datagrams went to user space, by what its outer headers hash
// to: which connections were in it, nobody looked.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TRAINS);
	__type(key, __u32);
	__type(value, __u64); // ns
} trains SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_REMOTES);
	__type(key, __u32);
	__type(value, struct traffic);
} traffics SEC(".maps");

// A frame is what the programs need of an inner TCP frame.
struct frame {
	struct flow_key flow;
	__u32 len;                // bytes, from the inner Ethernet header on
	__u32 headers;            // bytes up to the TCP payload
	__u8 dst[ETH_ALEN], src[ETH_ALEN];
	__be16 type;
	__u8 tos, tcp_flags;
	__u8 v6;
	__u8 whole;               // its IP packet is all that there is
};

// TCP flags as the 14th byte of the header has them (RFC 9293 §3.1).
#define TCP_SYN 0x02

// fills reports whether an IP packet of n bytes is all that is in a frame, but
// for what pads a short one. In a train of datagrams it is not.
static __always_inline int fills(struct frame *f, __u32 n)
{
	return n + ETH_HLEN == f->len || (n + ETH_HLEN < f->len && f->len <= ETH_ZLEN);
}

// parse reads the frame that starts at offset off: an untagged Ethernet frame
// with a TCP segment that is no fragment and has no IP options. It returns 0 for
// all others.
static __always_inline int parse(struct __sk_buff *skb, __u32 off, struct frame *f)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data + off;

	if ((void *)(eth + 1) > end)
		return 0;
	__builtin_memcpy(f->dst, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(f->src, eth->h_source, ETH_ALEN);
	f->type = eth->h_proto;
	f->len = skb->len - off;
	if ((f->dst[0] | f->src[0]) & 1)
		return 0;

	struct tcphdr *tcp;
	__u32 ip_len;
	if (f->type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
			return 0;
		ip_len = bpf_ntohs(ip->tot_len);
		if (ip->frag_off & bpf_htons(0x3fff))
			return 0;
		__builtin_memcpy(f->flow.src, &ip->saddr, 4);
		__builtin_memcpy(f->flow.dst, &ip->daddr, 4);
		f->tos = ip->tos;
		f->headers = ETH_HLEN + sizeof(*ip);
		tcp = (void *)(ip + 1);
	} else if (f->type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
			return 0;
		ip_len = bpf_ntohs(ip->payload_len) + sizeof(*ip);
		__builtin_memcpy(f->flow.src, &ip->saddr, 16);
		__builtin_memcpy(f->flow.dst, &ip->daddr, 16);
		f->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
		f->v6 = 1;
		f->headers = ETH_HLEN + sizeof(*ip);
		tcp = (void *)(ip + 1);
	} else {
		return 0;
	}
	if ((void *)(tcp + 1) > end || tcp->doff < 5)
		return 0;
	f->flow.sport = tcp->source;
	f->flow.dport = tcp->dest;
	f->tcp_flags = ((__u8 *)tcp)[13];
	f->headers += tcp->doff * 4;
	f->whole = fills(f, ip_len);
	return f->headers <= ip_len + ETH_HLEN;
}

// fits reports whether each wire frame of f has at most limit bytes.
static __always_inline int fits(struct __sk_buff *skb, struct frame *f, __u32 limit)
{
	if (skb->gso_size)
		return f->headers + skb->gso_size <= limit;
	return f->len <= limit;
}

// fast decides for a frame of a flow. A flow takes the fast path from its
// beginning: its SYN goes to user space, and has arrived when the next frame is
// sent. One that user space has to do with takes it again after a pause. So no
// frame overtakes another.
static __always_inline int fast(struct frame *f, int able)
{
	struct flow *have = bpf_map_lookup_elem(&flows, &f->flow);
	struct flow fresh = {};

	if (f->tcp_flags & TCP_SYN) {
		if (!have)
			bpf_map_update_elem(&flows, &f->flow, &fresh, BPF_ANY);
		else
			have->last = 0;
		return 0;
	}
	if (have && !have->last && able)
		return 1;
	__u64 now = bpf_ktime_get_ns();
	if (!have) {
		fresh.last = now;
		bpf_map_update_elem(&flows, &f->flow, &fresh, BPF_ANY);
		return 0;
	}
	if (able && now - have->last > DRAINED) {
		have->last = 0;
		return 1;
	}
	have->last = now;
	return 0;
}

// train returns where it is noted that a train came from a remote with a source
// port, or none.
static __always_inline __u64 *train(__u32 remote, __be16 sport)
{
	__u32 key = (remote * 0x9e3779b1U ^ sport * 0x85ebca6bU) >> 7 & (MAX_TRAINS - 1);

	return bpf_map_lookup_elem(&trains, &key);
}

// count adds a frame to the traffic of a remote.
static __always_inline void count(struct __sk_buff *skb, struct frame *f, __u32 remote, int rx)
{
	struct traffic *t = bpf_map_lookup_elem(&traffics, &remote);
	__u64 frames = 1;

	if (!t)
		return;
	if (skb->gso_size)
		frames = (f->len - f->headers + skb->gso_size - 1) / skb->gso_size;
	if (frames == 0)
		frames = 1;
	__u64 bytes = f->len + (frames - 1) * f->headers;
	if (rx) {
		t->rx_frames += frames;
		t->rx_bytes += bytes;
	} else {
		t->tx_frames += frames;
		t->tx_bytes += bytes;
	}
}

// mix and fold are those of encap/packet: the source port is a function of the
// inner flow, the same whichever way a frame goes.
static __always_inline __u64 mix(__u64 h, __u64 v)
{
	h = (h ^ v) * 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	return h * 0xc4ceb9fe1a85ec53ULL;
}

static __always_inline __u64 be64(__u8 *p)
{
	__u64 v;
	__builtin_memcpy(&v, p, 8);
	return bpf_be64_to_cpu(v);
}

static __always_inline __u16 entropy(struct frame *f)
{
	__u64 h = 0x9e3779b97f4a7c15ULL;

	if (f->v6) {
		h = mix(h, be64(f->flow.src));
		h = mix(h, be64(f->flow.src + 8));
		h = mix(h, be64(f->flow.dst));
		h = mix(h, be64(f->flow.dst + 8));
	} else {
		__u32 src, dst;
		__builtin_memcpy(&src, f->flow.src, 4);
		__builtin_memcpy(&dst, f->flow.dst, 4);
		h = mix(h, (__u64)bpf_ntohl(src) << 32 | bpf_ntohl(dst));
	}
	__u32 ports = (__u32)bpf_ntohs(f->flow.sport) << 16 | bpf_ntohs(f->flow.dport);
	h = mix(h, (__u64)ports << 8 | IPPROTO_TCP);
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	return h >> 48;
}

// ip_sum is the folded sum of an IPv4 header without options: 0xffff when its
// checksum is right.
static __always_inline __u16 ip_sum(struct iphdr *ip)
{
	__u16 *p = (void *)ip;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += p[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

#define CE 3
#define ECT0 2
#define ECT1 1

// outer_tos is the DSCP that is configured, or the inner one, and the inner ECN
// bits, CE sent as ECT(0) (encap/packet, OuterTOS).
static __always_inline __u8 outer_tos(struct remote *r, __u8 inner)
{
	__u8 dscp = ((r->flags & TOS_INHERIT) ? inner : r->tos) & ~3;
	__u8 ecn = inner & 3;

	return dscp | (ecn == CE ? ECT0 : ecn);
}

// wrap puts the outer headers in front of a frame, with room for them already
// made behind its Ethernet header.
static __always_inline int wrap(struct __sk_buff *skb, struct frame *f, struct remote *r)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__be32 *vxlan = (void *)(udp + 1);
	struct ethhdr *inner = (void *)(vxlan + 2);

	if ((void *)(inner + 1) > end)
		return 0;
	__builtin_memcpy(inner->h_dest, f->dst, ETH_ALEN);
	__builtin_memcpy(inner->h_source, f->src, ETH_ALEN);
	inner->h_proto = f->type;
	vxlan[0] = bpf_htonl(0x08000000);
	vxlan[1] = r->vni;

	__u16 n = r->ports;
	if (n == 0 || n > MAX_PORTS)
		return 0;
	__u32 port = (__u32)entropy(f) * n >> 16;
	if (port >= MAX_PORTS)
		return 0;
	udp->source = r->port_of[port];
	udp->dest = r->port;
	udp->len = bpf_htons(skb->len - OUTER_IP);
	udp->check = 0; // doc.go says why

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = outer_tos(r, f->tos);
	ip->tot_len = bpf_htons(skb->len - ETH_HLEN);
	ip->id = bpf_get_prandom_u32();
	ip->frag_off = (r->flags & DF_SET) ? bpf_htons(0x4000) : 0;
	ip->ttl = r->ttl;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	__builtin_memcpy(&ip->saddr, r->src, 4);
	__builtin_memcpy(&ip->daddr, r->dst, 4);
	ip->check = ~ip_sum(ip);
	eth->h_proto = bpf_htons(ETH_P_IP);
	return 1;
}

#define GROW (BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP | \
	      BPF_F_ADJ_ROOM_ENCAP_L2_ETH | BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN))

SEC("tcx/egress")
int from_local(struct __sk_buff *skb)
{
	struct frame f = {};

	if (skb->vlan_present || !parse(skb, 0, &f))
		return TCX_NEXT;
	struct mac_key to = {.device = skb->ifindex};
	__builtin_memcpy(to.mac, f.dst, ETH_ALEN);
	struct mac *m = bpf_map_lookup_elem(&macs, &to);
	__u32 index = m ? m->remote : MAX_REMOTES; // which nobody has
	struct remote *r = bpf_map_lookup_elem(&remotes, &index);
	int able = r && r->device == skb->ifindex && f.whole && (!skb->gso_size || (r->flags & WHOLE)) && fits(skb, &f, r->frame_limit) && skb->len + OVERHEAD <= MAX_OUTER;
	f.flow.device = skb->ifindex;
	// Also where nobody is known to have the MAC: somebody may be in a moment,
	// and nothing may overtake what user space has of the flow then.
	if (!fast(&f, able) || !r)
		return TCX_NEXT;
	if (bpf_skb_adjust_room(skb, OVERHEAD, BPF_ADJ_ROOM_MAC, GROW)) {
		fast(&f, 0); // no memory: the frame is as it was
		return TCX_NEXT;
	}
	count(skb, &f, index, 0);
	if (!wrap(skb, &f, r))
		return TCX_DROP;
	skb->mark = 0; // the outer packet is ours: rules about the inner one's mark are not for it
	return bpf_redirect_neigh(r->egress, 0, 0, 0);
}

// is_other reports whether a packet is surely no datagram, so that the host's
// other traffic costs nothing more.
static __always_inline int is_other(struct __sk_buff *skb)
{
	struct iphdr *ip = (void *)(long)skb->data + ETH_HLEN;

	return (void *)(ip + 1) <= (void *)(long)skb->data_end && ip->protocol != IPPROTO_UDP;
}

// peer finds the remote that a datagram comes from, as far as the outer headers
// say. It returns its index plus one, or 0.
static __always_inline __u32 peer(struct __sk_buff *skb, __u8 *tos, __be16 *sport)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	__be32 *vxlan = (void *)(udp + 1);

	if ((void *)(vxlan + 2) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return 0;
	if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP || (ip->frag_off & bpf_htons(0x3fff)))
		return 0;
	if (bpf_ntohs(ip->tot_len) + ETH_HLEN != skb->len || bpf_ntohs(udp->len) + OUTER_IP != skb->len)
		return 0;
	if (vxlan[0] != bpf_htonl(0x08000000))
		return 0;
	struct peer_key key = {.vni = vxlan[1], .port = udp->dest};
	__builtin_memcpy(key.src, &ip->saddr, 4);
	__builtin_memcpy(key.dst, &ip->daddr, 4);
	__u32 *index = bpf_map_lookup_elem(&peers, &key);
	if (!index || ip_sum(ip) != 0xffff)
		return 0;
	*tos = ip->tos;
	*sport = udp->source;
	return *index + 1;
}

// ends_here reports whether the inner connection ends at a socket of this host.
// Only there is it safe to hand on a super-frame whose tunnel bits nobody
// clears (doc.go says why).
static __always_inline int ends_here(struct __sk_buff *skb, struct frame *f)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;

	if (f->v6) {
		__builtin_memcpy(t.ipv6.saddr, f->flow.src, 16);
		__builtin_memcpy(t.ipv6.daddr, f->flow.dst, 16);
		t.ipv6.sport = f->flow.sport;
		t.ipv6.dport = f->flow.dport;
		sk = bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(&t.ipv4.saddr, f->flow.src, 4);
		__builtin_memcpy(&t.ipv4.daddr, f->flow.dst, 4);
		t.ipv4.sport = f->flow.sport;
		t.ipv4.dport = f->flow.dport;
		sk = bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 0;
	int here = sk->state != BPF_TCP_LISTEN;
	bpf_sk_release(sk);
	return here;
}

// The bytes that parse needs of a datagram: headers of TCP over IPv6, less its options.
#define NEEDED (ETH_HLEN + OVERHEAD + 40 + 20)

SEC("tcx/ingress")
int to_local(struct __sk_buff *skb)
{
	struct frame f = {};
	__u8 tos = 0;
	__be16 sport = 0;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return TCX_NEXT;
	if (is_other(skb))
		return TCX_NEXT;
	// Without CAP_PERFMON packet pointers may be compared, not subtracted.
	if ((void *)(long)skb->data + NEEDED > (void *)(long)skb->data_end && skb->len >= NEEDED &&
	    bpf_skb_pull_data(skb, NEEDED))
		return TCX_NEXT;
	__u32 index = peer(skb, &tos, &sport);
	if (index-- == 0)
		return TCX_NEXT;
	int tcp = parse(skb, INNER_ETH, &f);
	__u64 *last = train(index, sport);
	if ((skb->gso_size || tcp) && !(tcp && f.whole) && last)
		*last = bpf_ktime_get_ns();
	if (!tcp)
		return TCX_NEXT;
	struct remote *r = bpf_map_lookup_elem(&remotes, &index);
	if (!r || r->egress != skb->ifindex)
		return TCX_NEXT;
	struct mac_key from = {.device = r->device};
	__builtin_memcpy(from.mac, f.src, ETH_ALEN);
	struct mac *m = bpf_map_lookup_elem(&macs, &from);
	f.flow.device = r->device;
	// What RFC 6040 §4.2 has dropped or changed to ECT(1) user space does.
	int ecn = (tos & 3) == CE ? (f.tos & 3) != 0 : (tos & 3) != ECT1 || (f.tos & 3) != ECT0;
	int alone = f.whole && last && (!*last || bpf_ktime_get_ns() - *last > DRAINED);
	int able = m && m->remote == index && ecn && alone && fits(skb, &f, r->device_limit) && ends_here(skb, &f);
	if (!fast(&f, able) || !m)
		return TCX_NEXT;
	__u32 now = bpf_ktime_get_coarse_ns() >> 27;
	if (m->heard != now)
		m->heard = now;
	// The protocol is said for bpf_skb_ecn_set_ce.
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | (f.v6 ? DECAP_L3_IPV6 : 0);
	if (bpf_skb_adjust_room(skb, -OVERHEAD, BPF_ADJ_ROOM_MAC, flags)) {
		fast(&f, 0);
		return TCX_NEXT;
	}
	count(skb, &f, index, 1);
	struct ethhdr eth = {.h_proto = f.type};
	__builtin_memcpy(eth.h_dest, f.dst, ETH_ALEN);
	__builtin_memcpy(eth.h_source, f.src, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), BPF_F_RECOMPUTE_CSUM))
		return TCX_DROP;
	if ((tos & 3) == CE)
		bpf_skb_ecn_set_ce(skb);
	return bpf_redirect(r->device, BPF_F_INGRESS);
}

char licence[] SEC("license") = "Apache-2.0";

// The sum of this file, which tells whether the object is its.
char source_sum[] SEC(".source") = SOURCE_SUM;
