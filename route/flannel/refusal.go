package flannel

import "fmt"

// A Reason is why a lease of the store is not in force, in the words that are
// counted and shown.
type Reason string

// The reasons.
const (
	BadKey       Reason = "key"           // the key is no subnet
	BadValue     Reason = "value"         // not JSON, wrong types
	Oversize     Reason = "oversize"      // a value of more than MaxValue bytes
	OtherBackend Reason = "backend"       // of another backend than the network's: skipped
	OtherVNI     Reason = "vni"           // its VTEP has another VNI than the network
	BadMAC       Reason = "vtep_mac"      // no MAC, the zero MAC, a multicast MAC
	BadPublicIP  Reason = "public_ip"     // no address that a node can have
	OutsideNet   Reason = "network"       // not within the network
	Overlap      Reason = "overlap"       // shares addresses with an older lease
	OwnSubnet    Reason = "own_subnet"    // claims addresses of our subnet
	OwnPublicIP  Reason = "own_address"   // has our public address
	TooMany      Reason = "too_many"      // more leases than are kept
	OwnChanged   Reason = "own_changed"   // somebody wrote other things to our key
	BadNetwork   Reason = "configuration" // of the network: what stands there is not taken
)

// A Refusal is the error of a lease that is not in force.
type Refusal struct {
	Reason Reason
	Text   string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{reason, fmt.Sprintf(format, args...)}
}
