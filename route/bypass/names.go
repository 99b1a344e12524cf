package bypass

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// An unread is the name of an expression that the nftables package does not
// decode. It leaves such out of a rule, which then reads as another rule:
// without an action, or with a comparison of what was loaded before.
type unread string

// decoded reports whether the package decodes an expression of that name.
func decoded(name string) bool {
	switch name {
	case "bitwise", "cmp", "connlimit", "counter", "ct", "dynset", "exthdr", "fib", "flow_offload", "hash", "immediate",
		"limit", "log", "lookup", "masq", "match", "meta", "nat", "notrack", "numgen", "objref", "payload", "queue",
		"quota", "range", "redir", "reject", "synproxy", "target":
		return true
	}
	return false
}

// harmless reports whether the expression only looks at a packet.
func (u unread) harmless() bool {
	switch u {
	case "byteorder", "inner", "last", "osf", "rt", "socket", "tunnel", "xfrm":
		return true
	}
	return false
}

// A ruleID names a rule: handles are unique in a table.
type ruleID struct {
	family byte
	table  string
	handle uint64
}

// expressionNames reads the names of the expressions of all rules, in order.
func expressionNames() (map[ruleID][]string, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{})
	msgs, err := req.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	out := make(map[ruleID][]string, len(msgs))
	for _, m := range msgs {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		id := ruleID{family: m[0]}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, fmt.Errorf("rule: %w", err)
		}
		var names []string
		for _, a := range attrs {
			switch a.Attr.Type &^ unix.NLA_F_NESTED {
			case unix.NFTA_RULE_TABLE:
				id.table = text(a.Value)
			case unix.NFTA_RULE_HANDLE:
				if len(a.Value) == 8 {
					id.handle = binary.BigEndian.Uint64(a.Value)
				}
			case unix.NFTA_RULE_EXPRESSIONS:
				if names, err = namesOf(a.Value); err != nil {
					return nil, err
				}
			}
		}
		out[id] = names
	}
	return out, nil
}

// namesOf returns the names in a list of expressions.
func namesOf(list []byte) (names []string, err error) {
	elems, err := nl.ParseRouteAttr(list)
	if err != nil {
		return nil, fmt.Errorf("expressions: %w", err)
	}
	for _, e := range elems {
		attrs, err := nl.ParseRouteAttr(e.Value)
		if err != nil {
			return nil, fmt.Errorf("expression: %w", err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.NFTA_EXPR_NAME {
				names = append(names, text(a.Value))
			}
		}
	}
	return names, nil
}

func text(b []byte) string { return strings.TrimRight(string(b), "\x00") }

// complete puts what was left out back among the expressions of a rule. Where
// the two do not belong together, all of the rule is unread: it was changed
// between the two looks, say.
func complete(exprs []expr.Any, names []string) []any {
	var out []any
	for _, n := range names {
		switch {
		case !decoded(n):
			out = append(out, unread(n))
		case len(exprs) == 0:
			return []any{unread("")}
		default:
			out, exprs = append(out, exprs[0]), exprs[1:]
		}
	}
	if len(exprs) > 0 {
		return []any{unread("")}
	}
	return out
}
