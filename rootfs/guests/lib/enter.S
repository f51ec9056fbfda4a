#include "segments.h"

/* Offsets in struct start. */
#define RIP 0
#define CS 8
#define RFLAGS 16
#define RSP 24
#define SS 32
#define ARGUMENT 40

.section .text, "ax"
.globl enter
enter:
	.irp register, rbx, rbp, r12, r13, r14, r15
	push %\register
	.endr
	mov %rsp, excursion_stack
	.irp offset, SS, RSP, RFLAGS, CS, RIP
	pushq \offset(%rdi)
	.endr
	mov $USER_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov ARGUMENT(%rdi), %rdi
	iretq

.globl leave
leave:
	mov excursion_stack, %rsp
	.irp register, r15, r14, r13, r12, rbp, rbx
	pop %\register
	.endr
	ret

.section .bss, "aw", @nobits
.balign 8
.globl excursion_stack
excursion_stack:
	.skip 8
