/* Where SYSCALL enters the kernel: RCX is the RIP to return to, R11 are the flags, and the stack is still the program's. */
#include "segments.h"
#include "system_calls.h"

#define PROGRAM_STACK %gs:0
#define KERNEL_STACK %gs:8

.section .text, "ax"
.globl system_call_entry
system_call_entry:
	swapgs
	mov %rsp, PROGRAM_STACK
	mov KERNEL_STACK, %rsp

	/* A struct interrupt_frame, as if an interrupt had come. */
	pushq $USER_DATA
	pushq PROGRAM_STACK
	push %r11
	pushq $USER_CODE
	push %rcx
	swapgs
	pushq $0
	pushq $SYSTEM_CALL_VECTOR
	.irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	push %\register
	.endr
	mov %rsp, %rdi
	call handle_syscall
	.irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
	pop %\register
	.endr
	mov 40(%rsp), %rsp
	sysretq
