package tunnelgso

import (
	"fmt"

	"github.com/safchain/ethtool"
)

// cutting is what ethtool calls it that an interface cuts tunnel super-frames
// with an outer checksum (NETIF_F_GSO_UDP_TUNNEL_CSUM).
const cutting = "tx-udp_tnl-csum-segmentation"

// Cuts reports whether an interface cuts tunnel super-frames itself, or carries
// them whole. Where it does not the kernel cuts them for it.
func Cuts(device string) (bool, error) {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return false, fmt.Errorf("ethtool: %w", err)
	}
	defer e.Close()
	features, err := e.Features(device)
	if err != nil {
		return false, fmt.Errorf("ethtool: features of %s: %w", device, err)
	}
	return features[cutting], nil
}
