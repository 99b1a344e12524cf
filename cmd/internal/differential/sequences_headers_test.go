package differential

import "fmt"

// merged is RFC 6040 §4.2, figure 4: the inner ECN bits after decapsulation, by
// inner and outer ones; -1 for dropped. The codepoints are 0 Not-ECT, 1 ECT(1),
// 2 ECT(0), 3 CE.
var merged = [4][4]int{
	{0, 0, 0, -1},
	{1, 1, 1, 3},
	{2, 1, 2, 3},
	{3, 3, 3, 3},
}

func ecn() []batch {
	const tagged = "outer ECN around a tagged frame"
	names := []string{"Not-ECT", "ECT(1)", "ECT(0)", "CE"}
	var in, out []sequence
	for _, kind := range []string{"udp", "udp6"} {
		for i, inner := range names {
			for o, outer := range names {
				want := "dev#1 | b@2"
				switch m := merged[i][o]; {
				case m < 0:
					want = "nothing | b@2"
				case m != i:
					want = fmt.Sprintf("dev#1 inner-tos=%02x | b@2", 0x28|m)
				}
				in = append(in, same(fmt.Sprintf("%s in %s, %s", inner, outer, kind), fmt.Sprintf("2: b>a %s tos=%x o.tos=%x", kind, 0x28|i, 0x50|o), want))
			}
			// RFC 3168 §9.1.1: CE is sent as ECT(0).
			want := "2#1, 3#1"
			if e := []int{0, 1, 2, 2}[i]; e != 0 {
				want = fmt.Sprintf("2#1 tos=%02x, 3#1 tos=%02x", e, e)
			}
			out = append(out, same(fmt.Sprintf("%s, %s", inner, kind), fmt.Sprintf("dev: a>b %s tos=%x", kind, 0x28|i), want))
		}
	}
	return []batch{
		{category: "ECN", name: "out of the tunnel", sequences: append(in,
			same("CE around a frame that is not IP", "2: b>a raw o.tos=3", "dev#1 | b@2"),
			same("CE around ARP", "2: b>all arp o.tos=3", "dev#1 | b@2"),
			differs(tagged, "CE", "2: b>a vlan=7 tos=2 o.tos=3", "dev#1 | b@2", "dev#1 inner-tos=03 | b@2"),
			differs(tagged, "CE around Not-ECT", "2: b>a vlan=7 o.tos=3", "dev#1 | b@2", "nothing | b@2"),
			same("CE around a frame of a loop", "2: own>a tos=2 o.tos=3", "nothing"),
		)},
		{category: "ECN", name: "into the tunnel", sequences: append(out,
			same("a tagged packet", "dev: a>b vlan=7 tos=2", "2#1 tos=02, 3#1 tos=02"),
			same("a frame that is not IP", "dev: a>b raw", "2#1, 3#1"),
		)},
	}
}

