package differential

func learning() []batch {
	const category = "learn, move, age"
	return []batch{
		{category: category, name: "as usual", sequences: []sequence{
			same("a MAC heard is where frames to it go", "2: b>a; dev: a>b", "dev#1, 2#2 | b@2"),
			same("a MAC not heard is flooded to", "dev: a>b", "2#1, 3#1"),
			same("a frame from the device teaches nothing", "dev: b>c; dev: a>b", "2#1, 3#1, 2#2 sport=B, 3#2 sport=B"),
			same("a MAC heard elsewhere moves at once", "2: b>a; 3: b>a; dev: a>b", "dev#1, dev#2, 3#3 | b@3"),
			same("and back", "2: b>a; 3: b>a; 2: b>a; dev: a>b", "dev#1, dev#2, dev#3, 2#4 | b@2"),
			same("two MACs behind one VTEP", "2: b>a; 2: c>a; dev: a>b; dev: a>c", "dev#1, dev#2, 2#3, 2#4 sport=B | b@2, c@2"),
			same("two MACs behind two VTEPs", "2: b>a; 3: c>a; dev: a>b; dev: a>c", "dev#1, dev#2, 2#3, 3#4 sport=B | b@2, c@3"),
			same("a broadcast teaches as well", "2: b>all arp; dev: a>b", "dev#1, 2#2 | b@2"),
			same("a multicast teaches as well", "2: b>group; dev: a>b", "dev#1, 2#2 | b@2"),
			same("a frame that is not IP teaches as well", "2: b>a raw; dev: a>b", "dev#1, 2#2 | b@2"),
			same("a VTEP that nobody named is learned from", "4: b>a; dev: a>b", "dev#1, 4#2 | b@4"),
			same("a MAC moves to a VTEP that nobody named", "2: b>a; 5: b>a; dev: a>b", "dev#1, dev#2, 5#3 | b@5"),
			same("the outer source port does not matter", "2: b>a o.sport=1; dev: a>b", "dev#1, 2#2 | b@2"),
			same("what is for another VNI teaches nothing", "2: b>a o.vni=43; dev: a>b", "2#2, 3#2"),
			same("what is dropped for its header teaches nothing", "2: b>a o.flags=0; dev: a>b", "2#2, 3#2"),
			same("a frame for a learned MAC from the tunnel does not go back into it", "2: b>a; 3: c>b", "dev#1, dev#2 | b@2, c@3"),
			same("a deleted MAC is unknown until it is heard again", "2: b>a; fdb del b; dev: a>b; 2: b>a; dev: a>b",
				"dev#1, 2#3, 3#3, dev#4, 2#5 | b@2"),
			same("an unknown MAC cannot be deleted", "fdb del b", "refused#1"),
		}},
		{category: category, name: "learning off", setup: setup{kernel: "nolearning", vtepd: "--learning=false"}, sequences: []sequence{
			same("a MAC heard is not learned", "2: b>a; dev: a>b", "dev#1, 2#2, 3#2"),
			same("entries of the operator hold", "fdb add b@3 static; 2: b>a; dev: a>b", "dev#2, 3#3 | b@3 static"),
			same("a MAC that a static entry has elsewhere is delivered", "fdb add b@3 static; 2: b>a", "dev#2 | b@3 static"),
		}},
		// The kernel counts the flood list and the barrier's entry too.
		{category: category, name: "at most two MACs", setup: setup{kernel: "maxaddress 4", vtepd: "--max-macs=2"}, sequences: []sequence{
			same("the third is not learned but forwarded", "2: b>a; 2: c>a; 2: d>a; dev: a>d", "dev#1, dev#2, dev#3, 2#4, 3#4 | b@2, c@2"),
			same("the others are refreshed and move", "2: b>a; 2: c>a; 2: d>a; 3: b>a; dev: a>b", "dev#1, dev#2, dev#3, dev#4, 3#5 | b@3, c@2"),
			same("a place that becomes free is taken", "2: b>a; 2: c>a; fdb del b; 2: d>a; dev: a>d", "dev#1, dev#2, dev#4, 2#5 | c@2, d@2"),
		}},
		{category: category, name: "a remote on another port", setup: setup{remotes: "2 3:4790"}, sequences: []sequence{
			same("is flooded to on it", "dev: a>b", "2#1, 3#1 port=4790"),
			differs("a learned MAC's port and VNI", "is sent to on it when it is heard", "3: b>a; dev: a>b",
				"dev#1, 3#2 | b@3", "dev#1, 3#2 port=4790 | b@3 port=4790"),
		}},
	}
}

