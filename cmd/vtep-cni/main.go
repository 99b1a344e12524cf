// Command vtep-cni is the network plugin that container runtimes call: it gives
// a container an interface in the node's pod subnet. See docs/cni.md.
package main

import (
	"vtepd/cmd/internal/build"
	"vtepd/cmd/internal/cni"
)

func main() { cni.Main(build.String()) }
