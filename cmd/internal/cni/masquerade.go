package cni

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"vtepd/route/ipam"
)

// masquerade makes the network's nftables table: what leaves from its subnets
// to anywhere else leaves with the host's address. The table is replaced as a
// whole, in one transaction. Addresses that are held of subnets the node had
// before keep their masquerade.
func (c *conf) masquerade(l *ipam.Locked, pools []ipam.Pool) error {
	held, err := l.Held()
	if err != nil {
		return err
	}
	var subnets []netip.Prefix
	for _, p := range pools {
		subnets = append(subnets, p.Subnet())
	}
	sources := slices.Clone(subnets)
	for _, h := range held {
		if !slices.ContainsFunc(subnets, func(s netip.Prefix) bool { return s.Contains(h.Addr) }) {
			sources = append(sources, netip.PrefixFrom(h.Addr, h.Addr.BitLen()))
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(c.Name)}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	for _, s := range sources {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: masqueradeRule(s, subnets), UserData: []byte(linkAlias(c.Name))})
	}
	return conn.Flush()
}

// removeMasquerade removes the table of a network, if there is one.
func removeMasquerade(network string) error {
	conn, err := nftables.New()
	if err == nil {
		conn.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(network)})
		err = conn.Flush()
	}
	if hasNone(err) {
		return nil
	}
	return err
}

// hasNone reports whether the kernel says that it has no such table, or no
// nftables at all: DEL succeeds then, too.
func hasNone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT)
}

// masqueradeRule is: from source, to none of the subnets and to no group.
func masqueradeRule(source netip.Prefix, subnets []netip.Prefix) []expr.Any {
	is4 := source.Addr().Is4()
	proto, group := byte(unix.NFPROTO_IPV4), netip.MustParsePrefix("224.0.0.0/4")
	if !is4 {
		proto, group = unix.NFPROTO_IPV6, netip.MustParsePrefix("ff00::/8")
	}
	rule := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
	rule = append(rule, match(source, sourceOffset, expr.CmpOpEq)...)
	for _, s := range append(slices.Clone(subnets), group) {
		if s.Addr().Is4() == is4 {
			rule = append(rule, match(s, destinationOffset, expr.CmpOpNeq)...)
		}
	}
	return append(rule, &expr.Counter{}, &expr.Masq{})
}

// The offsets of addresses in the headers of IPv4 and IPv6.
type addressOffset struct{ v4, v6 uint32 }

//nolint:gochecknoglobals // what is fixed by RFC 791 and RFC 8200
var sourceOffset, destinationOffset = addressOffset{12, 8}, addressOffset{16, 24}

// match compares an address of the packet with a prefix.
func match(p netip.Prefix, at addressOffset, op expr.CmpOp) []expr.Any {
	offset, length := at.v4, uint32(4)
	if p.Addr().Is6() {
		offset, length = at.v6, 16
	}
	mask := make([]byte, length)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: mask, Xor: make([]byte, length)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}
