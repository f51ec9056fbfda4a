/* See provocations.h. */
#include "provoke.h"

#define DELAY_PORT 0x80
#define REPETITIONS 3

/* The end of a provocation: `instruction` is what the event is reported at. */
.macro provocation name, instruction:vararg
	.globl \name\()_at, \name\()_after
\name\()_at:
	\instruction
\name\()_after:
	int $NOTHING_HAPPENED
.endm

/* A provocation of one instruction. */
.macro simple name, instruction:vararg
	.globl \name
\name:
	provocation \name, \instruction
.endm

.macro trap address
	.pushsection .rodata
	.word \address
	.popsection
.endm

.macro step instruction:vararg
	\instruction
.Lstep\@:
	trap .Lstep\@
.endm

.section .real, "awx"
.code16
.globl divide_by_zero
divide_by_zero:
	mov $1, %ax
	xor %cl, %cl
	provocation divide_by_zero, div %cl

.globl into
into:
	mov $0x7fff, %ax
	inc %ax
	provocation into, into

.globl bound
bound:
	pushw $20
	pushw $10
	mov %sp, %bx
	mov $21, %ax
	provocation bound, bound %ax, (%bx)

	simple breakpoint, int3
	simple undefined, ud2
	simple software_interrupt, int $USED_VECTOR

.globl enable_and_go_on, enable_and_disable, pop_flags, enable_and_halt
enable_and_go_on:
	sti
	nop
	provocation enable_and_go_on, nop

enable_and_disable:
	sti
	cli
	provocation enable_and_disable, nop

pop_flags:
	pushw $FLAGS_IF
	popf
	provocation pop_flags, nop

enable_and_halt:
	sti
	provocation enable_and_halt, hlt

.globl written_int
written_int:
	int $0
	int $NOTHING_HAPPENED

.section .rodata, "a"
.balign 2
.globl single_steps
single_steps:

.section .real, "awx"
.globl single_step_code
single_step_code:
	step nop
	step mov $1, %eax
	step cpuid
	step out %al, $DELAY_PORT
	step in $DELAY_PORT, %al
	step mov $bytes, %di
	step mov $REPETITIONS, %cx
repeat:
	rep stosb
	trap repeat
	trap repeat
after_repeat:
	trap after_repeat

	/* A load of SS holds the trap back until after the next instruction. */
	step mov %ss, %ax
	mov %ax, %ss
	step nop
	step pushw $0
	step popf
	nop
	int $NOTHING_HAPPENED

.section .rodata, "a"
.globl single_steps_end
single_steps_end:

.section .real
bytes:
	.skip REPETITIONS
