/* The 32-bit entry, or the 64-bit one: main(zero page, code selector, data selector). */
#include "boot_params.h"

#define STACK_SIZE 0x4000

.section .entry, "ax"
.globl _start
_start:
#ifdef __x86_64__
#ifndef VMLINUX
	hlt			/* Nobody comes here, since the header says that there is an entry in long mode. */
	jmp _start
	.org ENTRY_64
#endif
	lea stack_end(%rip), %rsp
	xor %ebp, %ebp
	mov %rsi, %rdi
	mov %cs, %esi
	mov %ss, %edx
	call main
#else
	mov $stack_end, %esp
	xor %ebp, %ebp
	mov %cs, %eax
	mov %ss, %ecx
	push $0			/* the stack is aligned for main */
	push %ecx
	push %eax
	push %esi
	call main
#endif

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
