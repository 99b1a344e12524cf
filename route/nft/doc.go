// Package nft keeps what this host has in nftables because of us: one table of
// our own, and where it is asked for one marked rule in the chains of others
// that would drop forwarded packets.
//
// The table, `inet vtepd`, is declarative. Whoever needs rules contributes a
// [Contribution] under a name of its own, as masquerading does; all of them make
// the ruleset, which replaces the one before in one transaction: no packet sees
// half of it. Like package host this one is level-triggered: whenever rules
// changed, and every few seconds, it looks whether the table is as it was
// written, and writes it again if not (`nft flush ruleset`).
package nft

// TableName is the name of our table, of family inet.
const TableName = "vtepd"

// Mark is the comment of the rule in other chains, by which it is recognized.
const Mark = "vtepd forward"

// chainName is our chain in tables of others, which the marked rule jumps to.
const chainName = "VTEPD-FORWARD"
