package ctl

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vtepd/cmd/internal/api"
	"vtepd/encap"
	"vtepd/encap/packet"
)

// A grammar reads what stands behind a verb: arguments by position, then
// words, of which some have a value behind them.
type grammar struct {
	args  []argument
	words []*word
}

// An argument is found by its position.
type argument struct {
	name     string
	optional bool
	values   []string // for completion
	set      func(string) error
}

// A word is found by its name.
type word struct {
	name  string
	value string // what its value is called; empty if it has none
	set   func(string) error
	seen  bool
}

// word returns the word of that name, or nil.
func (g *grammar) word(name string) *word {
	i := slices.IndexFunc(g.words, func(w *word) bool { return w.name == name })
	if i < 0 {
		return nil
	}
	return g.words[i]
}

// parse reads args as a whole.
func (g *grammar) parse(args []string) error {
	for _, a := range g.args {
		if len(args) == 0 || a.optional && g.word(args[0]) != nil {
			if a.optional {
				continue
			}
			return fmt.Errorf("%s is missing", a.name)
		}
		if err := a.set(args[0]); err != nil {
			return err
		}
		args = args[1:]
	}
	for len(args) > 0 {
		rest, err := g.parseWord(args)
		if err != nil {
			return err
		}
		args = rest
	}
	return nil
}

func (g *grammar) parseWord(args []string) (rest []string, err error) {
	w := g.word(args[0])
	if w == nil {
		return nil, fmt.Errorf("what is %q?%s", args[0], g.hint())
	}
	if w.seen {
		return nil, fmt.Errorf("%s stands there twice", w.name)
	}
	w.seen = true
	if w.value == "" {
		return args[1:], w.set("")
	}
	if len(args) < 2 {
		return nil, fmt.Errorf("%s: %s is missing behind it", w.name, w.value)
	}
	if err := w.set(args[1]); err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	return args[2:], nil
}

// hint says which words are still possible.
func (g *grammar) hint() string {
	names := g.expected()
	if names == nil {
		return " Nothing more is expected"
	}
	return " It takes " + strings.Join(names, ", ")
}

// expected returns the words that were not seen, with their values.
func (g *grammar) expected() []string {
	var names []string
	for _, w := range g.words {
		if !w.seen {
			names = append(names, strings.TrimSpace(w.name+" "+w.value))
		}
	}
	return names
}

func (g *grammar) argument(name string, set func(string) error) {
	g.args = append(g.args, argument{name: name, set: set})
}

func (g *grammar) option(name, value string, set func(string) error) {
	g.words = append(g.words, &word{name: name, value: value, set: set})
}

func (g *grammar) flag(name string, set func() error) {
	g.option(name, "", func(string) error { return set() })
}

// ignored takes words that `bridge` and `ip` have and that say nothing here.
func (g *grammar) ignored(names ...string) {
	for _, n := range names {
		g.flag(n, func() error { return nil })
	}
}

func (g *grammar) selector(s *api.Selector) {
	g.option("dev", "DEV", func(v string) error {
		s.Device = v
		return nil
	})
	g.option("segment", "VNI", func(v string) error { return setVNI(&s.Segment, v) })
}

// destination takes the words of a VTEP's place behind its address.
func (g *grammar) destination(port *uint16, vni **uint32) {
	g.option("port", "PORT", func(v string) error {
		n, err := strconv.ParseUint(v, 10, 16)
		switch {
		case err != nil || n == 0:
			return fmt.Errorf("%q is not a port, 1 to 65535", v)
		case *port != 0 && *port != uint16(n):
			return errors.New("there is another port behind the address")
		}
		*port = uint16(n)
		return nil
	})
	g.option("vni", "VNI", func(v string) error { return setVNI(vni, v) })
}

func setVNI(to **uint32, s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > encap.MaxVNI {
		return fmt.Errorf("%q is not a VNI, 0 to %d", s, encap.MaxVNI)
	}
	vni := uint32(n)
	*to = &vni
	return nil
}

func setMAC(to *packet.MAC) func(string) error {
	return func(s string) (err error) {
		*to, err = packet.ParseMAC(s)
		return err
	}
}

func setAddr(to *netip.Addr) func(string) error {
	return func(s string) error {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("%q is not an IP address", s)
		}
		*to = a.Unmap()
		return nil
	}
}

// setDestination takes IP, IPv4:PORT or [IPv6]:PORT.
func setDestination(ip *netip.Addr, port *uint16) func(string) error {
	return func(s string) error {
		if setAddr(ip)(s) == nil {
			return nil
		}
		ap, err := netip.ParseAddrPort(s)
		if err != nil || ap.Port() == 0 || ap.Addr().Zone() != "" {
			return fmt.Errorf("%q is not an IP address, nor IPv4:PORT or [IPv6]:PORT", s)
		}
		if *port != 0 && *port != ap.Port() {
			return errors.New("there is another port")
		}
		*ip, *port = ap.Addr().Unmap(), ap.Port()
		return nil
	}
}
