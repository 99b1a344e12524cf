package route

// A Source says who an entry is from. The set is open: a table takes any
// value, and one without a name here is a control plane that ranks last.
type Source uint8

// The sources.
const (
	Config   Source = iota // the configuration
	Operator               // what was done at run time
	Flannel
	EVPN
	Kube
	// Here is this host: its entries say what is on our own ports, so nothing
	// is sent to a VTEP for them. A [Local] makes them; the table keeps them
	// from those who ask what is elsewhere.
	Here
)

// String returns the source's name as `vtepctl` prints it.
func (s Source) String() string {
	names := [...]string{"config", "operator", "flannel", "evpn", "kube", "here"}
	if int(s) < len(names) {
		return names[s]
	}
	return "?"
}

// plane reports whether s is a control plane: it speaks for other hosts, and
// people and this host's ports hold against it.
func (s Source) plane() bool { return s != Config && s != Operator && s != Here }

// ranks is the total order of sources, the better one lower: what an operator
// does holds against the file, both against what is on our ports, and these
// against control planes, which come in the given order and then by number.
type ranks [256]uint16

func newRanks(planes []Source) *ranks {
	r := new(ranks)
	for s := range r {
		r[s] = uint16(len(r) + s)
	}
	for i, s := range planes {
		r[s] = uint16(3 + i)
	}
	r[Operator], r[Config], r[Here] = 0, 1, 2
	return r
}
