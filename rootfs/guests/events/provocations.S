/* See provocations.h. The whole section can be read and executed at CPL 3. */
#include "provoke.h"

#define UNMASK_DIVISION_BY_ZERO 0x37b	/* x87 control word */

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

.section .user, "ax"
.balign 4096
.globl user_code, user_code_end
user_code:

.code64
.globl nothing
nothing:
	int $NOTHING_HAPPENED

.globl divide_by_zero
divide_by_zero:
	mov $1, %eax
	xor %edx, %edx
	xor %ecx, %ecx
	provocation divide_by_zero, div %ecx

.globl divide_overflow
divide_overflow:
	mov $1, %edx
	mov $1, %ecx
	provocation divide_overflow, div %ecx

	simple breakpoint, int3
	simple overflow, int $4
	simple undefined, ud2
	simple system_call, syscall
	simple lock_of_nop, .byte 0xf0, 0x90
	simple no_coprocessor, fnop

.globl coprocessor_error
coprocessor_error:
	fninit
	pushq $UNMASK_DIVISION_BY_ZERO
	fldcw (%rsp)
	fld1
	fldz
	fdivrp
	provocation coprocessor_error, fwait

.globl read_not_canonical
read_not_canonical:
	movabs $0x800000000000, %rdi
	provocation read_not_canonical, mov (%rdi), %al

	simple write_control_register, mov %rax, %cr3
	simple write_debug_register, mov %rax, %dr7
	simple disable_interrupts, cli
	simple halt, hlt
	simple read_port, in $0x80, %al
	simple read_msr, rdmsr

.globl return_from_nested_task
return_from_nested_task:
	pushfq
	orq $RFLAGS_NT, (%rsp)
	popfq
	provocation return_from_nested_task, iretq

	/* With an interrupt pending, and IF clear at the start. */
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
	pushfq
	orq $RFLAGS_IF, (%rsp)
	popfq
	provocation pop_flags, nop

enable_and_halt:
	sti
	provocation enable_and_halt, hlt

	simple load_data_segment, mov %edi, %fs
	simple load_stack_segment, mov %edi, %ss
	simple read_memory, mov (%rdi), %al
	simple write_memory, mov %al, (%rdi)
	simple read_quad, mov (%rdi), %rax
	simple add_to_memory, addb $1, (%rdi)
	simple call_memory, call *%rdi

.globl write_msr
write_msr:
	mov %edi, %ecx
	xor %eax, %eax
	xor %edx, %edx
	provocation write_msr, wrmsr

.code32
.globl into_32
into_32:
	mov $0x7fffffff, %eax
	inc %eax
	provocation into_32, into

.globl bound_32
bound_32:
	push $20
	push $10
	mov $21, %eax
	provocation bound_32, bound %eax, (%esp)

	simple undefined_32, ud2
	simple read_memory_32, mov (%edi), %al
	simple breakpoint_32, int3

.globl written_code
written_code:
	.skip 4
user_code_end:
