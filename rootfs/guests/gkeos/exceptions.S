/* One entry point for each exception, 16 bytes apart. Each leaves the vector and an error code (0 if the CPU pushed none). */
#define HAS_ERROR_CODE(vector) (0x60227d00 >> (vector) & 1)

.section .text, "ax"
.balign 16
.globl exception_entries
exception_entries:
.rept 32
	.balign 16
	.if !HAS_ERROR_CODE(\+)
	push $0
	.endif
	push $\+
	jmp report
.endr

report:
	mov %rsp, %rdi
	and $-16, %rsp
	call report_exception
