package differential

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An event is one frame that came out, or something else that happened.
type event struct {
	step    int    // from 1
	sent    []byte // the inner frame of the step
	dev     []byte // out of the device
	packet  *packet
	refused bool
	aged    string // a station whose entry aged when it should not
}

// An outcome is what became of a sequence.
type outcome struct {
	steps  []string
	events []event
	fdb    []string
	v6     bool
}

// split cuts a sequence into steps.
func split(text string) (steps []string) {
	for _, s := range strings.FieldsFunc(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if s = strings.TrimSpace(s); s != "" {
			steps = append(steps, s)
		}
	}
	return steps
}

// play plays a sequence and returns what became of it. It leaves the FDB as it
// was before.
func (n *lane) play(text string) (*outcome, error) {
	o := &outcome{steps: split(text), v6: n.v6}
	for i, s := range o.steps {
		events, err := n.step(s, byte(i+1))
		if err != nil {
			return nil, fmt.Errorf("%s: step %d (%s): %w", n.name, i+1, s, err)
		}
		for _, e := range events {
			e.step = i + 1
			o.events = append(o.events, e)
		}
	}
	all, err := n.entries()
	if err != nil {
		return nil, err
	}
	o.fdb = n.news(all)
	return o, n.clear(all)
}

// step plays one step and returns what came of it.
func (n *lane) step(text string, mark byte) ([]event, error) {
	if rest, ok := strings.CutPrefix(text, "until gone "); ok {
		name, repeat, _ := strings.Cut(rest, ":")
		return n.untilGone(name, repeat, mark)
	}
	words := strings.Fields(text)
	switch words[0] {
	case "pass":
		d, err := time.ParseDuration(words[1])
		time.Sleep(d)
		return nil, err
	case "forge":
		return nil, n.forge(words[1])
	case "fdb":
		refused, err := n.change(words[1:])
		if refused {
			return []event{{refused: true}}, err
		}
		return nil, err
	}
	return n.send(words, mark)
}

// send sends the frame of a step and returns what came out before the barrier
// behind it.
func (n *lane) send(words []string, mark byte) ([]event, error) {
	var inside, outside []string
	for _, w := range words[1:] {
		if strings.HasPrefix(w, "o.") {
			outside = append(outside, w)
		} else {
			inside = append(inside, w)
		}
	}
	f, err := parseInner(inside, full(n.v6))
	if err != nil {
		return nil, err
	}
	frame, err := f.build(mark)
	if err != nil {
		return nil, err
	}
	if words[0] == "dev:" {
		err = n.device.Send(frame)
	} else {
		err = n.sendOuter(strings.TrimSuffix(words[0], ":"), outside, frame)
	}
	var out []event
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		out = append(out, event{refused: true})
	case err != nil:
		return nil, err
	}
	came, err := n.collect(frame)
	return append(out, came...), err
}

func (n *lane) sendOuter(from string, words []string, frame []byte) error {
	var number int
	if _, err := fmt.Sscan(from, &number); err != nil {
		return fmt.Errorf("%q is no VTEP: %w", from, err)
	}
	o := newOuter(number, n.v6)
	for _, w := range words {
		if err := o.word(w); err != nil {
			return fmt.Errorf("%q: %w", w, err)
		}
	}
	b, err := o.build(frame)
	if err != nil {
		return err
	}
	return n.wire.Send(b)
}

// collect returns what came out since the last barrier. Copies of a flooded
// frame have no order among them.
func (n *lane) collect(sent []byte) (out []event, err error) {
	wire, device, err := n.barrier()
	if err != nil {
		return nil, err
	}
	for _, b := range device {
		out = append(out, event{sent: sent, dev: b})
	}
	for _, b := range wire {
		p, err := parsePacket(b)
		if errors.Is(err, errNotOurs) {
			continue
		}
		if err != nil {
			return nil, err
		}
		n.sport = p.sport
		out = append(out, event{sent: sent, packet: p})
	}
	slices.SortStableFunc(out, func(a, b event) int { return strings.Compare(a.place(), b.place()) })
	return out, nil
}

// place sorts events: the device first, then VTEPs.
func (e *event) place() string {
	if e.packet == nil {
		return ""
	}
	return fmt.Sprintf("%s %d %s %s", e.packet.to, e.packet.port, e.packet.header, e.packet.fragment)
}

// untilGone waits until a station's entry has aged, and plays steps in turn
// meanwhile, one a look. While steps are played nothing else may age: what did
// is an event. It looks before each step, so that an entry that aged and was
// made anew by the step is seen to have been gone; two steps that refresh two
// stations leave no moment that nobody looks at.
func (n *lane) untilGone(name, text string, mark byte) (out []event, err error) {
	mac, err := station(name)
	if err != nil {
		return nil, err
	}
	var steps []string
	if text = strings.TrimSpace(text); text != "" {
		steps = strings.Split(text, "+")
	}
	seen := map[string]bool{}
	// The kernel looks for aged entries every ten seconds.
	for i, end := 0, time.Now().Add(45*time.Second); time.Now().Before(end); i++ {
		all, err := n.entries()
		if err != nil {
			return nil, err
		}
		there := map[string]bool{}
		for _, e := range all {
			there[e.MAC], seen[e.MAC] = true, true
		}
		for m := range seen {
			if len(steps) > 0 && m != mac.String() && !there[m] {
				return append(out, event{aged: stationName(m)}), nil
			}
		}
		if !there[mac.String()] {
			return out, nil
		}
		if len(steps) > 0 {
			if _, err := n.step(strings.TrimSpace(steps[i%len(steps)]), mark); err != nil {
				return nil, err
			}
		}
		time.Sleep(time.Second / time.Duration(max(1, len(steps))))
	}
	return nil, fmt.Errorf("%s does not age", name)
}
