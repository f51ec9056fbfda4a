/* The interrupt vector table, in a page that nothing but the processor reads, and the entries it leads to. */
#include "segment.h"

.section .real, "awx"
.balign 4096
.globl vector_table
vector_table:
.rept 256
	.word entries + 8 * \+, SEGMENT
.endr
.balign 4096

.code16
.balign 8
entries:
.rept 256
	.balign 8
	pushw $\+
	jmp record
.endr
