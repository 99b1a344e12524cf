package fastpath

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

//go:generate bpf/compile

// object is bpf/fastpath.c, compiled by `make bpf`. It is in the repository, so
// that building vtepd takes no C compiler; a test tells when it is stale.
//
//go:embed fastpath.o
var object []byte

// A Kernel is the loaded programs and their maps. Its methods may be called
// from any goroutine.
type Kernel struct {
	in objects
}

type objects struct {
	FromLocal *ebpf.Program `ebpf:"from_local"`
	ToLocal   *ebpf.Program `ebpf:"to_local"`
	Remotes   *ebpf.Map     `ebpf:"remotes"`
	Peers     *ebpf.Map     `ebpf:"peers"`
	MACs      *ebpf.Map     `ebpf:"macs"`
	Flows     *ebpf.Map     `ebpf:"flows"`
	Traffics  *ebpf.Map     `ebpf:"traffics"`
}

// Open loads the programs. It takes CAP_BPF beside CAP_NET_ADMIN, and Linux
// 6.6.
func Open() (*Kernel, error) {
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) != 1 {
		return nil, errors.New("the tcx programs are not built for big-endian machines")
	}
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	if err != nil {
		return nil, fmt.Errorf("tcx programs: %w", err)
	}
	k := new(Kernel)
	if err := spec.LoadAndAssign(&k.in, nil); err != nil {
		return nil, fmt.Errorf("load tcx programs: %w", err)
	}
	return k, nil
}

// HookDevice has frames that leave by a segment's device looked at, until what it
// returns is closed or the device gone.
func (k *Kernel) HookDevice(ifIndex int) (io.Closer, error) {
	return hook(ifIndex, k.in.FromLocal, ebpf.AttachTCXEgress)
}

// HookUnderlay has datagrams that arrive by an interface looked at, until what it
// returns is closed or the interface gone.
func (k *Kernel) HookUnderlay(ifIndex int) (io.Closer, error) {
	return hook(ifIndex, k.in.ToLocal, ebpf.AttachTCXIngress)
}

func hook(ifIndex int, p *ebpf.Program, at ebpf.AttachType) (io.Closer, error) {
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifIndex, Program: p, Attach: at})
	if err != nil {
		return nil, fmt.Errorf("attach tcx program: %w", err)
	}
	return l, nil
}

// traffic returns what all processors counted for a remote.
func (k *Kernel) traffic(index uint32) (sum trafficValue, err error) {
	var each []trafficValue
	if err := k.in.Traffics.Lookup(index, &each); err != nil {
		return sum, err
	}
	for _, t := range each {
		sum.RxFrames += t.RxFrames
		sum.RxBytes += t.RxBytes
		sum.TxFrames += t.TxFrames
		sum.TxBytes += t.TxBytes
	}
	return sum, nil
}

// Close unloads programs and maps, but what hooks still hold.
func (k *Kernel) Close() error {
	var errs []error
	for _, p := range []*ebpf.Program{k.in.FromLocal, k.in.ToLocal} {
		errs = append(errs, p.Close())
	}
	for _, m := range []*ebpf.Map{k.in.Remotes, k.in.Peers, k.in.MACs, k.in.Flows, k.in.Traffics} {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
