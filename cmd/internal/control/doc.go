// Package control serves an [api.Backend] as HTTP and JSON on a unix socket,
// and is the client of it.
//
// docs/api.md describes the paths. Whoever may connect to the socket may do
// everything, so the socket is the permission: mode 0660, owned by the daemon's
// user and by a group if one is named. What a client sends is bounded in size
// and time, and checked field by field before the Backend sees it.
package control
