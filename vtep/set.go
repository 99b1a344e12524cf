package vtep

// A Set is everything the workers serve. It is immutable once given to
// [Engine.Update].
type Set struct {
	Devices   []Device
	Listeners []Listener
	// OwnIfIndexes are the interfaces that are our own devices: nothing that
	// arrives by them is accepted.
	OwnIfIndexes []int32
}

// A Device joins a segment to the queues of its device, one a worker.
type Device struct {
	Segment *Segment
	Ports   []Port
}

// A Listener joins the receive sockets of one address and port, or of one
// group, to the segments that share them, by VNI. Receivers has a place for
// each worker; a nil place is a worker that does not serve it (a group has one
// socket only).
type Listener struct {
	Receivers []Receiver
	Segments  map[uint32]*Segment
}

// An attachment is a segment as one worker serves it. Only that worker uses
// it.
type attachment struct {
	seg    *Segment
	port   Port
	stats  *stats
	co     *coalescing
	vnet   bool // the device takes unfinished checksums
	broken bool // the device is gone; the owner of the Set was told. The worker's, as co and errors
	routed bool // the segment is
	fd     int
	errors int // senders told of an error in errorsTick

	errorsTick tick
}

// A socket is a receive socket as one worker serves it.
type socket struct {
	recv Receiver
	vnis map[uint32]*attachment
	fd   int
	bulk bool // the last datagrams were
}

// view is one worker's part of a Set.
type view struct {
	attachments []*attachment
	sockets     []*socket
	own         map[int32]bool
	byFD        map[int32]source
	adopted     chan<- struct{} // told once the worker serves the view
}

// A source is what an epoll event stands for: a device's queue or a socket.
type source struct {
	device *attachment
	socket *socket
}

// newView picks the part of set that worker i serves. Attachments of segments
// that stay keep their state.
func newView(set *Set, i int, old *view, adopted chan<- struct{}) *view {
	v := &view{own: make(map[int32]bool), byFD: make(map[int32]source), adopted: adopted}
	kept := make(map[Port]*attachment)
	if old != nil {
		for _, a := range old.attachments {
			kept[a.port] = a
		}
	}
	bySegment := make(map[*Segment]*attachment, len(set.Devices))
	for _, d := range set.Devices {
		port := d.Ports[i]
		a := kept[port]
		if a == nil || a.seg != d.Segment {
			a = &attachment{seg: d.Segment, port: port, stats: &d.Segment.stats[i],
				vnet: port.Caps().VNetHdr, routed: d.Segment.Routed(), fd: port.FD()}
		}
		v.attachments = append(v.attachments, a)
		bySegment[d.Segment] = a
		if a.fd >= 0 {
			v.byFD[int32(a.fd)] = source{device: a}
		}
	}
	for _, l := range set.Listeners {
		if l.Receivers[i] == nil {
			continue
		}
		s := &socket{recv: l.Receivers[i], fd: l.Receivers[i].FD(), vnis: make(map[uint32]*attachment, len(l.Segments))}
		for vni, seg := range l.Segments {
			if a := bySegment[seg]; a != nil {
				s.vnis[vni] = a
			}
		}
		v.sockets = append(v.sockets, s)
		if s.fd >= 0 {
			v.byFD[int32(s.fd)] = source{socket: s}
		}
	}
	for _, ifi := range set.OwnIfIndexes {
		v.own[ifi] = true
	}
	return v
}