// ageing has one sequence a batch, because they take their time.
func ageing() (out []batch) {
	five := setup{kernel: "ageing 5", vtepd: "--ageing=5s"}
	for _, b := range []struct {
		only  string
		setup setup
		sequence
	}{
		{"IPv4", five, same("silent MACs go, and are flooded to", "2: b>a; 3: c>a; until gone b:; until gone c:; dev: a>b", "dev#1, dev#2, 2#5, 3#5")},
		{"IPv6", five, same("a MAC that is heard stays", "2: b>a; 2: d>a; 2: c>a; until gone c: 2: b>a + 2: d>a; dev: a>b", "dev#1, dev#2, dev#3, 2#5 | b@2, d@2")},
		{"IPv4", five, same("a broadcast refreshes as well", "2: b>a; 2: d>a; 2: c>a; until gone c: 2: b>all arp + 2: d>group; dev: a>b", "dev#1, dev#2, dev#3, 2#5 | b@2, d@2")},
		{"IPv6", five, same("a MAC that is only sent to goes", "2: b>a; until gone b: dev: a>b", "dev#1")},
		{"IPv4", five, same("a move is a refresh", "2: b>a; 2: c>a; until gone c: 3: b>a; dev: a>b", "dev#1, dev#2, 3#4 | b@3")},
		{"IPv4", five, same("static and permanent entries stay", "fdb add b@2 static; fdb add c@3 permanent; 2: d>a; until gone d:; dev: a>b; dev: a>c",
			"dev#3, 2#5, 3#6 sport=B | b@2 static, c@3 permanent")},
		{"IPv6", five, same("a dynamic entry of the operator goes", "fdb add b@2 dynamic; until gone b:; dev: a>b", "2#3, 3#3")},
		{"IPv4", setup{kernel: "ageing 0", vtepd: "--ageing=0s"}, same("without ageing a silent MAC stays", "2: b>a; pass 12s; dev: a>b", "dev#1, 2#3 | b@2")},
		{"IPv4", setup{kernel: "ageing 1", vtepd: "--ageing=1s"}, differs("ageing", "a silent MAC is looked at", "2: b>a; pass 3s; dev: a>b",
			"dev#1, 2#3 | b@2", "dev#1, 2#3, 3#3")},
	} {
		out = append(out, batch{category: "learn, move, age", name: b.name, setup: b.setup, only: b.only, slow: true, sequences: []sequence{b.sequence}})
	}
	return out
}

