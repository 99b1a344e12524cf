package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/lab"
)

// TestFlowKeepsItsOrder sends numbered datagrams of one flow, super-frames and
// single ones by turns: each arrives once, in order.
func TestFlowKeepsItsOrder(t *testing.T) {
	for _, tier := range []string{"portable", "offload", "tunnel-gso", "ebpf"} {
		for _, wire := range []lab.Wire{{}, {NoOffload: true}, {MTU: 9000}} {
			for _, v6 := range []bool{false, true} {
				name := fmt.Sprintf("%s, mtu %d, offloads %v, IPv6 %v", tier, max(wire.MTU, 1500), !wire.NoOffload, v6)
				t.Run(name, func(t *testing.T) {
					p := newPair(t, wire, v6, "--tier", tier, "--workers", "4")
					ping(t, p.a, "10.99.0.2") // neighbours are known: nothing waits for them
					ping(t, p.b, "fd42::1")
					numbered(t, p.a, p.b, "10.99.0.2")
					numbered(t, p.b, p.a, "fd42::1")
				})
			}
		}
	}
}

// pieces are how many datagrams the sends of a flow hold, in turn.
var pieces = []int{1, 40, 1, 1, 20, 2, 33, 1, 3, 40}

const (
	numberedSize  = 1000 // bytes of a datagram, which starts with its number
	numberedSends = 200
)

// numbered sends datagrams from one host to another and checks how they
// arrive.
func numbered(t *testing.T, from, to *lab.Host, addr string) {
	t.Helper()
	var in, out *net.UDPConn
	must(t, to.Do(func() (err error) {
		in, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(addr)})
		return err
	}))
	defer in.Close()
	must(t, in.SetReadBuffer(32<<20))
	must(t, from.Do(func() (err error) {
		out, err = net.DialUDP("udp", nil, in.LocalAddr().(*net.UDPAddr))
		return err
	}))
	defer out.Close()
	next, sent := 0, 0
	for i := range numberedSends {
		n := pieces[i%len(pieces)]
		b := make([]byte, n*numberedSize)
		for j := range n {
			binary.BigEndian.PutUint32(b[j*numberedSize:], uint32(sent+j))
		}
		_, _, err := out.WriteMsgUDP(b, segmented(n), nil)
		must(t, err)
		sent += n
		if i%20 == 19 { // not more than the socket's buffer holds
			next = receiveNumbers(t, in, next, sent)
		}
	}
}

// segmented is the control message that has the kernel cut a send into
// datagrams (UDP_SEGMENT), none for one datagram.
func segmented(n int) []byte {
	if n == 1 {
		return nil
	}
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], numberedSize)
	return b
}

// receiveNumbers reads the datagrams from number next on up to before end.
func receiveNumbers(t *testing.T, in *net.UDPConn, next, end int) int {
	t.Helper()
	b := make([]byte, 2*numberedSize)
	for next < end {
		must(t, in.SetReadDeadline(time.Now().Add(patience)))
		n, err := in.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("datagram %d did not come", next)
		}
		must(t, err)
		if got := int(binary.BigEndian.Uint32(b)); n != numberedSize || got != next {
			t.Fatalf("datagram %d of %d bytes came, want %d of %d", got, n, next, numberedSize)
		}
		next++
	}
	return next
}
