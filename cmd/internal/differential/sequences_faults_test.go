package differential

func headerFaults() []batch {
	const category = "header faults"
	const reserved = "reserved bits of the VXLAN header on receive"
	return []batch{
		{category: category, name: "as usual", sequences: []sequence{
			same("no I flag", "2: b>a o.flags=0", "nothing"),
			same("all flags but I", "2: b>a o.flags=f7", "nothing"),
			same("another VNI", "2: b>a o.vni=43", "nothing"),
			same("VNI 0", "2: b>a o.vni=0", "nothing"),
			same("the largest VNI", "2: b>a o.vni=16777215", "nothing"),
			same("our VNI a byte higher", "2: b>a o.vni=10752", "nothing"),
			same("no payload", "2: b>a o.cut=0", "nothing"),
			same("one byte less than a header", "2: b>a o.cut=7", "nothing"),
			same("a header and nothing", "2: b>a o.cut=8", "nothing"),
			same("one byte less than Ethernet", "2: b>a o.cut=21", "nothing"),
			same("a wrong checksum", "2: b>a o.csum=bad", "nothing"),
			same("another port", "2: b>a o.port=4790", "nothing"),
			same("reserved bits are zero in what is sent", "dev: a>b; dev: a>all arp", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B"),
			differs(reserved, "flags", "2: b>a o.flags=88", "nothing", "dev#1 | b@2"),
			differs(reserved, "all flags", "2: b>a o.flags=ff", "nothing", "dev#1 | b@2"),
			differs(reserved, "the 24 bits behind the flags", "2: b>a o.res=000001", "nothing", "dev#1 | b@2"),
			differs(reserved, "a group policy that nobody asked for", "2: b>a o.flags=88 o.res=800007", "nothing", "dev#1 | b@2"),
			differs(reserved, "the last byte", "2: b>a o.res8=01", "nothing", "dev#1 | b@2"),
		}},
		{category: category, name: "no checksum", only: "IPv4", sequences: []sequence{
			same("is accepted", "2: b>a o.csum=none", "dev#1 | b@2"),
		}},
		{category: category, name: "no checksum", only: "IPv6", sequences: []sequence{
			same("is not accepted", "2: b>a o.csum=none", "nothing"),
		}},
		{category: category, name: "no checksum, allowed", only: "IPv6", setup: setup{kernel: "udp6zerocsumrx", vtepd: "--udp6-zero-csum-rx"}, sequences: []sequence{
			same("is accepted", "2: b>a o.csum=none", "dev#1 | b@2"),
			same("a wrong one is not", "2: b>a o.csum=bad", "nothing"),
		}},
		{category: category, name: "who may send", setup: setup{vtepd: "--accept=known"}, sequences: []sequence{
			same("a VTEP of the flood list", "2: b>a", "dev#1 | b@2"),
			same("a VTEP of a static entry", "fdb add c@5 static; 5: b>a", "dev#2 | b@5, c@5 static"),
			differs("who may send", "a VTEP that nobody named", "4: b>a; dev: a>b", "dev#1, 4#2 | b@4", "2#2, 3#2"),
			differs("who may send", "a VTEP that is named no more", "fdb add c@5 static; fdb del c; 5: b>a", "dev#3 | b@5", "nothing"),
			differs("learned entries of a remote that was deleted", "a flood list's", "fdb append zero@4; 4: b>a; fdb del zero@4; dev: a>b",
				"dev#2, 4#4 | b@4", "dev#2, 2#4, 3#4"),
		}},
	}
}

func innerFaults() []batch {
	const category = "inner faults"
	const broken = "inner IP packets that do not fit their own headers"
	return []batch{
		{category: category, name: "out of the tunnel", sequences: []sequence{
			same("a multicast source", "2: group>a", "nothing"),
			same("the broadcast source", "2: all>a", "nothing"),
			same("the zero source", "2: zero>a", "nothing"),
			same("they teach nothing", "2: group>a; dev: a>b", "2#2, 3#2"),
			same("Ethernet alone", "2: b>a raw cut=14", "dev#1 | b@2"),
			same("less than Ethernet", "2: b>a raw cut=13", "nothing"),
			same("a short frame that is not IP", "2: b>a raw cut=15", "dev#1 | b@2"),
			same("a frame that is not padded", "2: b>a size=42", "dev#1 | b@2"),
			same("half of an IPv4 header", "2: b>a cut=24", "nothing | b@2"),
			same("half of an IPv6 header", "2: b>a udp6 cut=34", "nothing | b@2"),
			differs(broken, "half of a tagged IPv4 header", "2: b>a vlan=7 cut=28", "dev#1 | b@2", "nothing | b@2"),
			same("an IPv4 header alone", "2: b>a cut=34", "dev#1 | b@2"),
			same("an IPv6 header alone", "2: b>a udp6 cut=54", "dev#1 | b@2"),
			same("IP version 5", "2: b>a poke=14:55", "dev#1 | b@2"),
			same("an IPv4 header of 4 words", "2: b>a poke=14:44", "dev#1 | b@2"),
			same("an IPv4 packet that says it is longer", "2: b>a poke=16:ff", "dev#1 | b@2"),
			same("an IPv4 packet that says it is shorter, with padding", "2: b>a poke=17:1c", "dev#1 | b@2"),
			same("a wrong IPv4 header checksum", "2: b>a poke=24:00", "dev#1 | b@2"),
			same("a wrong UDP checksum", "2: b>a badsum", "dev#1 | b@2"),
			same("a wrong TCP checksum", "2: b>a tcp6 badsum", "dev#1 | b@2"),
			same("a wrong ICMP checksum", "2: b>a icmp badsum", "dev#1 | b@2"),
			same("a UDP length that is wrong", "2: b>a poke=38:ff", "dev#1 | b@2"),
			same("a TCP header of 1 word", "2: b>a tcp poke=46:10", "dev#1 | b@2"),
			same("IPv4 in IPv6's EtherType", "2: b>a size=100 poke=12:86 poke=13:dd", "dev#1 | b@2"),
			same("an EtherType that is a length", "2: b>a raw poke=12:00 poke=13:20", "dev#1 | b@2"),
			same("a tag", "2: b>a vlan=7", "dev#1 | b@2"),
			same("two tags", "2: b>a vlan=7 vlan=8", "dev#1 | b@2"),
			same("a tag and nothing", "2: b>a vlan=7 cut=18", "nothing | b@2"),
			differs(broken, "CE", "2: b>a poke=14:44 o.tos=3", "nothing | b@2", "dev#1 | b@2"),
			differs("inner checksums that are only the pseudo-header's sum", "UDP", "2: b>a partial", "dev#1 | b@2", "dev#1 | b@2 or dev#1 changed | b@2"),
		}},
		{category: category, name: "into the tunnel", sequences: []sequence{
			same("the zero source", "dev: zero>b raw", "2#1, 3#1"),
			same("our own source", "dev: own>b", "2#1, 3#1"),
			same("a short frame that is not IP", "dev: a>b raw cut=15", "2#1, 3#1"),
			same("half of an IPv4 header", "dev: a>b cut=24", "nothing"),
			same("half of an IPv6 header", "dev: a>b udp6 cut=34", "nothing"),
			same("half of a tagged IPv4 header", "dev: a>b vlan=7 cut=28", "nothing"),
			same("an IPv4 header alone", "dev: a>b cut=34", "2#1, 3#1"),
			same("IP version 5", "dev: a>b poke=14:55", "2#1, 3#1"),
			same("an IPv4 packet that says it is longer", "dev: a>b poke=16:ff", "2#1, 3#1"),
			same("a wrong IPv4 header checksum", "dev: a>b poke=24:00", "2#1, 3#1"),
			same("a wrong UDP checksum", "dev: a>b badsum", "2#1, 3#1"),
			same("a wrong TCP checksum", "dev: a>b tcp badsum", "2#1, 3#1"),
			same("a tag", "dev: a>b vlan=7", "2#1, 3#1"),
			same("two tags", "dev: a>b vlan=7 vlan=8", "2#1, 3#1"),
			differs(broken, "ECN", "dev: a>b tos=1 poke=16:ff", "2#1 tos=01, 3#1 tos=01", "2#1, 3#1"),
		}},
		{category: category, name: "learning off", setup: setup{kernel: "nolearning", vtepd: "--learning=false"}, sequences: []sequence{
			differs("multicast and zero source MACs where learning is off", "multicast", "2: group>a", "dev#1", "nothing"),
			differs("multicast and zero source MACs where learning is off", "zero", "2: zero>a", "dev#1", "nothing"),
		}},
		{category: category, name: "tags as each has it", setup: setup{vtepd: "--vlan=drop"}, sequences: []sequence{
			differs("inner VLAN tags", "out of the tunnel", "2: b>a vlan=7", "dev#1 | b@2", "nothing"),
			differs("inner VLAN tags", "into the tunnel", "dev: a>b vlan=7", "2#1, 3#1", "nothing"),
			same("a frame without", "2: b>a; dev: a>b", "dev#1, 2#2 | b@2"),
		}},
	}
}

func sizes() []batch {
	const category, tooLarge = "sizes", "frames too large for the path"
	return []batch{
		{category: category, name: "device as large as the path", sequences: []sequence{
			same("the largest", "dev: a>b size=full", "2#1, 3#1"),
			same("one byte less", "dev: a>b size=full-1", "2#1, 3#1"),
			same("one byte more is not taken by the device", "dev: a>b size=full+1", "refused#1"),
			same("the smallest", "dev: a>b raw cut=14", "2#1, 3#1"),
			same("the largest, IPv6", "dev: a>b udp6 size=full", "2#1, 3#1"),
			same("the largest, not IP", "dev: a>b raw size=full", "2#1, 3#1"),
			same("the largest, with a tag inside of it", "dev: a>b vlan=7 size=full", "2#1, 3#1"),
			same("the largest, to a learned MAC", "2: b>a; dev: a>b size=full", "dev#1, 2#2 | b@2"),
			same("the largest comes", "2: b>a size=full", "dev#1 | b@2"),
			same("one byte less comes", "2: b>a size=full-1", "dev#1 | b@2"),
			same("the smallest comes", "2: b>a raw cut=14", "dev#1 | b@2"),
			same("the largest comes, IPv6", "2: b>a udp6 size=full", "dev#1 | b@2"),
		}},
		{category: category, name: "device smaller than the path", setup: setup{mtu: 1000}, sequences: []sequence{
			same("the largest", "dev: a>b size=1014", "2#1, 3#1"),
			same("one byte more is not taken", "dev: a>b size=1015", "refused#1"),
			same("a tag may be on top", "dev: a>b vlan=7 size=1018", "2#1, 3#1"),
			same("one byte more than that may not", "dev: a>b vlan=7 size=1019", "refused#1"),
			same("a larger one comes", "2: b>a size=1015", "dev#1 | b@2"),
			same("the largest that the path takes comes", "2: b>a size=full", "dev#1 | b@2"),
			same("a larger one comes, TCP", "2: b>a tcp size=1400", "dev#1 | b@2"),
		}},
		{category: category, name: "device larger than the path", only: "IPv4", setup: setup{mtu: 4000}, sequences: []sequence{
			same("the largest", "dev: a>b size=full", "2#1, 3#1"),
			differs(tooLarge, "one byte more", "dev: a>b size=full+1", "2#1 fragment, 2#1 fragment, 3#1 fragment, 3#1 fragment", "nothing"),
			differs(tooLarge, "one byte more with DF", "dev: a>b df size=full+1", "2#1 fragment, 2#1 fragment, 3#1 fragment, 3#1 fragment", "dev#1 fragneeded"),
			differs(tooLarge, "one byte more of IPv6", "dev: a>b udp6 size=full+1", "2#1 fragment, 2#1 fragment, 3#1 fragment, 3#1 fragment", "dev#1 toobig"),
			differs(tooLarge, "one byte more that is not IP", "dev: a>b raw size=full+1", "2#1 fragment, 2#1 fragment, 3#1 fragment, 3#1 fragment", "nothing"),
			differs("forged ICMP \"fragmentation needed\"", "600 bytes", "fdb add b@9 static; dev: a>b size=1000; forge 9; dev: a>b size=1000",
				"9#2, 9#4 fragment, 9#4 fragment | b@9 static", "9#2, 9#4 | b@9 static"),
			differs(tooLarge, "to a learned MAC", "2: b>a; dev: a>b df size=full+1", "dev#1, 2#2 fragment, 2#2 fragment | b@2", "dev#1, dev#2 fragneeded | b@2"),
		}},
		{category: category, name: "device larger than the path", only: "IPv6", setup: setup{mtu: 4000}, sequences: []sequence{
			same("the largest", "dev: a>b size=full", "2#1, 3#1"),
			same("one byte more", "dev: a>b size=full+1", "nothing"),
			differs(tooLarge, "one byte more with DF", "dev: a>b df size=full+1", "nothing", "dev#1 fragneeded"),
			differs(tooLarge, "one byte more of IPv6", "dev: a>b udp6 size=full+1", "nothing", "dev#1 toobig"),
		}},
		{category: category, name: "device larger than the path, DF set", only: "IPv4", setup: setup{mtu: 4000, kernel: "df set", vtepd: "--df=set"}, sequences: []sequence{
			same("the largest", "dev: a>b size=full", "2#1 df, 3#1 df"),
			same("one byte more", "dev: a>b size=full+1", "nothing"),
			differs(tooLarge, "one byte more with DF", "dev: a>b df size=full+1", "nothing", "dev#1 fragneeded"),
		}},
	}
}