func static() []batch {
	const category = "static"
	return []batch{
		{category: category, name: "as usual", sequences: []sequence{
			same("frames to it go where it says", "fdb add b@2 static; dev: a>b", "2#2 | b@2 static"),
			same("permanent as well", "fdb add b@2 permanent; dev: a>b", "2#2 | b@2 permanent"),
			same("permanent is the default", "fdb add b@2; dev: a>b", "2#2 | b@2 permanent"),
			same("to a VTEP that is not in the flood list", "fdb add b@5 static; dev: a>b", "5#2 | b@5 static"),
			same("it is not overridden from the wire", "fdb add b@2 static; 3: b>a; dev: a>b", "2#3 | b@2 static"),
			same("permanent is not overridden either", "fdb add b@2 permanent; 3: b>a; dev: a>b", "2#3 | b@2 permanent"),
			same("what comes from where it says is delivered", "fdb add b@2 static; 2: b>a", "dev#2 | b@2 static"),
			same("a dynamic entry is overridden from the wire", "fdb add b@2 dynamic; 3: b>a; dev: a>b", "dev#2, 3#3 | b@3"),
			same("a dynamic entry is where frames go", "fdb add b@2 dynamic; dev: a>b", "2#2 | b@2"),
			same("replace moves it", "fdb add b@2 static; fdb replace b@3 static; dev: a>b", "3#3 | b@3 static"),
			same("replace makes one where there is none", "fdb replace b@3 static; dev: a>b", "3#2 | b@3 static"),
			same("replace takes the learned one's place", "2: b>a; fdb replace b@3 static; 2: b>a; dev: a>b", "dev#1, 3#4 | b@3 static"),
			same("add does not make a second one", "fdb add b@2 static; fdb add b@3 static; dev: a>b", "refused#2, 2#3 | b@2 static"),
			differs("`fdb append` that changes nothing", "a second VTEP of a unicast MAC", "fdb add b@2 static; fdb append b@3 static; dev: a>b",
				"2#3 | b@2 static", "refused#2, 2#3 | b@2 static"),
			same("deleted, it is flooded to", "fdb add b@2 static; fdb del b; dev: a>b", "2#3, 3#3"),
			same("deleted, it is learned again", "fdb add b@2 static; fdb del b; 3: b>a; dev: a>b", "dev#3, 3#4 | b@3"),
			same("its port", "fdb add b@2 static port=4790; dev: a>b", "2#2 port=4790 | b@2 static port=4790"),
			same("its VNI", "fdb add b@2 static vni=77; dev: a>b", "2#2 header=0800000000004d00 | b@2 static vni=77"),
			same("an entry with another port does not contradict its VTEP", "fdb add b@2 static port=4790; 2: b>a; dev: a>b", "dev#2, 2#3 port=4790 | b@2 static port=4790"),
			same("a multicast MAC goes where its entries say", "fdb append group@3; dev: a>group", "3#2 | group@3 permanent"),
			same("a multicast MAC with two entries", "fdb append group@3; fdb append group@4; dev: a>group", "3#3, 4#3 | group@3 permanent, group@4 permanent"),
			same("other multicast MACs are flooded", "fdb append group@3; dev: a>group6 udp6", "2#2, 3#2 | group@3 permanent"),
			same("the broadcast address may have an entry", "fdb append all@3; dev: a>all arp", "3#2 | all@3 permanent"),
			same("an entry for our own address holds", "fdb add own@2 static; dev: a>own", "2#2 | own@2 static"),
			same("a frame from the tunnel for a static MAC does not go back into it", "fdb add b@2 static; 3: c>b", "dev#2 | b@2 static, c@3"),
		}},
	}
}

func flood() []batch {
	const category = "flood"
	return []batch{
		{category: category, name: "two remotes", sequences: []sequence{
			same("a broadcast", "dev: a>all arp", "2#1, 3#1"),
			same("an IPv4 multicast", "dev: a>group", "2#1, 3#1"),
			same("an IPv6 multicast", "dev: a>group6 udp6", "2#1, 3#1"),
			same("a link-local protocol's multicast", "dev: a>stp raw", "2#1, 3#1"),
			same("an unknown unicast", "dev: a>b raw", "2#1, 3#1"),
			same("the zero address", "dev: a>zero raw", "2#1, 3#1"),
			same("from a multicast source", "dev: group>b raw", "2#1, 3#1"),
			same("no copy of a broadcast from the tunnel goes into it", "2: b>all arp", "dev#1 | b@2"),
			same("no copy of an unknown unicast from the tunnel goes into it", "2: b>c", "dev#1 | b@2"),
			same("no copy of a multicast from the tunnel goes into it", "2: b>group6 udp6", "dev#1 | b@2"),
			same("a third remote", "fdb append zero@4; dev: a>all arp", "2#2, 3#2, 4#2 | zero@4 permanent"),
			same("a third remote on another port", "fdb append zero@4 port=4790; dev: a>all arp", "2#2, 3#2, 4#2 port=4790 | zero@4 permanent port=4790"),
			same("a third remote with another VNI", "fdb append zero@4 vni=77; dev: a>all arp", "2#2, 3#2, 4#2 header=0800000000004d00 | zero@4 permanent vni=77"),
			differs("`fdb append` that changes nothing", "a remote that is there", "fdb append zero@2; dev: a>all arp", "2#2, 3#2", "refused#1, 2#2, 3#2"),
			same("a learned MAC is not flooded", "2: b>a; dev: a>b; dev: a>all arp", "dev#1, 2#2, 2#3 sport=B, 3#3 sport=B | b@2"),
			differs("our own address in the flood list", "our own address", "fdb append zero@1; dev: a>all arp",
				"dev#2, 2#2, 3#2 | a@lo, zero@1 permanent", "2#2, 3#2 | zero@1 permanent"),
		}},
		{category: category, name: "nobody", setup: setup{remotes: "none"}, sequences: []sequence{
			same("a broadcast goes nowhere", "dev: a>all arp", "nothing"),
			same("an unknown unicast goes nowhere", "dev: a>b", "nothing"),
			same("a learned MAC is reached", "2: b>a; dev: a>b", "dev#1, 2#2 | b@2"),
		}},
		{category: category, name: "a group", setup: setup{remotes: "group"}, sequences: []sequence{
			same("a broadcast goes to it with TTL 1", "dev: a>all arp", "group#1 ttl=1"),
			same("an unknown unicast goes to it", "dev: a>b", "group#1 ttl=1"),
			same("a broadcast that comes by it", "2: b>all arp o.to=group; dev: a>b", "dev#1, 2#2 | b@2"),
			same("a unicast that comes by it", "2: b>a o.to=group; dev: a>b", "dev#1, 2#2 | b@2"),
			same("a MAC moves by it", "2: b>all arp o.to=group; 3: b>all arp o.to=group; dev: a>b", "dev#1, dev#2, 3#3 | b@3"),
			same("no copy of what comes by it goes to it", "2: b>c o.to=group", "dev#1 | b@2"),
		}},
		{category: category, name: "a group, TTL 7", setup: setup{remotes: "group", kernel: "ttl 7", vtepd: "--ttl=7"}, sequences: []sequence{
			same("a broadcast goes to it", "dev: a>all arp", "group#1 ttl=7"),
			same("a learned MAC is sent to", "2: b>a; dev: a>b", "dev#1, 2#2 ttl=7 | b@2"),
		}},
	}
}

