// Package daemon is vtepd without its command line: it joins configuration,
// devices, sockets, the route table and the engine, keeps them in step with the
// host, and serves the control API.
//
// Everything that changes the daemon (start, reload, an operator's command, an
// event of the host) goes through one lock and one mechanism: a plan is
// prepared with everything new opened, then committed as a whole, or abandoned
// with nothing changed. The data path never waits for any of it.
package daemon
