package vtep

import (
	"testing"

	"vtepd/encap/offload"
)

// The benchmarks play one burst again and again through devices and sockets in
// memory: the engine's own time, copies into its arenas included. One operation
// is one frame or super-frame from the device, one datagram from the tunnel.

func BenchmarkFromLocal(b *testing.B) {
	for _, c := range []struct {
		name    string
		in      given
		remotes []VTEP
		whole   bool
	}{
		{"64 bytes", wire(recipe{udp: true, size: 22}.bytes()), []VTEP{alpha}, false},
		{"1450 bytes", wire(recipe{size: 1396}.bytes()), []VTEP{alpha}, false},
		{"64 KiB cut", super(recipe{size: 64000}, 1396), []VTEP{alpha}, false},
		{"64 KiB whole", super(recipe{size: 64000}, 1396), []VTEP{alpha}, true},
		{"64 bytes to three", wire(recipe{udp: true, size: 22}.bytes()), []VTEP{alpha, beta, gamma}, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, vnet)
			r.flood(c.remotes...)
			if c.whole {
				r.takeWhole(c.remotes...)
			}
			r.send.discard = true
			r.port.in, r.port.loop = []given{c.in}, burstFrames
			b.SetBytes(int64(len(c.in.bytes)))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				got, _, err := r.w.fromLocal(r.a)
				if err != nil {
					b.Fatal(err)
				}
				n += got
			}
		})
	}
}

func BenchmarkToLocal(b *testing.B) {
	var segments, datagrams [][]byte
	for i := range 44 {
		segments = append(segments, inbound(recipe{size: 1396, seq: uint32(i) * 1396, df: true}))
		datagrams = append(datagrams, inbound(recipe{udp: true, size: 22, df: true}))
	}
	one := func(c recipe) Datagram { return from(alpha.Addr, inbound(c)) }
	for _, c := range []struct {
		name string
		in   Datagram
		caps offload.Caps
	}{
		{"64 bytes UDP", one(recipe{udp: true, size: 22}), vnet},
		{"1450 bytes TCP", one(recipe{size: 1396}), vnet},
		{"1450 bytes, portable", one(recipe{size: 1396}), offload.Caps{}},
		{"1450 bytes unfinished, portable", one(recipe{size: 1396, partial: true}), offload.Caps{}},
		{"a train of 44 of 64 bytes UDP", train(alpha.Addr, datagrams...), vnet},
		{"a train of 44 of 1450 bytes TCP", train(alpha.Addr, segments...), vnet},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, c.caps)
			r.flood(alpha)
			r.recv.in, r.recv.loop, r.port.loop = []Datagram{c.in}, 8, 1
			r.w.toLocal(r.v, r.s) // learns
			b.SetBytes(int64(len(c.in.Payload)))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				got, _ := r.w.toLocal(r.v, r.s)
				n += got
			}
		})
	}
}
