package load

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"vtepd/cmd/internal/lab"
)

const (
	// BroadcastRemotes is the length of the flood list.
	BroadcastRemotes = 1_000
	// broadcastFrames is how many frames are flooded in one measurement: less
	// than the queue of a device holds, so that none is lost before it is read.
	broadcastFrames = 300
	// broadcastTime is how long their copies may take.
	broadcastTime = 30 * time.Second
	// broadcastDevice is the device of the host that takes the copies.
	broadcastDevice = "d0"
)

// A Broadcaster is a vtepd with a flood list of [BroadcastRemotes] VTEPs. They
// are behind a router at a bridge without ports: it takes a datagram and is done
// with it, as a card is that has it in its ring. The far end of a veth would
// work in the sender's system call, and be in the figures.
type Broadcaster struct {
	daemon *lab.Daemon
	raw    *lab.Raw
	links  *netlink.Handle
	frame  []byte
}

// NewBroadcaster starts vtepd from the folder bin in a host without a wire.
func NewBroadcaster(h *lab.Host, bin string) (*Broadcaster, error) {
	for _, args := range [][]string{
		{"sysctl", "-q", "-w", "net.ipv6.conf.default.disable_ipv6=1"}, // only our frames
		{"ip", "link", "add", broadcastDevice, "type", "bridge"},
		{"ip", "link", "set", broadcastDevice, "up"},
		{"ip", "addr", "add", "192.0.2.1/24", "dev", broadcastDevice},
		{"ip", "neigh", "add", "192.0.2.2", "lladdr", "02:00:00:00:00:02", "dev", broadcastDevice, "nud", "permanent"},
		{"ip", "route", "add", "198.18.0.0/15", "via", "192.0.2.2"},
	} {
		if _, err := h.Run(args[0], args[1:]...); err != nil {
			return nil, err
		}
	}
	var b Broadcaster
	var err error
	if b.daemon, err = h.VtepdFile(bin, broadcastConfig()); err != nil {
		return nil, err
	}
	if b.raw, err = h.Raw("vx42"); err != nil {
		return nil, err
	}
	b.frame = make([]byte, DatagramSize)
	copy(b.frame, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}) // local experimental
	err = h.Do(func() error {
		ns, err := netns.Get()
		if err != nil {
			return err
		}
		b.links, err = netlink.NewHandleAt(ns)
		return errors.Join(err, ns.Close())
	})
	return &b, err
}

// broadcastConfig is a segment with a long flood list.
func broadcastConfig() string {
	remotes := make([]string, BroadcastRemotes)
	for i := range remotes {
		remotes[i] = fmt.Sprintf("198.18.%d.%d", 1+i>>8, i&0xff)
	}
	return "underlay: {local: 192.0.2.1}\nsegments: [{vni: 42, remotes: [" + strings.Join(remotes, ", ") + "]}]\n"
}

// A BroadcastResult is what a copy of a broadcast costs.
type BroadcastResult struct {
	Time, CPU time.Duration // of all copies; CPU is vtepd's with the kernel's part in its name
}

// PerCopy is the time of one copy in µs.
func PerCopy(d time.Duration) float64 {
	return float64(d.Nanoseconds()) / 1e3 / (broadcastFrames * BroadcastRemotes)
}

// Run floods frames and waits until every copy has left.
func (b *Broadcaster) Run() (BroadcastResult, error) {
	var r BroadcastResult
	pids := []int{b.daemon.PID()}
	cpu, err := ProcessCPU(pids)
	if err != nil {
		return r, err
	}
	before, err := b.copies()
	if err != nil {
		return r, err
	}
	begin := time.Now()
	for range broadcastFrames {
		if err := b.raw.Send(b.frame); err != nil {
			return r, err
		}
	}
	for {
		now, err := b.copies()
		if err != nil {
			return r, err
		}
		r.Time = time.Since(begin)
		if now-before >= broadcastFrames*BroadcastRemotes {
			break
		}
		if r.Time > broadcastTime {
			return r, fmt.Errorf("of %d copies %d left in %v:\n%s", broadcastFrames*BroadcastRemotes, now-before, broadcastTime, b.daemon.Output())
		}
		time.Sleep(time.Millisecond)
	}
	after, err := ProcessCPU(pids)
	r.CPU = after - cpu
	return r, err
}

// copies is how many packets the device has taken.
func (b *Broadcaster) copies() (uint64, error) {
	link, err := b.links.LinkByName(broadcastDevice)
	if err != nil {
		return 0, err
	}
	return link.Attrs().Statistics.TxPackets, nil
}

// Close lets go of the host; the daemon goes with the lab.
func (b *Broadcaster) Close() error {
	b.links.Close()
	return b.raw.Close()
}
