package bypass

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A ruleset is the nftables chains that see what the host sends and receives,
// and those that they jump to.
type ruleset struct {
	out    []*chain
	in     []*chain
	chains map[string]*chain // by family, table and name
}

type chain struct {
	base  *nftables.Chain
	rules [][]any // expressions, what is not decoded included
}

func chainKey(t *nftables.Table, name string) string {
	return fmt.Sprintf("%d/%s/%s", t.Family, t.Name, name)
}

// read reads the chains and their rules.
func (r *ruleset) read() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := c.ListChains()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // a kernel without nftables
	}
	if err != nil {
		return err
	}
	names, err := expressionNames()
	if err != nil {
		return err
	}
	r.chains = make(map[string]*chain)
	for _, base := range chains {
		switch base.Table.Family {
		case nftables.TableFamilyIPv4, nftables.TableFamilyIPv6, nftables.TableFamilyINet, nftables.TableFamilyNetdev:
		default:
			continue
		}
		rules, err := c.GetRules(base.Table, base)
		if err != nil && !errors.Is(err, unix.ENOENT) { // it may have gone meanwhile
			return err
		}
		ch := &chain{base: base}
		for _, rule := range rules {
			id := ruleID{byte(base.Table.Family), base.Table.Name, rule.Handle}
			ch.rules = append(ch.rules, complete(rule.Exprs, names[id]))
		}
		r.chains[chainKey(base.Table, base.Name)] = ch
		r.hooked(ch)
	}
	return nil
}

// hooked notes which datagrams a chain sees by itself. Those of family netdev
// count whatever their device, which may be several.
func (r *ruleset) hooked(c *chain) {
	h := c.base.Hooknum
	if h == nil {
		return
	}
	in := []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput, nftables.ChainHookRef(inetIngress)}
	out := []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}
	if c.base.Table.Family == nftables.TableFamilyNetdev {
		// What is redirected at another device's tcx hook skips the egress hook
		// (net/core/dev.c, nf_skip_egress).
		in, out = []*nftables.ChainHook{nftables.ChainHookIngress}, []*nftables.ChainHook{nftables.ChainHookEgress}
	}
	same := func(o *nftables.ChainHook) bool { return *o == *h }
	if slices.ContainsFunc(in, same) {
		r.in = append(r.in, c)
	}
	if slices.ContainsFunc(out, same) {
		r.out = append(r.out, c)
	}
}

// inetIngress is NF_INET_INGRESS (include/uapi/linux/netfilter.h): what the
// library has of it is for the family netdev.
const inetIngress = 5

// reason says which chain would treat the flow, "" if none does.
func (r *ruleset) reason(f Flow) string {
	bases := r.out
	if f.In {
		bases = r.in
	}
	for _, c := range bases {
		family := c.base.Table.Family
		if family == nftables.TableFamilyIPv4 && f.Dst.Is6() || family == nftables.TableFamilyIPv6 && f.Dst.Is4() {
			continue
		}
		if p := c.base.Policy; p != nil && *p == nftables.ChainPolicyDrop {
			return fmt.Sprintf("nftables chain %s of table %s drops by policy", c.base.Name, c.base.Table.Name)
		}
		if r.treats(c, f, maxJumps) {
			return fmt.Sprintf("nftables chain %s of table %s has a rule that may be for %s", c.base.Name, c.base.Table.Name, f.words())
		}
	}
	return ""
}

// maxJumps bounds how deep chains are followed; the kernel allows 16.
const maxJumps = 16

// treats reports whether a rule of c may do something to the flow.
func (r *ruleset) treats(c *chain, f Flow, depth int) bool {
	if c == nil || depth == 0 {
		return true
	}
	for _, rule := range c.rules {
		if r.ruleTreats(c.base.Table, rule, f, depth) {
			return true
		}
	}
	return false
}

// ruleTreats reports whether a rule may match the flow and would then do more
// than count or log it.
func (r *ruleset) ruleTreats(table *nftables.Table, rule []any, f Flow, depth int) bool {
	m := matcher{flow: f}
	acts := false
	for _, e := range rule {
		if m.misses(e) {
			return false
		}
		switch e := e.(type) {
		case *expr.Verdict:
			switch e.Kind {
			case expr.VerdictAccept, expr.VerdictContinue, expr.VerdictReturn:
			case expr.VerdictJump, expr.VerdictGoto:
				acts = acts || r.treats(r.chains[chainKey(table, e.Chain)], f, depth-1)
			default:
				acts = true
			}
		case *expr.Meta:
			acts = acts || e.SourceRegister // sets the mark, a priority …
		case *expr.Payload:
			acts = acts || e.OperationType == expr.PayloadWrite
		case *expr.Ct:
			acts = acts || e.SourceRegister
		case *expr.Lookup:
			acts = acts || e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT // a verdict map
		case *expr.Exthdr:
			acts = acts || e.SourceRegister != 0 // writes an option
		case unread:
			acts = acts || !e.harmless()
		case *expr.Counter, *expr.Log, *expr.Cmp, *expr.Bitwise, *expr.Range, *expr.Limit, *expr.Fib, *expr.Match,
			*expr.Immediate, *expr.Connlimit, *expr.Quota:
			// It only looks.
		default:
			acts = true
		}
	}
	return acts
}
