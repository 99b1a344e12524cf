// Demo is what `make demo` runs: two network namespaces stand for two hosts,
// vtepd runs in each, and traffic crosses the overlay between them while the
// underlay is captured.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"vtepd/cmd/internal/lab"
)

func main() {
	bin := flag.String("bin", "bin", "`folder` of vtepd and vtepctl")
	out := flag.String("out", "out/demo", "`folder` for the capture")
	peer := flag.String("peer", "vtepd", "what host B runs: `vtepd or kernel` (the kernel's vxlan device)")
	flag.Parse()
	if err := demo(*bin, *out, *peer); err != nil {
		fmt.Printf("\ndemo: failed: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("\ndemo: success")
}

func step(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

func demo(bin, out, peer string) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- show(l, bin, out, peer) }()
	select {
	case err := <-done:
		return err
	case s := <-stop:
		return fmt.Errorf("stopped by %v", s)
	}
}

// show does all that the demo shows.
func show(l *lab.Lab, bin, out, peer string) error {
	step("two hosts: network namespaces joined by a veth, the underlay")
	a, err := l.Host("a")
	if err != nil {
		return err
	}
	b, err := l.Host("b")
	if err != nil {
		return err
	}
	if err := l.Connect(a, b, lab.Wire{}); err != nil {
		return err
	}
	fmt.Println("host A has 192.0.2.1, host B has 192.0.2.2")
	daemon, err := start(a, b, bin, peer)
	if err != nil {
		return err
	}
	pcap := filepath.Join(out, "underlay.pcap")
	if err := ping(a, pcap); err != nil {
		return err
	}
	if err := iperf(a, b); err != nil {
		return err
	}
	if err := decode(pcap); err != nil {
		return err
	}
	step("what host A's daemon knows")
	for _, args := range [][]string{{"fdb", "show"}, {"counters"}, {"status"}} {
		text, err := daemon.Ctl(args...)
		if err != nil {
			return err
		}
		fmt.Printf("host A# vtepctl %s\n%s", strings.Join(args, " "), text)
	}
	step("cleaning up")
	fmt.Printf("the capture of the underlay stays in %s\n", pcap)
	return nil
}

// start starts vtepd on both hosts, or the kernel's device on host B.
func start(a, b *lab.Host, bin, peer string) (*lab.Daemon, error) {
	step("a VXLAN segment with VNI 42 between them")
	argsA := []string{"--vni", "42", "--local", "192.0.2.1", "--remote", "192.0.2.2", "--address", "10.99.0.1/24"}
	argsB := []string{"--vni", "42", "--local", "192.0.2.2", "--remote", "192.0.2.1", "--address", "10.99.0.2/24"}
	fmt.Println("host A# vtepd run", strings.Join(argsA, " "))
	daemon, err := a.Vtepd(bin, argsA...)
	if err != nil {
		return nil, err
	}
	if peer == "kernel" {
		args := []string{"local", "192.0.2.2", "remote", "192.0.2.1"}
		fmt.Println("host B# ip link add vx42 type vxlan id 42 dstport 4789", strings.Join(args, " "))
		return daemon, b.KernelVXLAN(42, []string{"10.99.0.2/24"}, args...)
	}
	fmt.Println("host B# vtepd run", strings.Join(argsB, " "))
	_, err = b.Vtepd(bin, argsB...)
	return daemon, err
}

// ping pings over the overlay while the underlay is captured to file.
func ping(a *lab.Host, file string) error {
	step("ping over the overlay, the underlay captured")
	capture, err := a.Capture("u0", file, "udp", "port", "4789")
	if err != nil {
		return err
	}
	fmt.Println("host A# ping -c 5 -i 0.2 10.99.0.2")
	text, err := a.Run("ping", "-c", "5", "-i", "0.2", "10.99.0.2")
	fmt.Print(text)
	if err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond) // for the capture to get the last ones
	return capture.Stop()
}

// iperf measures TCP over the overlay.
func iperf(a, b *lab.Host) error {
	step("iperf3 over the overlay")
	for _, way := range []struct {
		name string
		args []string
	}{{"A to B", nil}, {"B to A", []string{"-R"}}} {
		r, err := a.Iperf(b, "10.99.0.2", append([]string{"-t", "3"}, way.args...)...)
		if err != nil {
			return err
		}
		fmt.Printf("TCP %s: %.2f Gbit/s received, %d retransmits\n", way.name,
			r.End.Received.BitsPerSecond/1e9, r.End.Sent.Retransmits)
	}
	return nil
}

// decode prints one encapsulated ping as tshark reads it.
func decode(file string) error {
	step("one encapsulated frame, as tshark decodes it")
	lines, err := lab.Tshark(file, "-d", "udp.port==4789,vxlan", "-Y", "icmp.type==8", "-c", "200", "-O", "eth,ip,udp,vxlan,icmp")
	if err != nil {
		return err
	}
	first := regexp.MustCompile(`^Frame \d+`)
	frames := 0
	for _, line := range lines {
		if first.MatchString(line) {
			if frames++; frames > 1 {
				break
			}
		}
		fmt.Println(line)
	}
	if frames == 0 {
		return fmt.Errorf("no ping in %s", file)
	}
	return nil
}
