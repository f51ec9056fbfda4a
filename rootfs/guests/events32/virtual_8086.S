/* Code for virtual-8086 mode, to be copied below 1 MiB. */
#include "provoke.h"

.section .rodata, "a"
.code16
.globl code_8086, divide_8086, divide_8086_at, halt_8086, int_8086, breakpoint_8086, code_8086_end
code_8086:
divide_8086:
	xor %cl, %cl
divide_8086_at:
	div %cl
halt_8086:
	hlt
int_8086:
	int $NOTHING_HAPPENED
breakpoint_8086:
	int3
code_8086_end:
