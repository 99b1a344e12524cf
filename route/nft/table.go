package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// buffer is the size of socket buffers in bytes: a transaction is one message,
// and the kernel answers to each of its parts before we read.
const buffer = 64 << 20

// connect opens a socket for changes.
func connect() (*nftables.Conn, error) {
	return nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(buffer), c.SetReadBuffer(buffer))
	}))
}

// keepTable writes our table if it is not what it should be.
func (r *Rules) keepTable(w *wish, s *Status, rep *Report) error {
	read := r.timed()
	now, err := fingerprint()
	read()
	if absent(err) && len(w.contributions) == 0 {
		return nil // a kernel without nftables
	}
	if err != nil {
		return err
	}
	same := r.written != nil && sameContributions(r.written, w)
	if same && now == r.print {
		return nil
	}
	if len(w.contributions) == 0 && now == "" {
		r.written, r.print = w, ""
		return nil
	}
	if err := r.writeTable(w); err != nil {
		r.written = nil
		return err
	}
	s.Written++
	switch {
	case len(w.contributions) == 0:
		rep.Done = append(rep.Done, "the nftables table "+TableName+" was removed")
	case same:
		s.Restored++
		rep.Done = append(rep.Done, "somebody had changed the nftables table "+TableName+": it was written again")
	default:
		rep.Done = append(rep.Done, "the nftables table "+TableName+" was written: "+strings.Join(s.Contributions, ", "))
	}
	return nil
}

// sameContributions reports whether a and b want the same table: contributions
// are replaced, never changed.
func sameContributions(a, b *wish) bool {
	if len(a.contributions) != len(b.contributions) {
		return false
	}
	for name, c := range a.contributions {
		o, ok := b.contributions[name]
		if !ok || len(o.Chains) != len(c.Chains) || &o.Chains[0] != &c.Chains[0] {
			return false
		}
	}
	return true
}

// attempts is how often the table is written again because somebody else's
// transaction came between writing and looking.
const attempts = 5

// writeTable replaces our table, and notes what it looks like then. What it
// looks like counts only if no other transaction came between.
func (r *Rules) writeTable(w *wish) error {
	for range attempts {
		before, err := generation()
		if err != nil {
			return err
		}
		c, err := connect()
		if err != nil {
			return fmt.Errorf("nftables: %w", err)
		}
		write(c, w.contributions)
		if err := c.Flush(); err != nil {
			return fmt.Errorf("nftables table %s not written: %w", TableName, err)
		}
		print, err := fingerprint()
		if err != nil {
			return err
		}
		after, err := generation()
		if err != nil {
			return err
		}
		r.written, r.print = w, print
		if after == before+1 {
			return nil
		}
	}
	return nil // it was written; the next look tells whether it stays
}

// fingerprint is what tells our table from all others that there were, empty
// when it is not there. Rules are never changed in the kernel, only replaced by
// others with other handles, and a table that is made anew has another handle,
// so that counters and the rules' contents need not be compared.
func fingerprint() (string, error) {
	id, err := tableID()
	if err != nil || id == "" {
		return "", err
	}
	c, err := nftables.New()
	if err != nil {
		return "", fmt.Errorf("nftables: %w", err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return "", fmt.Errorf("nftables chains: %w", err)
	}
	rules, err := readRules(TableName, unix.NFPROTO_INET)
	if err != nil {
		return "", err
	}
	var lines []string
	for _, ch := range chains {
		if ch.Table.Name != TableName {
			continue
		}
		line := fmt.Sprint("chain ", ch.Name, " ", ch.Type)
		if ch.Hooknum != nil && ch.Priority != nil && ch.Policy != nil {
			line += fmt.Sprint(" ", *ch.Hooknum, " ", *ch.Priority, " ", *ch.Policy)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines) // chains have no order, rules have
	var b strings.Builder
	fmt.Fprintln(&b, id)
	for _, l := range lines {
		fmt.Fprintln(&b, l)
	}
	for i := range rules {
		fmt.Fprintln(&b, rules[i].chain, rules[i].handle)
	}
	return b.String(), nil
}

// absent reports whether an error says that the kernel has no nftables.
func absent(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL)
}
