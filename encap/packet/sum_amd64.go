package packet

import "golang.org/x/sys/cpu"

// wide returns how many of n bytes sumWide and copySumWide take: a multiple of
// 32, and 0 where they do not run or do not pay.
func wide(n int) int {
	if n < 128 || !cpu.X86.HasAVX2 {
		return 0
	}
	return n &^ 31
}

// sumWide adds n bytes at p, a multiple of 32, as little-endian 32-bit words.
//
//go:noescape
func sumWide(p *byte, n int) uint64

// copySumWide copies n bytes, a multiple of 32, from src to dst, which do not
// overlap, and adds them as sumWide does.
//
//go:noescape
func copySumWide(dst, src *byte, n int) uint64
