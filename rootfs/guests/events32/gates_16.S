/*
 * 16-bit code in protected mode, its handlers behind 16-bit gates, and their frames of words. Offsets in CODE_16 count from code_16
 * on; the stack is the kernel's, of 32 bits.
 */
#include "provoke.h"
#include "segments.h"

/* Copies `words` words from the top of the stack to `where`. */
.macro copy_stack where, words
	pushal
	push %ds
	mov $KERNEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	lea 36(%esp), %esi
	mov $\where, %edi
	mov $\words, %ecx
	rep movsw
	pop %ds
	popal
.endm

.section .text, "ax"
.balign 16
.globl code_16
code_16:

/* An INT whose handler comes back, and an exception with an error code whose handler does not. */
.code16
.globl provoke_16, provoke_16_after_int, provoke_16_fault
provoke_16:
	int $USED_VECTOR
provoke_16_after_int:
	mov $BEHIND_TABLE, %ax
provoke_16_fault:
	mov %ax, %fs
	int $NOTHING_HAPPENED

.globl handle_int_16, handle_fault_16
handle_int_16:
	ljmpl $KERNEL_CODE, $1f
.code32
1:
	copy_stack int_frame_16, 3
	ljmp $CODE_16, $(2f - code_16)
.code16
2:
	iretw

handle_fault_16:
	ljmpl $KERNEL_CODE, $1f
.code32
1:
	copy_stack fault_frame_16, 4
	call leave

.section .bss, "aw", @nobits
.balign 4
.globl int_frame_16, fault_frame_16
int_frame_16:
	.skip 6
fault_frame_16:
	.skip 8
