/* See provocations.h. */
#include "provoke.h"

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

.section .text, "ax"
.globl nothing
nothing:
	int $NOTHING_HAPPENED

.globl divide_by_zero
divide_by_zero:
	mov $1, %eax
	xor %edx, %edx
	xor %ecx, %ecx
	provocation divide_by_zero, div %ecx

.globl into
into:
	mov $0x7fffffff, %eax
	inc %eax
	provocation into, into

.globl bound
bound:
	push $20
	push $10
	mov $21, %eax
	provocation bound, bound %eax, (%esp)

.globl lose_stack
lose_stack:
	mov %edi, %esp
	provocation lose_stack, ud2

	simple breakpoint, int3
	simple undefined, ud2
	simple no_coprocessor, fnop
	simple disable_interrupts, cli
	simple halt, hlt
	simple write_control_register, mov %eax, %cr3
	simple software_interrupt, int $USED_VECTOR
	simple load_data_segment, mov %edi, %fs
	simple load_stack_segment, mov %edi, %ss
	simple read_memory, mov (%edi), %al
	simple write_memory, mov %al, (%edi)
	simple call_memory, call *%edi

.globl enable_and_go_on, enable_and_disable, pop_flags
enable_and_go_on:
	sti
	nop
	provocation enable_and_go_on, nop

enable_and_disable:
	sti
	cli
	provocation enable_and_disable, nop

pop_flags:
	pushf
	orl $EFLAGS_IF, (%esp)
	popf
	provocation pop_flags, nop