func loops() []batch {
	const category = "self and loop"
	return []batch{
		{category: category, name: "as usual", sequences: []sequence{
			same("our own MAC from the tunnel is a loop", "2: own>a", "nothing"),
			same("our own MAC in a broadcast is one as well", "2: own>all arp", "nothing"),
			same("it teaches nothing", "2: own>all arp; dev: a>own", "2#2, 3#2"),
			same("a frame for our own MAC is delivered", "2: b>own", "dev#1 | b@2"),
			same("a frame from and to our own MAC", "2: own>own", "nothing"),
			same("a static entry for our own MAC does not help a loop", "fdb add own@2 static; 2: own>a", "nothing | own@2 static"),
			same("our own MAC into the device, to our own MAC", "dev: own>own", "2#1, 3#1"),
			same("a station that is its own destination", "2: b>b", "dev#1 | b@2"),
			same("the same out of the device", "dev: a>a", "2#1, 3#1"),
			same("a local station's MAC from the tunnel is believed", "dev: a>c; 2: a>b; dev: b>a", "2#1, 3#1, dev#2, 2#3 sport=B | a@2"),
			same("our own frame that comes back is delivered", "dev: a>all arp; 2: a>all arp", "2#1, 3#1, dev#2 | a@2"),
			same("a frame goes round between two VTEPs", "2: b>all arp; 3: b>all arp; 2: b>all arp; dev: a>b", "dev#1, dev#2, dev#3, 2#4 | b@2"),
			same("VXLAN in a frame stays what it is", "2: b>a dport=4789; dev: a>b dport=4789", "dev#1, 2#2 | b@2"),
		}},
		{category: category, name: "learning off", setup: setup{kernel: "nolearning", vtepd: "--learning=false"}, sequences: []sequence{
			same("our own MAC is a loop all the same", "2: own>a; 2: own>all arp", "nothing"),
		}},
		{category: category, name: "martian sources", only: "IPv4", sequences: []sequence{
			same("the host drops loopback", "2: b>a o.src=127.0.0.1", "nothing"),
			same("the host drops multicast", "2: b>a o.src=239.1.1.1", "nothing"),
			same("the host drops broadcast", "2: b>a o.src=255.255.255.255", "nothing"),
			same("the host drops nobody", "2: b>a o.src=0.0.0.0", "nothing"),
			same("the host drops our own address", "2: b>a o.src=192.0.2.1", "nothing"),
		}},
		{category: category, name: "martian sources", only: "IPv6", sequences: []sequence{
			same("the host drops loopback", "2: b>a o.src=::1", "nothing"),
			same("the host drops multicast", "2: b>a o.src=ff05::100", "nothing"),
			differs("martian outer sources", "nobody", "2: b>a o.src=::", "dev#1 | b@::", "nothing"),
			differs("martian outer sources", "our own address", "2: b>a o.src=2001:db8::1", "dev#1 | b@1", "nothing"),
		}},
	}
}
