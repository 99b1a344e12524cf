package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Forward is what the host must forward. The zero value is nothing.
type Forward struct {
	// Insert lets a marked rule be inserted where packets would be dropped.
	Insert bool
	// Networks are those whose packets, from and to them, are to pass.
	Networks []netip.Prefix
	// Devices are those where all packets, in and out, are to pass.
	Devices []string
}

func (f *Forward) empty() bool { return len(f.Networks) == 0 && len(f.Devices) == 0 }

// concerns reports whether packets of a family (of nftables) are forwarded.
func (f *Forward) concerns(family nftables.TableFamily) bool {
	return len(f.matches(family)) > 0
}

// matches are what marks packets that are to pass, for a table of a family.
func (f *Forward) matches(table nftables.TableFamily) (out [][]expr.Any) {
	for _, n := range f.Networks {
		var v []expr.Any
		switch {
		case table == nftables.TableFamilyINet:
			v = family(n.Addr())
		case (table == nftables.TableFamilyIPv4) != n.Addr().Is4():
			continue
		}
		out = append(out, slices.Concat(v, in(source, n, false)), slices.Concat(v, in(destination, n, false)))
	}
	for _, d := range f.Devices {
		out = append(out, device(d, false), device(d, true))
	}
	return out
}

// options are the same in the words of iptables.
func (f *Forward) options(v6 bool) (out []string) {
	for _, n := range f.Networks {
		if n.Addr().Is6() == v6 {
			out = append(out, "-s "+n.String(), "-d "+n.String())
		}
	}
	for _, d := range f.Devices {
		out = append(out, "-i "+d, "-o "+d)
	}
	return out
}

// words are the same in the words of nft.
func (f *Forward) words(table nftables.TableFamily) (out []string) {
	for _, n := range f.Networks {
		switch {
		case n.Addr().Is4() && table != nftables.TableFamilyIPv6:
			out = append(out, "ip saddr "+n.String(), "ip daddr "+n.String())
		case n.Addr().Is6() && table != nftables.TableFamilyIPv4:
			out = append(out, "ip6 saddr "+n.String(), "ip6 daddr "+n.String())
		}
	}
	for _, d := range f.Devices {
		out = append(out, "iifname "+d, "oifname "+d)
	}
	return out
}

// A Finding is a chain of somebody else that drops what is forwarded.
type Finding struct {
	// Where is the chain, as `table ip filter, chain FORWARD`.
	Where string
	// Why says how it drops.
	Why string
	// Passes says that a marked rule there lets our packets through, ours
	// (Inserted) or an operator's.
	Passes, Inserted bool
	// Command is what an operator can run to let them through.
	Command string
}

// String says it in a sentence that tells what to do.
func (f *Finding) String() string {
	return fmt.Sprintf("forwarded packets are dropped: %s %s; let ours pass with `forward: insert`, or run: %s", f.Where, f.Why, f.Command)
}

// A base is a chain at the forward hook that is not ours.
type base struct {
	chain *nftables.Chain
	rules []readRule
}

// drops says how the chain drops whatever no rule decides on, empty if it does
// not. Chains that its rules jump to are not followed.
func (b *base) drops() string {
	for i := range b.rules {
		r := &b.rules[i]
		if !r.unconditional() {
			continue
		}
		if r.hasVerdict && r.verdict == int32(expr.VerdictAccept) {
			return ""
		}
		if slices.Contains(r.names, "reject") || r.hasVerdict && r.verdict == int32(expr.VerdictDrop) {
			return "has a rule that drops everything"
		}
	}
	if p := b.chain.Policy; p != nil && *p == nftables.ChainPolicyDrop {
		return "drops by policy"
	}
	return ""
}

// unconditional reports whether a rule is for every packet and ends its way.
func (r *readRule) unconditional() bool {
	for _, n := range r.names {
		if !slices.Contains([]string{"counter", "log", "immediate", "reject"}, n) {
			return false
		}
	}
	return slices.Contains(r.names, "reject") || r.hasVerdict && (r.verdict == int32(expr.VerdictAccept) || r.verdict == int32(expr.VerdictDrop))
}

// finding describes a base chain that drops.
func (f *Forward) finding(b *base, why string) Finding {
	t := b.chain.Table
	out := Finding{Where: fmt.Sprintf("table %s %s, chain %s", familyName(t.Family), t.Name, b.chain.Name), Why: why}
	for i := range b.rules {
		if b.rules[i].comment == Mark {
			out.Passes = true
			out.Inserted = out.Inserted || b.rules[i].target == chainName
		}
	}
	var commands []string
	if tool := iptables(b.chain); tool != "" {
		for _, o := range f.options(t.Family == nftables.TableFamilyIPv6) {
			commands = append(commands, iptablesCommand(tool, o))
		}
	} else {
		for _, w := range f.words(t.Family) {
			commands = append(commands, fmt.Sprintf("nft 'insert rule %s %s %s %s accept comment \"%s\"'", familyName(t.Family), t.Name, b.chain.Name, w, Mark))
		}
	}
	out.Command = strings.Join(commands, "; ")
	return out
}

func iptablesCommand(tool, option string) string {
	return fmt.Sprintf("%s -I FORWARD %s -m comment --comment %q -j ACCEPT", tool, option, Mark)
}

// iptables is the command that a chain belongs to, if it is iptables'.
func iptables(c *nftables.Chain) string {
	switch {
	case c.Table.Name != "filter" || c.Name != "FORWARD":
		return ""
	case c.Table.Family == nftables.TableFamilyIPv4:
		return "iptables"
	case c.Table.Family == nftables.TableFamilyIPv6:
		return "ip6tables"
	}
	return ""
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return "inet"
}

// bases returns the chains at the forward hook, with their rules.
func bases(chains []*nftables.Chain, rules []readRule) (out []base) {
	for _, c := range chains {
		if c.Hooknum == nil || *c.Hooknum != *nftables.ChainHookForward || c.Type != nftables.ChainTypeFilter || !routing(c.Table.Family) {
			continue
		}
		if isOurs(c.Table) {
			continue
		}
		b := base{chain: c}
		for i := range rules {
			if r := &rules[i]; r.family == byte(c.Table.Family) && r.table == c.Table.Name && r.chain == c.Name {
				b.rules = append(b.rules, *r)
			}
		}
		out = append(out, b)
	}
	return out
}

// isOurs reports whether a table is our own.
func isOurs(t *nftables.Table) bool {
	return t.Name == TableName && t.Family == nftables.TableFamilyINet
}

// routing reports whether a family has packets that the host routes.
func routing(f nftables.TableFamily) bool {
	return f == unix.NFPROTO_IPV4 || f == unix.NFPROTO_IPV6 || f == unix.NFPROTO_INET
}
