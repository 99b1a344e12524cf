// Package e2e holds the end-to-end tests: vtepd in network namespaces, with the
// kernel's own vxlan device on the other side, and tshark looking at every
// packet between them.
package e2e
