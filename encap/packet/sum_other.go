//go:build !amd64

package packet

// Other processors have no vector code: wide says so, and what it stands for is
// never called.
func wide(int) int { return 0 }

func sumWide(*byte, int) uint64 { return 0 }

func copySumWide(_, _ *byte, _ int) uint64 { return 0 }
