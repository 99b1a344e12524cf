package bypass

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A matcher follows the comparisons of a rule as far as it knows what the
// flow's datagrams hold. It is used for one rule.
type matcher struct {
	flow Flow
	regs map[uint32][]byte // what a register holds of the flow; absent when unknown
}

// misses takes the next expression of the rule. It reports true when the flow
// cannot match it.
func (m *matcher) misses(e any) bool {
	switch e := e.(type) {
	case *expr.Meta:
		if !e.SourceRegister {
			m.set(e.Register, m.meta(e.Key))
		}
	case *expr.Payload:
		if e.OperationType == expr.PayloadLoad {
			m.set(e.DestRegister, m.payload(e))
		}
	case *expr.Fib:
		m.set(e.Register, m.fib(e))
	case *expr.Bitwise:
		m.set(e.DestRegister, bitwise(m.regs[e.SourceRegister], e))
	case *expr.Cmp:
		return m.differs(e)
	case *expr.Ct:
		if !e.SourceRegister {
			m.set(e.Register, nil)
		}
	case *expr.Lookup, *expr.Range, *expr.Immediate, *expr.Hash, *expr.Numgen, *expr.Exthdr, *expr.Dynset, unread:
		m.regs = nil // some of them write to registers: nothing is known any more
	}
	return false
}

func (m *matcher) set(reg uint32, b []byte) {
	if m.regs == nil {
		m.regs = make(map[uint32][]byte)
	}
	if b == nil {
		delete(m.regs, reg)
		return
	}
	m.regs[reg] = b
}

func (m *matcher) meta(k expr.MetaKey) []byte {
	switch k {
	case expr.MetaKeyL4PROTO:
		return []byte{unix.IPPROTO_UDP}
	case expr.MetaKeyNFPROTO:
		if m.flow.Dst.Is6() {
			return []byte{unix.NFPROTO_IPV6}
		}
		return []byte{unix.NFPROTO_IPV4}
	case expr.MetaKeyOIFNAME, expr.MetaKeyIIFNAME:
		if m.flow.In != (k == expr.MetaKeyIIFNAME) {
			return nil
		}
		b := make([]byte, unix.IFNAMSIZ)
		copy(b, m.flow.Device)
		return b
	}
	return nil
}

// payload returns the bytes of the outer headers that the rule loads, as far as
// the flow has them in common.
func (m *matcher) payload(p *expr.Payload) []byte {
	at, end := int(p.Offset), int(p.Offset+p.Len)
	cut := func(start int, field []byte) []byte {
		if at < start || end > start+len(field) {
			return nil
		}
		return field[at-start : end-start]
	}
	switch p.Base {
	case expr.PayloadBaseTransportHeader:
		return cut(2, binary.BigEndian.AppendUint16(nil, m.flow.Port))
	case expr.PayloadBaseNetworkHeader:
		src, dst := 12, 16
		proto := 9
		if m.flow.Dst.Is6() {
			src, dst, proto = 8, 24, 6
		}
		for _, f := range []struct {
			start int
			field []byte
		}{{src, m.flow.Src.AsSlice()}, {dst, m.flow.Dst.AsSlice()}, {proto, []byte{unix.IPPROTO_UDP}}} {
			if b := cut(f.start, f.field); b != nil {
				return b
			}
		}
	}
	return nil
}

// fib knows the type of the destination: a VTEP is a unicast address of
// another host, since no Ethernet leads to our own.
func (m *matcher) fib(f *expr.Fib) []byte {
	if !f.ResultADDRTYPE || !f.FlagDADDR || f.FlagSADDR {
		return nil
	}
	if m.flow.In {
		return binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)
	}
	return binary.NativeEndian.AppendUint32(nil, unix.RTN_UNICAST)
}

func bitwise(b []byte, e *expr.Bitwise) []byte {
	if b == nil || len(b) != len(e.Mask) || len(b) != len(e.Xor) {
		return nil
	}
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i]&e.Mask[i] ^ e.Xor[i]
	}
	return out
}

// differs reports whether the comparison fails for all of the flow.
func (m *matcher) differs(c *expr.Cmp) bool {
	have := m.regs[c.Register]
	if len(have) < len(c.Data) || len(c.Data) == 0 {
		return false // unknown
	}
	equal := bytes.Equal(have[:len(c.Data)], c.Data)
	switch c.Op {
	case expr.CmpOpEq:
		return !equal
	case expr.CmpOpNeq:
		return equal
	}
	return false
}
