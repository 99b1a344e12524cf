// Package differential holds the differential test: the same frame sequences
// are played to a vxlan device of the kernel and to vtepd, and what comes out on
// both sides, byte for byte, and the forwarding database afterwards must be the
// same. What is different on purpose is a row of docs/differences.md and a
// sequence here that states both behaviours.
//
// The sequences are written in a small language, a step a line or between
// semicolons:
//
//	2: b>a ttl=9 o.tos=3    VTEP 2 sends a frame of station b to station a
//	dev: a>b size=100       station a sends a frame into the device
//	fdb add b@2 static      `bridge fdb` and `vtepctl fdb`: b is behind VTEP 2
//	until gone b: 2: c>a    until b has aged, the step is repeated; more are joined by +
//	pass 3s                 nothing happens for a while
//	forge 9                 a forged ICMP "fragmentation needed", about the last packet to VTEP 9
//
// Words that begin with "o." are about the outer headers. frame_test.go and
// outer_test.go list the words.
//
// What is to come out is written as the frames (where, and of which step, and
// what is not usual about them), a bar, and what is new in the FDB:
//
//	dev#1 2#2 | b@2         step 1 came out of the device, step 2 went to VTEP 2
package differential
