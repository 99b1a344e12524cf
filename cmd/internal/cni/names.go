package cni

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"vtepd/route/ipam"
)

// hostLink is the name of the host's end of an attachment's veth. It follows
// from the attachment, so that it is found when nothing else is left of it.
func hostLink(network string, o ipam.Owner) string {
	const fits = 15 - len("veth") // IFNAMSIZ
	return "veth" + digest(network, o.ContainerID, o.IfName)[:fits]
}

// linkAlias marks a host's end as ours, for GC. It fits IFALIASZ (256), as the
// name of a network is at most 200 bytes.
func linkAlias(network string) string { return "vtep-cni " + network }

// tableName is that of the nftables table of a network.
func tableName(network string) string { return "vtep-cni-" + digest(network)[:12] }

func digest(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:])
}
