// Package ctl is vtepctl without its main: the grammar of its command line, as
// close to `ip` and `bridge` as the objects are, and how answers are printed.
//
// A command line is an object, a verb, and words in pairs: `fdb add MAC dst IP
// dev DEV`. Objects and verbs may be shortened to what is unambiguous. A bare
// object means show.
package ctl
