package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A place is a table of somebody else.
type place struct {
	family nftables.TableFamily
	table  string
}

func (p place) String() string { return familyName(p.family) + " " + p.table }

// An insertion is what we have, or should have, in a place.
type insertion struct {
	place
	chain bool       // ours is there
	rules []readRule // of our chain
	jumps []readRule // to it
	bases []base     // that should have a jump
}

// keepForward looks for what would drop forwarded packets and, if that is
// wanted, lets them through there.
func (r *Rules) keepForward(f Forward, s *Status, rep *Report) {
	for range 2 { // what was written is looked at again
		read := r.timed()
		chains, rules, err := readTables()
		read()
		if absent(err) {
			return
		}
		if err != nil {
			s.Errors = append(s.Errors, err)
			return
		}
		s.Forward = nil
		places := insertions(chains, rules)
		for _, b := range bases(chains, rules) {
			why := b.drops()
			if why == "" || !f.concerns(b.chain.Table.Family) {
				continue
			}
			s.Forward = append(s.Forward, f.finding(&b, why))
			if f.Insert {
				p := place{b.chain.Table.Family, b.chain.Table.Name}
				if places[p] == nil {
					places[p] = &insertion{place: p}
				}
				places[p].bases = append(places[p].bases, b)
			}
		}
		if !r.insert(f, places, s, rep) {
			return
		}
	}
}

// readTables reads the chains and rules of all tables.
func readTables() ([]*nftables.Chain, []readRule, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, nil, fmt.Errorf("nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, nil, fmt.Errorf("nftables chains: %w", err)
	}
	rules, err := readRules("", 0)
	return chains, rules, err
}

// insertions returns what we have in tables of others.
func insertions(chains []*nftables.Chain, rules []readRule) map[place]*insertion {
	out := make(map[place]*insertion)
	for _, c := range chains {
		p := place{c.Table.Family, c.Table.Name}
		if c.Name == chainName && routing(p.family) && !isOurs(c.Table) {
			out[p] = &insertion{place: p, chain: true}
		}
	}
	for i := range rules {
		r := &rules[i]
		in := out[place{nftables.TableFamily(r.family), r.table}]
		switch {
		case in == nil:
		case r.chain == chainName:
			in.rules = append(in.rules, *r)
		case r.target == chainName && r.comment == Mark:
			in.jumps = append(in.jumps, *r)
		}
	}
	return out
}

// print is what tells an insertion from one that somebody changed.
func (i *insertion) print(f *Forward) string {
	var b strings.Builder
	fmt.Fprint(&b, f.Networks, f.Devices)
	for _, r := range i.rules {
		fmt.Fprint(&b, " ", r.handle)
	}
	for _, r := range i.jumps {
		fmt.Fprint(&b, " ", r.chain, " ", r.handle)
	}
	return b.String()
}

// complete reports whether every base chain has one jump.
func (i *insertion) complete() bool {
	if !i.chain || len(i.jumps) != len(i.bases) {
		return false
	}
	at := make(map[string]bool)
	for _, j := range i.jumps {
		at[j.chain] = true
	}
	for _, b := range i.bases {
		if !at[b.chain.Name] {
			return false
		}
	}
	return true
}

// insert makes what we have in tables of others what it should be. It reports
// whether it wrote anything.
func (r *Rules) insert(f Forward, places map[place]*insertion, s *Status, rep *Report) (wrote bool) {
	for p := range r.inserted {
		if places[p] == nil {
			delete(r.inserted, p) // the table went, and ours with it
		}
	}
	for p, i := range places {
		if len(i.bases) > 0 && i.complete() {
			if before := r.inserted[p]; before == i.print(&f) {
				continue
			} else if before == justWritten {
				r.inserted[p] = i.print(&f)
				continue
			}
		}
		if err := i.write(&f); err != nil {
			delete(r.inserted, p)
			s.Errors = append(s.Errors, fmt.Errorf("forward: table %v not changed: %w", p, err))
			continue
		}
		wrote = true
		if len(i.bases) == 0 {
			delete(r.inserted, p)
			rep.Done = append(rep.Done, fmt.Sprintf("the rule %q was removed from table %v", Mark, p))
			continue
		}
		r.inserted[p] = justWritten
		rep.Done = append(rep.Done, fmt.Sprintf("a rule %q was inserted in table %v", Mark, p))
	}
	return wrote
}

// justWritten stands for the print of what was written and not looked at yet.
const justWritten = "just written"

// write replaces what we have in a place, in one transaction.
func (i *insertion) write(f *Forward) error {
	c, err := connect()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	t := &nftables.Table{Name: i.table, Family: i.family}
	ours := &nftables.Chain{Name: chainName, Table: t}
	for _, j := range i.jumps {
		if err := c.DelRule(&nftables.Rule{Table: t, Chain: &nftables.Chain{Name: j.chain, Table: t}, Handle: j.handle}); err != nil {
			return err
		}
	}
	if i.chain {
		c.FlushChain(ours)
	}
	if len(i.bases) == 0 {
		c.DelChain(ours)
		return c.Flush()
	}
	c.AddChain(ours)
	for _, m := range f.matches(i.family) {
		c.AddRule(&nftables.Rule{Table: t, Chain: ours, UserData: comment(Mark),
			Exprs: append(m, &expr.Counter{}, verdict(expr.VerdictAccept, ""))})
	}
	for _, b := range i.bases {
		c.InsertRule(&nftables.Rule{Table: t, Chain: b.chain, UserData: comment(Mark),
			Exprs: []expr.Any{&expr.Counter{}, verdict(expr.VerdictJump, chainName)}})
	}
	return c.Flush()
}
