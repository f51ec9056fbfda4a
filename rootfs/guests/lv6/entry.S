/*
 * The only page of the kernel that is there while the program runs: SYSCALL comes here, and the program is entered from here. On
 * either way the page table is exchanged.
 */
#include "lv6.h"

#define RFLAGS_START 0x202	/* IF: no interrupt controller is programmed, so none comes */

.section .entry, "awx"
.balign 4096
.globl entry_page
entry_page:

/* SYSCALL: RCX is the RIP to return to, R11 are the flags, and RSP is the program's. */
.globl system_call_entry
system_call_entry:
	mov %rsp, program_stack
	mov $kernel_table, %esp
	mov %rsp, %cr3
	mov $stack_end, %esp
	push %rcx
	push %r11
	mov %rdi, %rsi
	mov %rax, %rdi
	call system_call
	pop %r11
	pop %rcx
return:
	mov $program_table, %esp
	mov %rsp, %cr3
	mov program_stack, %rsp
	sysretq

.globl enter_program
enter_program:
	mov $PROGRAM, %ecx
	mov $RFLAGS_START, %r11d
	jmp return

.balign 8
program_stack:
	.quad 0
.balign 4096
