package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The nftables package leaves out expressions that it does not know, so that a
// rule reads as another, and shows no handles of tables. What decisions are made
// from is read here.

// A readRule is what matters of a rule that is in the kernel.
type readRule struct {
	family       byte
	table, chain string
	handle       uint64
	comment      string   // of nft's or of iptables' kind
	names        []string // of the expressions, in order
	verdict      int32    // of the last verdict, if hasVerdict
	hasVerdict   bool
	target       string // chain that it leads to
}

// nestedMask takes the flags off an attribute's type.
const nestedMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)

// nftaTableHandle is NFTA_TABLE_HANDLE (include/uapi/linux/netfilter/nf_tables.h).
const nftaTableHandle = 4

// nftRequest asks nftables for something about a family.
func nftRequest(msg, flags int, family byte, attrs ...*nl.RtAttr) ([][]byte, error) {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|msg, flags)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: family})
	for _, a := range attrs {
		req.AddData(a)
	}
	return req.Execute(unix.NETLINK_NETFILTER, 0)
}

// dumps is how often a dump is repeated that changes interrupted.
const dumps = 5

// readRules reads the rules of all tables, or of one.
func readRules(table string, family byte) ([]readRule, error) {
	var attrs []*nl.RtAttr
	if table != "" {
		attrs = append(attrs, nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(table)))
	}
	var msgs [][]byte
	var err error = netlink.ErrDumpInterrupted
	for i := 0; i < dumps && errors.Is(err, netlink.ErrDumpInterrupted); i++ {
		msgs, err = nftRequest(unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, family, attrs...)
	}
	if err != nil {
		return nil, fmt.Errorf("nftables rules: %w", err)
	}
	out := make([]readRule, 0, len(msgs))
	for _, m := range msgs {
		r, err := parseRule(m)
		if err != nil {
			return nil, err
		}
		if table == "" || r.table == table {
			out = append(out, r)
		}
	}
	return out, nil
}

var errShort = errors.New("nftables: a message that is too short")

// attributes calls f for each attribute of b (include/uapi/linux/netlink.h,
// struct nlattr). The one of the netlink package panics where the last one is
// not padded.
func attributes(b []byte, f func(kind uint16, value []byte) error) error {
	const header = unix.SizeofNlAttr
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint16(b))
		if size < header || size > len(b) {
			return errShort
		}
		if err := f(binary.NativeEndian.Uint16(b[2:])&nestedMask, b[header:size]); err != nil {
			return err
		}
		b = b[min((size+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
	}
	return nil
}

// parseRule reads a rule as the kernel shows it (net/netfilter/nf_tables_api.c,
// nf_tables_fill_rule_info).
func parseRule(m []byte) (r readRule, err error) {
	if len(m) < nl.SizeofNfgenmsg {
		return r, errShort
	}
	r.family = m[0]
	err = attributes(m[nl.SizeofNfgenmsg:], func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			r.table = text(v)
		case unix.NFTA_RULE_CHAIN:
			r.chain = text(v)
		case unix.NFTA_RULE_HANDLE:
			if len(v) < 8 {
				return errShort
			}
			r.handle = binary.BigEndian.Uint64(v)
		case unix.NFTA_RULE_USERDATA:
			if c := userComment(v); c != "" {
				r.comment = c
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			return attributes(v, func(_ uint16, elem []byte) error { return r.parseExpr(elem) })
		}
		return nil
	})
	return r, err
}

// userComment finds nft's comment in what user space put with a rule: type,
// length, value (libnftnl/udata.h), type 0.
func userComment(b []byte) string {
	for len(b) >= 2 && len(b) >= 2+int(b[1]) {
		if b[0] == 0 {
			return text(b[2 : 2+int(b[1])])
		}
		b = b[2+int(b[1]):]
	}
	return ""
}