func headers() []batch {
	const category = "TTL and TOS"
	return []batch{
		{category: category, name: "TTL 9, TOS 28", setup: setup{kernel: "ttl 9 tos 0x28", vtepd: "--ttl=9 --tos=40"}, sequences: []sequence{
			same("are those of an IPv4 packet", "dev: a>b tos=50 ttl=3", "2#1 tos=28 ttl=9, 3#1 tos=28 ttl=9"),
			same("are those of an IPv6 packet", "dev: a>b udp6 tos=50 ttl=3", "2#1 tos=28 ttl=9, 3#1 tos=28 ttl=9"),
			same("are those of other frames", "dev: a>all arp", "2#1 tos=28 ttl=9, 3#1 tos=28 ttl=9"),
			same("with the inner ECN", "dev: a>b tos=51", "2#1 tos=29 ttl=9, 3#1 tos=29 ttl=9"),
			same("to a learned MAC", "2: b>a; dev: a>b tos=50", "dev#1, 2#2 tos=28 ttl=9 | b@2"),
			same("the outer DSCP and TTL of what comes do not matter", "2: b>a o.tos=b8 o.ttl=1", "dev#1 | b@2"),
		}},
		{category: category, name: "both inherited", setup: setup{kernel: "ttl inherit tos inherit", vtepd: "--ttl=inherit --tos=inherit"}, sequences: []sequence{
			same("from an IPv4 packet", "dev: a>b tos=50 ttl=3", "2#1 tos=50 ttl=3, 3#1 tos=50 ttl=3"),
			same("from an IPv6 packet", "dev: a>b udp6 tos=50 ttl=3", "2#1 tos=50 ttl=3, 3#1 tos=50 ttl=3"),
			same("from no other frame", "dev: a>all arp", "2#1, 3#1"),
			same("CE is sent as ECT(0)", "dev: a>b tos=53", "2#1 tos=52, 3#1 tos=52"),
			same("TTL 255", "dev: a>b ttl=255", "2#1 ttl=255, 3#1 ttl=255"),
			same("TTL 1", "dev: a>b ttl=1", "2#1 ttl=1, 3#1 ttl=1"),
			same("TTL 0 is no TTL", "dev: a>b ttl=0", "2#1, 3#1"),
			same("all of DSCP", "dev: a>b tos=fc", "2#1 tos=fc, 3#1 tos=fc"),
			same("from a tagged packet", "dev: a>b vlan=7 tos=50 ttl=3", "2#1 tos=50 ttl=3, 3#1 tos=50 ttl=3"),
			same("from a multicast packet", "dev: a>group tos=50 ttl=3", "2#1 tos=50 ttl=3, 3#1 tos=50 ttl=3"),
		}},
		{category: category, name: "to a group, TTL inherited", setup: setup{remotes: "group", kernel: "ttl inherit", vtepd: "--ttl=inherit"}, sequences: []sequence{
			same("the inner TTL", "dev: a>all ttl=3", "group#1 ttl=3"),
			same("of a frame without one", "dev: a>all arp", "group#1"),
		}},
		{category: category, name: "TOS as each has it", setup: setup{vtepd: "--tos=inherit"}, sequences: []sequence{
			differs("`tos` by default", "DSCP", "dev: a>b tos=50", "2#1, 3#1", "2#1 tos=50, 3#1 tos=50"),
		}},
		{category: category, name: "DF set", only: "IPv4", setup: setup{kernel: "df set", vtepd: "--df=set"}, sequences: []sequence{
			same("around a packet without", "dev: a>b", "2#1 df, 3#1 df"),
			same("around a packet with", "dev: a>b df", "2#1 df, 3#1 df"),
			same("around other frames", "dev: a>b raw", "2#1 df, 3#1 df"),
		}},
		{category: category, name: "DF unset", only: "IPv4", setup: setup{kernel: "df unset", vtepd: "--df=unset"}, sequences: []sequence{
			same("around a packet with", "dev: a>b df", "2#1, 3#1"),
			same("around an IPv6 packet", "dev: a>b udp6", "2#1, 3#1"),
		}},
		{category: category, name: "DF inherited", only: "IPv4", setup: setup{kernel: "df inherit", vtepd: "--df=inherit"}, sequences: []sequence{
			same("around a packet without", "dev: a>b", "2#1, 3#1"),
			same("around a packet with", "dev: a>b df", "2#1 df, 3#1 df"),
			same("around an IPv6 packet", "dev: a>b udp6", "2#1 df, 3#1 df"),
			same("around other frames", "dev: a>b raw", "2#1, 3#1"),
		}},
		{category: category, name: "no outer checksum", only: "IPv4", setup: setup{kernel: "noudpcsum", vtepd: "--udp-csum=false"}, sequences: []sequence{
			same("into the tunnel", "dev: a>b", "2#1 csum=none, 3#1 csum=none"),
		}},
		{category: category, name: "no outer checksum", only: "IPv6", setup: setup{kernel: "udp6zerocsumtx", vtepd: "--udp6-zero-csum-tx"}, sequences: []sequence{
			same("into the tunnel", "dev: a>b", "2#1 csum=none, 3#1 csum=none"),
		}},
	}
}

// entropy is about the outer source port: which frames share one.
func entropy() []batch {
	const category, port = "source port", "source port of IP frames"
	return []batch{{category: category, name: "as usual", sequences: []sequence{
		same("a flow has one", "dev: a>b; dev: a>b size=500; dev: a>b ttl=9", "2#1, 3#1, 2#2, 3#2, 2#3, 3#3"),
		same("another port is another flow", "dev: a>b; dev: a>b sport=1001; dev: a>b dport=2003", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B, 2#3 sport=C, 3#3 sport=C"),
		same("another protocol is another flow", "dev: a>b; dev: a>b tcp", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B"),
		same("another address is another flow", "dev: a>b; dev: a>c", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B"),
		same("over IPv6 as well", "dev: a>b udp6; dev: a>b udp6 sport=1001; dev: a>c udp6; dev: a>b udp6",
			"2#1, 3#1, 2#2 sport=B, 3#2 sport=B, 2#3 sport=C, 3#3 sport=C, 2#4, 3#4"),
		same("fragments have one, whatever the ports", "dev: a>b frag; dev: a>b frag sport=1001", "2#1, 3#1, 2#2, 3#2"),
		same("ICMP has no ports", "dev: a>b icmp sport=1; dev: a>b icmp sport=2", "2#1, 3#1, 2#2, 3#2"),
		differs("non-IP frames", "MACs", "dev: a>b raw; dev: a>c raw", "2#1, 3#1, 2#2, 3#2", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B"),
		differs(port, "IPv6 flow label", "dev: a>b udp6 label=1; dev: a>b udp6 label=2", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B", "2#1, 3#1, 2#2, 3#2"),
		differs(port, "the way back", "dev: a>b; dev: b>a", "2#1, 3#1, 2#2, 3#2", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B"),
		differs(port, "a tag", "dev: a>b; dev: a>b vlan=7", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B", "2#1, 3#1, 2#2, 3#2"),
		same("the VLAN ID does not matter", "dev: a>b vlan=7; dev: a>b vlan=8", "2#1, 3#1, 2#2, 3#2"),
	}}}
}
