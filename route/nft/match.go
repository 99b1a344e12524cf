package nft

import (
	"net"
	"net/netip"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A field is one of a packet's two addresses.
type field uint8

const (
	source field = iota
	destination
)

// family matches packets of the family of a.
func family(a netip.Addr) []expr.Any {
	proto := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		proto = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// in matches packets whose address is in a prefix, or with not those whose is
// not. They have the prefix's family already.
func in(f field, p netip.Prefix, not bool) []expr.Any {
	p = p.Masked()
	size := uint32(p.Addr().BitLen() / 8)
	offset := map[uint32][2]uint32{4: {12, 16}, 16: {8, 24}}[size][f] // RFC 791 §3.1, RFC 8200 §3
	op := expr.CmpOpEq
	if not {
		op = expr.CmpOpNeq
	}
	out := []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}}
	if p.Bits() < p.Addr().BitLen() {
		out = append(out, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size,
			Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()), Xor: make([]byte, size)})
	}
	return append(out, &expr.Cmp{Op: op, Register: 1, Data: p.Addr().AsSlice()})
}

// marked matches packets whose mark has all bits of m.
func marked(m uint32) []expr.Any {
	bits := binaryutil.NativeEndian.PutUint32(m)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: bits, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: bits},
	}
}

// device matches packets that come in (or, with out, go out) by a device.
func device(name string, out bool) []expr.Any {
	key := expr.MetaKeyIIFNAME
	if out {
		key = expr.MetaKeyOIFNAME
	}
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b}}
}

func verdict(k expr.VerdictKind, chain string) expr.Any { return &expr.Verdict{Kind: k, Chain: chain} }

// rule joins matches and what happens then.
func rule(comment string, parts ...[]expr.Any) Rule {
	var r Rule
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	r.Comment = comment
	return r
}

func then(e expr.Any) []expr.Any { return []expr.Any{e} }
