package differential

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// An entry is one of `bridge -j fdb show` and of `vtepctl -j fdb show`.
type entry struct {
	MAC   string `json:"mac"`
	Dst   string `json:"dst"`
	Port  int    `json:"port"`
	VNI   int    `json:"vni"`
	State string `json:"state"`
}

// words are the entry as sequences write it: b@2, b@3 static port=4790.
func (e *entry) words() string {
	w := stationName(e.MAC) + "@" + e.Dst
	if a, err := netip.ParseAddr(e.Dst); err == nil {
		w = stationName(e.MAC) + "@" + vtepName(a)
	}
	if e.State != "" && e.State != "dynamic" {
		w += " " + e.State
	}
	if e.Port != 0 && e.Port != vxlanPort {
		w += fmt.Sprintf(" port=%d", e.Port)
	}
	if e.VNI != 0 && e.VNI != ourVNI {
		w += fmt.Sprintf(" vni=%d", e.VNI)
	}
	return w
}

// entries returns the FDB without the barrier's.
func (n *lane) entries() ([]entry, error) {
	out, err := n.command("-j", "fdb", "show", "dev", "vx42")
	if err != nil {
		return nil, err
	}
	var all []entry
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, fmt.Errorf("%w in %s", err, out)
	}
	return slices.DeleteFunc(all, func(e entry) bool { return stationName(e.MAC) == "z" }), nil
}

// news returns the entries that were not there at the start, in words, sorted;
// and with a minus what was there and is no more.
func (n *lane) news(all []entry) (out []string) {
	var now []string
	for _, e := range all {
		now = append(now, e.words())
	}
	for _, w := range now {
		if !slices.Contains(n.base, w) {
			out = append(out, w)
		}
	}
	for _, w := range n.base {
		if !slices.Contains(now, w) {
			out = append(out, "-"+w)
		}
	}
	slices.Sort(out)
	return out
}

// clear makes the FDB what it was at the start. all is what is in it.
func (n *lane) clear(all []entry) error {
	if len(n.news(all)) == 0 {
		return nil
	}
	if err := n.flush(all); err != nil {
		return err
	}
	left, err := n.entries()
	if news := n.news(left); err == nil && len(news) > 0 {
		err = fmt.Errorf("%s: the FDB cannot be made what it was: %v", n.name, news)
	}
	return err
}

func (n *lane) flush(all []entry) error {
	if n.daemon != nil {
		_, err := n.command("fdb", "flush", "all")
		return err
	}
	for _, e := range all {
		if slices.Contains(n.base, e.words()) {
			continue
		}
		args := []string{"fdb", "del", e.MAC, "dev", "vx42", "dst", e.Dst}
		if e.Port != 0 {
			args = append(args, "port", strconv.Itoa(e.Port))
		}
		if e.VNI != 0 {
			args = append(args, "vni", strconv.Itoa(e.VNI))
		}
		if _, err := n.command(args...); err != nil {
			return err
		}
	}
	return nil
}

// change carries out "add b@2 static port=4790". It reports whether the
// subject refused.
func (n *lane) change(words []string) (refused bool, err error) {
	if len(words) < 2 {
		return false, fmt.Errorf("%v is no change of the FDB", words)
	}
	name, to, _ := strings.Cut(words[1], "@")
	mac, err := station(name)
	if err != nil {
		return false, err
	}
	args := []string{"fdb", words[0], mac.String(), "dev", "vx42"}
	if to != "" {
		args = append(args, "dst", dst(to, n.v6))
	}
	for _, w := range words[2:] {
		args = append(args, strings.Split(w, "=")...)
	}
	_, err = n.command(args...)
	if exit := new(exec.ExitError); err == nil || errors.As(err, &exit) {
		return err != nil, nil
	}
	return false, err
}

// dst is the outer address of a VTEP by its number, with :PORT if one follows.
func dst(word string, v6 bool) string {
	number, port, _ := strings.Cut(word, ":")
	i, err := strconv.Atoi(number)
	if err != nil {
		panic(fmt.Sprintf("%q is no VTEP", word)) // a mistake in a table
	}
	a := vtep(i, v6).String()
	if port != "" {
		a = net.JoinHostPort(a, port)
	}
	return a
}

// splitPort turns ADDR:PORT into what `bridge fdb` wants.
func splitPort(s string) (addr, port string, err error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, "", nil
	}
	addr, port, err = net.SplitHostPort(s)
	return addr, "port " + port, err
}
