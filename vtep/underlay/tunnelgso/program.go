package tunnelgso

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// Where a program finds what it reads of a struct __sk_buff
// (include/uapi/linux/bpf.h).
const (
	skbIngressIfindex = 36
	skbData           = 76
	skbDataEnd        = 80
)

// What a tcx program returns (include/uapi/linux/bpf.h, enum tcx_action_base).
const (
	tcxNext = -1
	tcxDrop = 2
)

// redirect ends a program: bpf_redirect_neigh(egress, NULL, 0, 0). The kernel
// routes by the outer destination, fills in the Ethernet addresses and resolves
// neighbours itself (net/core/filter.c, __bpf_redirect_neigh).
func redirect(egress int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(egress)).WithSymbol("redirect"),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
	}
}

// ingress is the program for what is written into the device: one with no slot
// in its mark is redirected. Of others a copy is made under each head of the
// slot and sent through the device itself, where the program of egress takes
// it: bpf_redirect_neigh takes the frame that a program is called with, never a
// clone.
func ingress(device, egress int, slots *ebpf.Map) asm.Instructions {
	const slotKey, headLen, slot = -4, -8, -16 // on the stack
	return append(asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ethernetLen),
		asm.JGT.Reg(asm.R4, asm.R3, "redirect"),
		asm.LoadMem(asm.R1, asm.R2, mark, asm.Byte),
		asm.JEq.Imm(asm.R1, 0, "redirect"),

		asm.Sub.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, slotKey, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, slots.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, slotKey),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.StoreMem(asm.RFP, slot, asm.R0, asm.DWord),
		asm.LoadMem(asm.R9, asm.R0, slotCopies, asm.Word),
		asm.LoadMem(asm.R1, asm.R0, slotHeadLen, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "drop"),
		asm.JGT.Imm(asm.R1, maxHead, "drop"),
		asm.StoreMem(asm.RFP, headLen, asm.R1, asm.Word),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.Add.Imm(asm.R7, slotHeads),
		asm.Mov.Imm(asm.R8, 0),

		// R7 is the head, R8 how many were before it, of R9.
		asm.JGE.Reg(asm.R8, asm.R9, "done").WithSymbol("copy"),
		asm.JGE.Imm(asm.R8, MaxCopies, "done"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.LoadMem(asm.R4, asm.RFP, headLen, asm.Word),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "next"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, int32(device)),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnCloneRedirect.Call(),
		asm.JNE.Imm(asm.R0, 0, "next"),
		asm.StoreImm(asm.R7, headSent, 1, asm.Word),
		asm.Add.Imm(asm.R8, 1).WithSymbol("next"),
		asm.Add.Imm(asm.R7, headStride),
		asm.Ja.Label("copy"),

		asm.LoadMem(asm.R1, asm.RFP, slot, asm.DWord).WithSymbol("done"),
		asm.Mov.Imm(asm.R2, 1),
		asm.Xchg.Mem(asm.R1, asm.R2, asm.Word, slotDone), // behind all else, on every machine
		asm.Mov.Imm(asm.R0, tcxDrop).WithSymbol("drop"),
		asm.Return(),
	}, redirect(egress)...)
}

// egress is the program for what leaves through the device: the copies of
// ingress are redirected. What somebody else sends out of it is not ours.
func egress(device, egress int) asm.Instructions {
	return append(asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, skbIngressIfindex, asm.Word),
		asm.JEq.Imm(asm.R2, int32(device), "redirect"),
		asm.Mov.Imm(asm.R0, tcxNext),
		asm.Return(),
	}, redirect(egress)...)
}

// attach loads a program and hooks it to the device. It needs CAP_BPF beside
// CAP_NET_ADMIN. The hook goes when the link is closed.
func attach(device int, where ebpf.AttachType, code asm.Instructions) (_ link.Link, err error) {
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "vtepd_gso", Type: ebpf.SchedCLS, License: "Apache-2.0", Instructions: code,
	})
	if err != nil {
		return nil, fmt.Errorf("load tcx program: %w", err)
	}
	defer func() { err = errors.Join(err, prog.Close()) }() // the link holds it from here on
	l, err := link.AttachTCX(link.TCXOptions{Interface: device, Program: prog, Attach: where})
	if err != nil {
		return nil, fmt.Errorf("attach tcx program: %w", err)
	}
	return l, nil
}
