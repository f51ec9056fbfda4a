/* One entry point for each vector, 16 bytes apart. Each completes a struct interrupt_frame: the error code is 0 where the processor
   pushes none. A guest with entry points of its own goes on to handle_interrupt like these. */
#define HAS_ERROR_CODE(vector) ((vector) < 32 && (0x60227d00 >> ((vector) & 31) & 1))

.section .text, "ax"
.balign 16
.globl interrupt_entries
interrupt_entries:
.rept 256
	.balign 16
	.if !HAS_ERROR_CODE(\+)
	push $0
	.endif
	push $\+
	jmp handle_interrupt
.endr

.globl handle_interrupt
handle_interrupt:
	.irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
	push %\register
	.endr
	cld
	mov %rsp, %rdi
	call dispatch_interrupt
	.irp register, r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax
	pop %\register
	.endr
	add $16, %rsp
	iretq
