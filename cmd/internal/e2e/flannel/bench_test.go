package flannel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vtepd/cmd/internal/lab"
	"vtepd/cmd/internal/lab/flannel"
	"vtepd/route/host"
)

const (
	manyLeases   = 5000
	changesEvery = 10 * time.Millisecond
	changesFor   = 20 * time.Second
)

// A gateway speaks to etcd by its JSON gateway, faster than etcdctl starts.
type gateway struct{ http.Client }

func newGateway(h *lab.Host) *gateway {
	g := &gateway{}
	g.Transport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = h.Do(func() (err error) {
			c, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}
	return g
}

// A write puts a lease, or deletes it when value is empty.
type write struct{ key, value string }

// write writes at one moment; etcd takes up to 128 at a time.
func (g *gateway) write(writes ...write) error {
	type operation map[string]map[string][]byte // bytes become base64, as the gateway wants
	var ops []operation
	for _, w := range writes {
		key := []byte(flannel.Subnets + w.key)
		if w.value == "" {
			ops = append(ops, operation{"requestDeleteRange": {"key": key}})
		} else {
			ops = append(ops, operation{"requestPut": {"key": key, "value": []byte(w.value)}})
		}
	}
	body, err := json.Marshal(map[string]any{"success": ops})
	if err != nil {
		return err
	}
	resp, err := g.Post(flannel.URL+"/v3/kv/txn", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("etcd: %s: %s", resp.Status, text)
	}
	return err
}

// many is lease i of many nodes, the version'th MAC of its node in it.
func many(i, version int) write {
	public := netip.AddrFrom4([4]byte{198, 18, byte(i / 250), byte(1 + i%250)})
	mac := fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", version>>8&255, version&255, i>>8&255, i&255)
	return write{flannel.Key(netip.PrefixFrom(manySubnet(i), 24)), flannel.Value(public, mac, netip.Addr{}, "")}
}

func manySubnet(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(1 + i/256), byte(i), 0}) }

// routes opens netlink in the host.
func routes(b *testing.B, h *lab.Host) (nl *netlink.Handle) {
	b.Helper()
	must(b, h.Do(func() (err error) {
		nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	}))
	b.Cleanup(nl.Close)
	return nl
}

// cpu is the processor time that a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(b, err)
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system int
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	must(b, err)
	const tick = 10 * time.Millisecond // of USER_HZ
	return time.Duration(user+system) * tick
}

// memory is the resident memory of a process in MB.
func memory(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kb float64
	_, err = fmt.Sscan(rest, &kb)
	must(b, err)
	return kb / 1024
}

// BenchmarkLeases joins a network of 5,000 nodes, then follows 100 changes a
// second: most are other MACs, each tenth comes and goes, and is looked for in
// the kernel's routes.
func BenchmarkLeases(b *testing.B) {
	n := network(b, `{"Network":"10.0.0.0/8","SubnetMin":"10.200.0.0","Backend":{"Type":"vxlan"}}`)
	a := node(b, n, "a")
	g := newGateway(n.Etcd.Host)
	defer g.CloseIdleConnections()
	for i := 0; i < manyLeases; i += 100 {
		var batch []write
		for j := i; j < i+100; j++ {
			batch = append(batch, many(j, 0))
		}
		must(b, g.write(batch...))
	}
	nl := routes(b, a.Host)
	for b.Loop() {
		snapshot(b, a, nl)
		follow(b, a, g, nl)
		must(b, a.Vtepd.Stop())
	}
}

func snapshot(b *testing.B, a *flannel.Node, nl *netlink.Handle) {
	b.Helper()
	began := time.Now()
	must(b, a.StartVtepd())
	must(b, lab.Until(time.Minute, func() error {
		all, err := nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: host.Protocol}, netlink.RT_FILTER_PROTOCOL)
		if err == nil && len(all) < manyLeases {
			err = fmt.Errorf("%d routes", len(all))
		}
		return err
	}))
	b.ReportMetric(time.Since(began).Seconds(), "s-to-join")
	b.ReportMetric(cpu(b, a.Vtepd.PID()).Seconds(), "cpu-s-to-join")
	b.ReportMetric(memory(b, a.Vtepd.PID()), "MB-joined")
}

// A probe is a lease that came or went at a moment.
type probe struct {
	to      netip.Addr
	present bool
	at      time.Time
}

// probeLimit is how long the kernel's route may take to follow.
const probeLimit = 5 * time.Second

// await looks when the kernel's routes say what the probes do.
func await(nl *netlink.Handle, device int, probes <-chan probe) (took []time.Duration) {
	for p := range probes {
		for ; time.Since(p.at) < probeLimit; time.Sleep(time.Millisecond) {
			r, err := nl.RouteGet(p.to.Next().AsSlice())
			if err == nil && (r[0].LinkIndex == device) == p.present {
				break
			}
		}
		took = append(took, time.Since(p.at))
	}
	return took
}

func follow(b *testing.B, a *flannel.Node, g *gateway, nl *netlink.Handle) {
	b.Helper()
	device, err := nl.LinkByName("flannel.1")
	must(b, err)
	before := cpu(b, a.Vtepd.PID())
	probes, done := make(chan probe, 1000), make(chan []time.Duration, 1)
	go func() { done <- await(nl, device.Attrs().Index, probes) }()
	const stays = 500 // changes between the coming and the going of a lease
	sent := 0
	began := time.Now()
	tick := time.NewTicker(changesEvery)
	defer tick.Stop()
	for ; time.Since(began) < changesFor; sent++ {
		<-tick.C
		w := many(sent%manyLeases, 1+sent)
		p := probe{present: true}
		switch {
		case sent%20 == 0:
			w, p.to = many(manyLeases+sent/20, 0), manySubnet(manyLeases+sent/20)
		case sent%20 == 10 && sent > stays:
			extra := manyLeases + (sent-stays)/20
			w, p = write{key: many(extra, 0).key}, probe{to: manySubnet(extra)}
		}
		must(b, g.write(w))
		if p.at = time.Now(); p.to.IsValid() {
			probes <- p
		}
	}
	spent := time.Since(began)
	close(probes)
	took := <-done
	used := cpu(b, a.Vtepd.PID()) - before
	slices.Sort(took)
	last := took[len(took)-1]
	if last >= probeLimit {
		b.Errorf("a change is not in the kernel after %v", last)
	}
	b.ReportMetric(float64(sent)/spent.Seconds(), "changes/s")
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-median")
	b.ReportMetric(float64(last.Milliseconds()), "ms-max")
	b.ReportMetric(used.Seconds()/spent.Seconds()*100, "%cpu")
	b.ReportMetric(memory(b, a.Vtepd.PID()), "MB-after")
}
