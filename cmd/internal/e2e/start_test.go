package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"vtepd/cmd/internal/lab"
	"vtepd/encap"
)

// shower sends frames to the VTEP 192.0.2.1 from h, in all of the VNIs in turn,
// until the test ends. A VTEP that is not there yet does not stop it.
func shower(t *testing.T, h *lab.Host, vnis ...uint32) {
	t.Helper()
	var c net.Conn
	must(t, h.Do(func() (err error) {
		c, err = net.Dial("udp", "192.0.2.1:4789")
		return err
	}))
	var datagrams [][]byte
	for _, vni := range vnis {
		header := encap.MakeHeader(vni)
		frame := make([]byte, 60)
		copy(frame, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x02\x88\xb5") // broadcast, local experimental EtherType
		datagrams = append(datagrams, append(header[:], frame...))
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			for _, d := range datagrams {
				_, _ = c.Write(d) // refused while nobody listens
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Microsecond):
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		c.Close()
	})
}

// TestRemoteIsKnownFromTheFirstFrame lets a remote send all the while a segment
// comes up: none of its frames is a stranger's.
func TestRemoteIsKnownFromTheFirstFrame(t *testing.T) {
	hosts := lab.Hosts(t, 2, lab.Wire{})
	a, b := hosts[0], hosts[1]
	shower(t, b, 42, 43)
	d := startReloading(t, a, base)
	known(t, d.Daemon)
	for range 5 {
		for _, config := range []string{base + "  - {vni: 43, remotes: [192.0.2.2]}\n", base} {
			d.write(t, config)
			ctl(t, d.Daemon, "reload")
			known(t, d.Daemon)
		}
	}
}

// known checks that every segment has received frames, and none of a stranger.
func known(t *testing.T, d *lab.Daemon) {
	t.Helper()
	must(t, lab.Until(patience, func() error {
		for _, s := range counters(t, d).Segments {
			if n := s.Drops.Rx["source_not_accepted"]; n > 0 {
				return &lab.Final{Err: fmt.Errorf("segment %d took %d frames of its remote for a stranger's", s.VNI, n)}
			}
			if s.Rx.Frames == 0 {
				return fmt.Errorf("segment %d has received nothing", s.VNI)
			}
		}
		return nil
	}))
}
