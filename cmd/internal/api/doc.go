// Package api is what the daemon and its control command say to each other:
// the types of the JSON documents, the errors, and [Backend], which the daemon
// implements and package control serves over the control socket.
//
// The JSON names are an interface to users (`vtepctl -j`, docs/api.md): more
// may be added, what stands keeps its name and meaning. Lists and tallies are
// never null.
package api
