package nft

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
)

// A Contribution is the rules of one concern. It is not changed any more once
// it was given away.
type Contribution struct {
	Chains []Chain
}

// A Chain of a contribution. In the table its name is that of the contribution,
// a dash, and its own.
type Chain struct {
	Name string
	// Base says where packets come from; without it others jump here.
	Base  *Base
	Rules []Rule
}

// A Base binds a chain to a hook. What no rule decides on is accepted: a chain
// of ours that drops by policy would be what we complain about in others.
type Base struct {
	Type     nftables.ChainType
	Hook     nftables.ChainHook
	Priority nftables.ChainPriority
}

// A Rule is its expressions, in the order of their evaluation. A jump is to a
// chain of the same contribution, by its own name.
type Rule struct {
	Exprs   []expr.Any
	Comment string // at most 128 bytes
}

// maxComment is the kernel's and nft's limit for comments.
const maxComment = 128

// check finds what would make the kernel refuse all contributions because of
// one.
func (c *Contribution) check() error {
	names := make(map[string]bool)
	for i := range c.Chains {
		if name := c.Chains[i].Name; name == "" || names[name] {
			return fmt.Errorf("chain %q without a name or twice", name)
		}
		names[c.Chains[i].Name] = true
	}
	for i := range c.Chains {
		for _, r := range c.Chains[i].Rules {
			if len(r.Comment) > maxComment {
				return fmt.Errorf("chain %s: comment of %d bytes", c.Chains[i].Name, len(r.Comment))
			}
			for _, e := range r.Exprs {
				if v, ok := e.(*expr.Verdict); ok && v.Chain != "" && !names[v.Chain] {
					return fmt.Errorf("chain %s: a jump to %q, which is not there", c.Chains[i].Name, v.Chain)
				}
			}
		}
	}
	return nil
}

// table is our table as the nftables package has it.
func table() *nftables.Table {
	return &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
}

// write puts into c what makes the kernel's table the given contributions: the
// old one goes and the new one comes, in one transaction.
func write(c *nftables.Conn, all map[string]Contribution) {
	t := table()
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	if len(all) == 0 {
		return
	}
	c.AddTable(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		writeContribution(c, t, name, all[name])
	}
}

func writeContribution(c *nftables.Conn, t *nftables.Table, name string, con Contribution) {
	chains := make([]*nftables.Chain, len(con.Chains))
	for i, ch := range con.Chains { // all of them first, for jumps
		chains[i] = &nftables.Chain{Name: name + "-" + ch.Name, Table: t}
		if b := ch.Base; b != nil {
			accept := nftables.ChainPolicyAccept
			chains[i].Type, chains[i].Hooknum, chains[i].Priority, chains[i].Policy = b.Type, &b.Hook, &b.Priority, &accept
		}
		c.AddChain(chains[i])
	}
	for i, ch := range con.Chains {
		for _, r := range ch.Rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: chains[i], Exprs: qualified(r.Exprs, name), UserData: comment(r.Comment)})
		}
	}
}

// qualified gives jumps the names that chains have in the table.
func qualified(exprs []expr.Any, name string) []expr.Any {
	out := slices.Clone(exprs)
	for i, e := range out {
		if v, ok := e.(*expr.Verdict); ok && v.Chain != "" {
			out[i] = &expr.Verdict{Kind: v.Kind, Chain: name + "-" + v.Chain}
		}
	}
	return out
}

// comment is what nft shows as a rule's comment: a string of C.
func comment(s string) []byte {
	if s == "" {
		return nil
	}
	return userdata.AppendString(nil, userdata.TypeComment, s)
}
