package vtep

import (
	"sync/atomic"
	"syscall"

	"vtepd/encap/drop"
)

// Event is a remark that counters make outside the sum of frames.
type Event uint8

// The events. Their names stand in `vtepctl counters`.
const (
	ChecksumCompleted Event = iota // an unfinished inner checksum was completed in software
	SuperFrameSplit                // a whole super-frame in one datagram was cut to the device MTU
	TooBigSent                     // the sender of an oversize frame was told
	OffloadRefused                 // the kernel refused a super-frame, in either direction; it was cut instead
	RemotesFull                    // a VTEP was not learned: too many are known
	UnreachableSent                // the sender of a packet to no prefix of a routed segment was told
	EventCount
)

var eventNames = [EventCount]string{"checksum_completed", "superframe_split", "too_big_sent",
	"offload_refused", "remotes_full", "unreachable_sent"}

// String returns the event's name as counters spell it.
func (e Event) String() string {
	if e < EventCount {
		return eventNames[e]
	}
	return "unknown"
}

// Traffic counts wire frames and their inner bytes.
type Traffic struct{ Frames, Bytes uint64 }

// Counters is the sum of what all workers counted, as of one moment a worker;
// each value only grows.
type Counters struct {
	Rx, Tx     Traffic
	DropsRx    [drop.Count]uint64 // wire frames, or datagrams where no frame was seen
	DropsTx    [drop.Count]uint64
	Suppressed uint64 // frames from the device that were answered on the spot
	Events     [EventCount]uint64
}

// RemoteCounters is the traffic with one remote.
type RemoteCounters struct {
	Rx, Tx Traffic
	Errors map[string]uint64 // send errors by errno name in lower case, zeros included
}

type traffic struct{ frames, bytes atomic.Uint64 }

func (t *traffic) add(frames, bytes int) {
	t.frames.Add(uint64(frames))
	t.bytes.Add(uint64(bytes))
}

func (t *traffic) addTo(sum *Traffic) {
	sum.Frames += t.frames.Load()
	sum.Bytes += t.bytes.Load()
}

// stats is what one worker counts for one segment. One goroutine writes it, so
// the atomic adds never contend; the padding keeps workers off each other's
// cache lines.
type stats struct {
	rx, tx     traffic
	dropsRx    [drop.Count]atomic.Uint64
	dropsTx    [drop.Count]atomic.Uint64
	suppressed atomic.Uint64
	events     [EventCount]atomic.Uint64
	_          [64]byte
}

func (s *stats) addTo(c *Counters) {
	s.rx.addTo(&c.Rx)
	s.tx.addTo(&c.Tx)
	for i := range c.DropsRx {
		c.DropsRx[i] += s.dropsRx[i].Load()
		c.DropsTx[i] += s.dropsTx[i].Load()
	}
	c.Suppressed += s.suppressed.Load()
	for i := range c.Events {
		c.Events[i] += s.events[i].Load()
	}
}

// sendErrors are the errnos counted by name; all others count as the last.
var sendErrors = [...]struct {
	errno syscall.Errno
	name  string
}{
	{syscall.ENOBUFS, "enobufs"}, {syscall.EPERM, "eperm"}, {syscall.EACCES, "eacces"},
	{syscall.ENETUNREACH, "enetunreach"}, {syscall.EHOSTUNREACH, "ehostunreach"},
	{syscall.ECONNREFUSED, "econnrefused"}, {syscall.EMSGSIZE, "emsgsize"},
	{syscall.ENETDOWN, "enetdown"}, {syscall.EADDRNOTAVAIL, "eaddrnotavail"}, {0, "other"},
}

// remoteStats is what one worker counts for one remote. It is the [Account] of
// that worker's trains to it.
type remoteStats struct {
	segment *stats
	rx, tx  traffic
	errors  [len(sendErrors)]atomic.Uint64
	_       [64]byte
}

// Sent implements [Account].
func (s *remoteStats) Sent(frames, bytes int, errno syscall.Errno) {
	if errno == 0 {
		s.tx.add(frames, bytes)
		s.segment.tx.add(frames, bytes)
		return
	}
	s.segment.dropsTx[drop.SendFailed].Add(uint64(frames))
	last := len(sendErrors) - 1
	for i := range sendErrors[:last] {
		if sendErrors[i].errno == errno {
			s.errors[i].Add(uint64(frames))
			return
		}
	}
	s.errors[last].Add(uint64(frames))
}

// Counters returns the traffic with the remote, summed over the workers.
func (r *Remote) Counters() RemoteCounters {
	c := RemoteCounters{Errors: make(map[string]uint64)}
	for i := range r.stats {
		s := &r.stats[i]
		s.rx.addTo(&c.Rx)
		s.tx.addTo(&c.Tx)
		for j := range sendErrors {
			c.Errors[sendErrors[j].name] += s.errors[j].Load()
		}
	}
	return c
}
