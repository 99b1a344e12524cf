package tunnelgso

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// redirect is the tcx program: bpf_redirect_neigh(egress, NULL, 0, 0). The
// kernel routes by the outer destination, fills in the Ethernet addresses and
// resolves neighbours itself (net/core/filter.c, __bpf_redirect_neigh).
func redirect(egress int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(egress)),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
	}
}

// attach loads the program and hooks it to the ingress of the device. It
// needs CAP_BPF beside CAP_NET_ADMIN. The hook goes when the link is closed.
func attach(device, egress int) (_ link.Link, err error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "vtepd_gso", Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: redirect(egress),
	})
	if err != nil {
		return nil, fmt.Errorf("load tcx program: %w", err)
	}
	defer func() { err = errors.Join(err, prog.Close()) }() // the link holds it from here on
	l, err := link.AttachTCX(link.TCXOptions{Interface: device, Program: prog, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return nil, fmt.Errorf("attach tcx program: %w", err)
	}
	return l, nil
}
