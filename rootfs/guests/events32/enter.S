/*
 * void enter(const struct start *): starts code.
 * void leave(void): called when it has ended, on whatever stack; enter() returns.
 */
#include "provoke.h"
#include "segments.h"

/* Offsets in struct start. */
#define EIP 0
#define CS 4
#define EFLAGS 8
#define ESP 12
#define SS 16
#define ARGUMENT 20

.macro load_segments selector
	mov $\selector, %ecx
	.irp segment, ds, es, fs, gs
	mov %ecx, %\segment
	.endr
.endm

.section .text, "ax"
.globl enter
enter:
	push %ebp
	push %ebx
	push %esi
	push %edi
	mov 20(%esp), %eax
	mov %esp, saved_stack
	load_segments USER_DATA
	testl $EFLAGS_VM, EFLAGS(%eax)
	jnz to_virtual_8086_mode
	testb $3, CS(%eax)
	jz to_kernel
	jmp to_user

	/* The segments of virtual-8086 mode are 1 to 4, in the order ES, DS, FS, GS. */
to_virtual_8086_mode:
	push $4
	push $3
	push $2
	push $1
to_user:
	pushl SS(%eax)
	pushl ESP(%eax)
	jmp 1f
to_kernel:
	mov ESP(%eax), %esp
1:
	pushl EFLAGS(%eax)
	pushl CS(%eax)
	pushl EIP(%eax)
	mov ARGUMENT(%eax), %edi
	iret

.globl leave
leave:
	load_segments KERNEL_DATA
	mov %ecx, %ss
	mov saved_stack, %esp
	pop %edi
	pop %esi
	pop %ebx
	pop %ebp
	ret

.section .bss, "aw", @nobits
.balign 4
saved_stack:
	.skip 4
