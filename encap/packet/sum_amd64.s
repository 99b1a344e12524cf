#include "textflag.h"

// Both functions add 32-bit words in the 64-bit lanes of Y0 to Y3: the low half
// of each lane of what was loaded, taken by the mask in Y15, and the high half,
// shifted down. A lane overflows after 2^32 words.

// func sumWide(p *byte, n int) uint64
TEXT ·sumWide(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), SI
	MOVQ n+8(FP), CX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPCMPEQD Y15, Y15, Y15
	VPSRLQ $32, Y15, Y15
	SUBQ $64, CX
	JLT  half

loop:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VPAND   Y15, Y4, Y6
	VPSRLQ  $32, Y4, Y4
	VPAND   Y15, Y5, Y7
	VPSRLQ  $32, Y5, Y5
	VPADDQ  Y6, Y0, Y0
	VPADDQ  Y4, Y1, Y1
	VPADDQ  Y7, Y2, Y2
	VPADDQ  Y5, Y3, Y3
	ADDQ    $64, SI
	SUBQ    $64, CX
	JGE     loop

half:
	ADDQ $64, CX
	JEQ  done
	VMOVDQU (SI), Y4
	VPAND   Y15, Y4, Y6
	VPSRLQ  $32, Y4, Y4
	VPADDQ  Y6, Y0, Y0
	VPADDQ  Y4, Y1, Y1

done:
	VPADDQ Y1, Y0, Y0
	VPADDQ Y3, Y2, Y2
	VPADDQ Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDQ X1, X0, X0
	VPSRLDQ $8, X0, X1
	VPADDQ X1, X0, X0
	VMOVQ X0, AX
	VZEROUPPER
	MOVQ AX, ret+16(FP)
	RET

// func copySumWide(dst, src *byte, n int) uint64
TEXT ·copySumWide(SB), NOSPLIT, $0-32
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
	VPXOR Y0, Y0, Y0
	VPXOR Y1, Y1, Y1
	VPXOR Y2, Y2, Y2
	VPXOR Y3, Y3, Y3
	VPCMPEQD Y15, Y15, Y15
	VPSRLQ $32, Y15, Y15
	SUBQ $64, CX
	JLT  half

loop:
	VMOVDQU (SI), Y4
	VMOVDQU 32(SI), Y5
	VMOVDQU Y4, (DI)
	VMOVDQU Y5, 32(DI)
	VPAND   Y15, Y4, Y6
	VPSRLQ  $32, Y4, Y4
	VPAND   Y15, Y5, Y7
	VPSRLQ  $32, Y5, Y5
	VPADDQ  Y6, Y0, Y0
	VPADDQ  Y4, Y1, Y1
	VPADDQ  Y7, Y2, Y2
	VPADDQ  Y5, Y3, Y3
	ADDQ    $64, SI
	ADDQ    $64, DI
	SUBQ    $64, CX
	JGE     loop

half:
	ADDQ $64, CX
	JEQ  done
	VMOVDQU (SI), Y4
	VMOVDQU Y4, (DI)
	VPAND   Y15, Y4, Y6
	VPSRLQ  $32, Y4, Y4
	VPADDQ  Y6, Y0, Y0
	VPADDQ  Y4, Y1, Y1

done:
	VPADDQ Y1, Y0, Y0
	VPADDQ Y3, Y2, Y2
	VPADDQ Y2, Y0, Y0
	VEXTRACTI128 $1, Y0, X1
	VPADDQ X1, X0, X0
	VPSRLDQ $8, X0, X1
	VPADDQ X1, X0, X0
	VMOVQ X0, AX
	VZEROUPPER
	MOVQ AX, ret+24(FP)
	RET