// parseExpr takes in one expression.
func (r *readRule) parseExpr(b []byte) error {
	var name string
	return attributes(b, func(kind uint16, v []byte) error {
		switch kind {
		case unix.NFTA_EXPR_NAME:
			name = text(v)
			r.names = append(r.names, name)
		case unix.NFTA_EXPR_DATA:
			switch name {
			case "immediate":
				return attributes(v, r.immediate)
			case "match":
				return r.extension(v, "match")
			case "target":
				return r.extension(v, "target")
			}
		}
		return nil
	})
}

// immediate takes in an attribute of an immediate expression: a verdict, or
// data for a register.
func (r *readRule) immediate(kind uint16, v []byte) error {
	if kind != unix.NFTA_IMMEDIATE_DATA {
		return nil
	}
	return attributes(v, func(kind uint16, v []byte) error {
		if kind != unix.NFTA_DATA_VERDICT {
			return nil
		}
		return attributes(v, func(kind uint16, v []byte) error {
			switch kind {
			case unix.NFTA_VERDICT_CODE:
				if len(v) < 4 {
					return errShort
				}
				r.verdict, r.hasVerdict = int32(binary.BigEndian.Uint32(v)), true
			case unix.NFTA_VERDICT_CHAIN:
				r.target = text(v)
			}
			return nil
		})
	})
}

// extension takes in a match or target of iptables: comments, and what rejects.
func (r *readRule) extension(b []byte, kind string) error {
	var name string
	return attributes(b, func(a uint16, v []byte) error {
		switch {
		case a == unix.NFTA_MATCH_NAME: // NFTA_TARGET_NAME, too
			if name = text(v); kind == "target" && name == "REJECT" {
				r.names[len(r.names)-1] = "reject"
			}
		case a == unix.NFTA_MATCH_INFO && kind == "match" && name == "comment":
			r.comment = text(v)
			r.names = r.names[:max(0, len(r.names)-1)] // it matches all
		}
		return nil
	})
}

// text is a string of C: what is before the first zero.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// generation is the number of the last transaction of anybody.
func generation() (uint32, error) {
	msgs, err := nftRequest(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC)
	if err != nil || len(msgs) == 0 {
		return 0, fmt.Errorf("nftables generation: %w", orShort(err))
	}
	return field32(msgs[0], unix.NFTA_GEN_ID)
}

// tableID returns what tells our table from all that were before it, empty when
// there is none: its handle, and besides whether it is dormant and how much is
// in it.
func tableID() (string, error) {
	msgs, err := nftRequest(unix.NFT_MSG_GETTABLE, 0, unix.NFPROTO_INET, nl.NewRtAttr(unix.NFTA_TABLE_NAME, nl.ZeroTerminated(TableName)))
	if errors.Is(err, unix.ENOENT) {
		return "", nil
	}
	if err != nil || len(msgs) == 0 {
		return "", fmt.Errorf("nftables table %s: %w", TableName, orShort(err))
	}
	flags, err := field32(msgs[0], unix.NFTA_TABLE_FLAGS)
	if err != nil {
		return "", err
	}
	use, err := field32(msgs[0], unix.NFTA_TABLE_USE)
	if err != nil {
		return "", err
	}
	var handle []byte
	err = attributes(msgs[0][nl.SizeofNfgenmsg:], func(kind uint16, v []byte) error {
		if kind == nftaTableHandle {
			handle = v
		}
		return nil
	})
	return fmt.Sprintf("%x %d %d", handle, flags, use), err
}

// field32 returns a number of a message.
func field32(m []byte, want uint16) (n uint32, err error) {
	if len(m) < nl.SizeofNfgenmsg {
		return 0, errShort
	}
	found := false
	err = attributes(m[nl.SizeofNfgenmsg:], func(kind uint16, v []byte) error {
		if kind == want && len(v) >= 4 {
			n, found = binary.BigEndian.Uint32(v), true
		}
		return nil
	})
	if err == nil && !found {
		err = errShort
	}
	return n, err
}

func orShort(err error) error {
	if err == nil {
		return errShort
	}
	return err
}
