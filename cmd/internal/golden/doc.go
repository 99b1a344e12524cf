// Package golden makes the captures in testdata/ anew, and shows that the
// kernel of this machine and a running vtepd still send what they hold. It has
// tests only.
package golden
