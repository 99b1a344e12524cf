package ipam

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// An Owner is one interface of one container.
type Owner struct {
	ContainerID string
	IfName      string
}

// String names the owner in messages.
func (o Owner) String() string { return o.ContainerID + " " + o.IfName }

// maxEntry is the most bytes an address file has; a container id is a hash or
// a name, an interface's name has at most 15 bytes.
const maxEntry = 1024

// nameForm is what the CNI specification allows as a network's name and as a
// container id. It cannot leave a folder and does not begin with a dot.
func nameForm() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`) }

// check refuses what cannot be written into a file and read again.
func (o Owner) check() error {
	switch {
	case !nameForm().MatchString(o.ContainerID):
		return fmt.Errorf("container id %.80q is not letters, digits, '_', '.' and '-'", o.ContainerID)
	case o.IfName == "" || len(o.IfName) > 15 || strings.ContainsAny(o.IfName, "/: \t\n\v\f\r\x00"):
		return fmt.Errorf("%.80q is not the name of an interface", o.IfName)
	case len(o.encode()) > maxEntry:
		return fmt.Errorf("a container id of %d bytes is too long", len(o.ContainerID))
	}
	return nil
}

// encode is the content of an address file: the container id and the
// interface, a line each.
func (o Owner) encode() []byte { return []byte(o.ContainerID + "\n" + o.IfName + "\n") }

// parseOwner reads what encode wrote. A file that a crash or a stranger left
// there is an error.
func parseOwner(text string) (Owner, error) {
	id, rest, ok := strings.Cut(text, "\n")
	name, after, ok2 := strings.Cut(rest, "\n")
	o := Owner{id, name}
	if !ok || !ok2 || after != "" || o.check() != nil {
		return Owner{}, errors.New("does not hold a container id and an interface")
	}
	return o, nil
}
