// Package vtep is the engine: it forwards frames between the devices of
// segments and the VTEPs on the other side of the underlay.
//
// A [Segment] is one VNI with its device, FDB, remotes and neighbours. An
// [Engine] runs a fixed number of workers, each a locked OS thread that owns
// one receive socket of every listener and one queue of every device and does
// both directions:
//
//	FromLocal  device → parse → suppress → FDB or flood → encapsulate → Sender
//	ToLocal    Receiver → header, VNI, source → parse → learn → ECN → coalesce → device
//
// What the workers serve is an immutable [Set], replaced as a whole by
// [Engine.Update]; what changes inside a segment is behind atomic snapshots.
// There is no lock, channel, allocation or log line per frame, and no goroutine
// per segment, device or remote.
//
// The package declares what it needs of the world ([Port], [Receiver],
// [Sender], [Dialer]) and never learns how a device or a socket is opened, nor
// where reachability came from.
package vtep
